"""What was trained and tested on: the split manifest, and near-identical images."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from jaxfer.data.splits import Fold
from jaxfer.files import write_atomically

COLUMNS = ("fold", "role", "file", "sha256", "label", "subject")

THRESHOLD = 4
"""Largest Hamming distance of two near-identical images' hashes, of 64 bits.

Of FER+ images, JPEG-coded anew, noisy, darker, brighter or scaled, at least
98 % stay within it.
"""

CORRELATION = 0.95
"""Least correlation of two near-identical images' grey levels at 32 x 32.

Of two different synthetic faces, the hash alone pairs about 2 in 100,000; with
the correlation 1 of 626,640 was left, and no planted copy was lost.
"""

_SIDE = 32  # pixels that the hash looks at
_FLAT = 3.0  # grey levels; below this standard deviation a hash is noise
_CHUNK = 256
_CANDIDATES = 8


class Files(Protocol):
    """The columns of a table that identify its images, each of length N."""

    @property
    def file(self) -> NDArray[np.str_]:
        """Name relative to the source."""

    @property
    def sha256(self) -> NDArray[np.str_]:
        """Hash of the file's bytes."""

    @property
    def label(self) -> NDArray[np.int32]:
        """Index into the class names."""

    @property
    def subject(self) -> NDArray[np.str_]:
        """Who is shown; empty where unknown."""


def write_manifest(
    path: str | os.PathLike[str],
    table: Files,
    folds: Sequence[Fold],
    class_names: Sequence[str],
) -> None:
    """Writes who trained, validated and tested which fold, as CSV.

    One line per fold and image, with the columns of `COLUMNS`; `label` is the
    class's name. The file appears whole or not at all.

    Args:
      path: the CSV file.
      table: columns `file`, `sha256`, `label` and `subject`.
      folds: as `jaxfer.data.splits.make_folds` gives them.
      class_names: in the order of the labels.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for number, fold in enumerate(folds):
        for role, rows in zip(Fold._fields, fold):
            writer.writerows(
                (
                    number,
                    role,
                    table.file[row],
                    table.sha256[row],
                    class_names[table.label[row]],
                    table.subject[row],
                )
                for row in rows
            )
    write_atomically(Path(path), text.getvalue())


def near_duplicates(
    images: NDArray[np.uint8],
    fold: Fold,
    *,
    threshold: int = THRESHOLD,
    sha256: NDArray[np.str_] | None = None,
) -> list[tuple[int, int, int]]:
    """Test images that nearly equal an image of the training part.

    A perceptual hash finds the candidates; a pair counts if its grey levels
    also correlate by `CORRELATION` or more. Flat images, whose hash would be
    noise, count only as exact copies, and only where `sha256` is given.

    Args:
      images: uint8 (N, h, w, 3), RGB; row i is row i of the table.
      fold: training and validation rows stand on one side, test on the other.
      threshold: largest Hamming distance of the hashes, of 64 bits.
      sha256: of the files' bytes, (N,); equal ones have distance 0.

    Returns:
      (row of the training part, row of the test part, distance), one for each
      such test image, with its nearest training image; in order of test rows.
    """
    training = np.concatenate([fold.train, fold.validation])
    small = shrink(images)
    hashes, flat = perceptual_hashes(small)
    pairs: dict[int, tuple[int, int, int]] = {}
    train, test = training[~flat[training]], fold.test[~flat[fold.test]]
    for start in range(0, test.size if train.size else 0, _CHUNK):
        part = test[start : start + _CHUNK]
        distance = np.bitwise_count(hashes[part, None] ^ hashes[None, train])
        hit = np.flatnonzero(distance.min(axis=1) <= threshold)
        # A few of the nearest, for the very nearest may fail the second test.
        count = min(_CANDIDATES, train.size)
        places = np.argpartition(distance[hit], count - 1, axis=1)[:, :count]
        bits = np.take_along_axis(distance[hit], places, axis=1).ravel()
        a, b = train[places].ravel(), np.repeat(part[hit], count)
        likeness = _correlation(small[a], small[b])
        for i in np.lexsort((-likeness, bits)):
            if bits[i] <= threshold and likeness[i] >= CORRELATION:
                pairs.setdefault(int(b[i]), (int(a[i]), int(b[i]), int(bits[i])))
    if sha256 is not None:
        first = {digest: row for row, digest in zip(training, sha256[training])}
        for row in fold.test:
            if sha256[row] in first:
                pairs[int(row)] = (int(first[sha256[row]]), int(row), 0)
    return [pairs[row] for row in sorted(pairs)]


def shrink(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB images, uint8 (N, h, w, 3), in grey at 32 x 32, uint8 (N, 32, 32)."""
    small = np.empty((len(images), _SIDE, _SIDE), np.uint8)
    for row, image in enumerate(images):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        small[row] = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return small


def perceptual_hashes(
    small: NDArray[np.uint8],
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """64-bit perceptual hashes, and which images are too flat to have one.

    Bits are the signs, against their median, of the 8 x 8 lowest cosine
    frequencies without the constant ones.

    References:
      C. Zauner, "Implementation and benchmarking of perceptual image hash
      functions", 2010, section 3.2 (DCT based hash).

    Args:
      small: uint8 (N, 32, 32), as from `shrink`.

    Returns:
      uint64 (N,) and bool (N,).
    """
    order = np.arange(1, 9)[:, None] * (2 * np.arange(_SIDE) + 1)
    cosines = np.cos(np.pi * order / (2 * _SIDE)).astype(np.float32)
    hashes = np.zeros(len(small), np.uint64)
    flat = np.zeros(len(small), bool)
    for start in range(0, len(small), _CHUNK):
        rows = slice(start, start + _CHUNK)
        grey = small[rows].astype(np.float32)
        flat[rows] = grey.std(axis=(1, 2)) < _FLAT
        waves = (cosines @ grey @ cosines.T).reshape(len(grey), 64)
        bits = waves > np.median(waves, axis=1, keepdims=True)
        hashes[rows] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return hashes, flat


def _correlation(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pearson's correlation of the grey levels of each pair, (n,)."""
    x, y = (
        small.reshape(len(small), _SIDE * _SIDE).astype(np.float32) for small in (a, b)
    )
    x -= x.mean(axis=1, keepdims=True)
    y -= y.mean(axis=1, keepdims=True)
    return (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
