"""AffectNet (Mollahosseini et al., IEEE Trans. Affective Computing 2019)."""

import os
import re
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from zipfile import BadZipFile

import numpy as np

from jaxfer.data import labels
from jaxfer.data.builders.plan import Example, Plan, Published, Skip
from jaxfer.data.builders.source import Source, is_image, layout_error, size_problem
from jaxfer.data.records import FaceBuilder
from jaxfer.errors import ConfigError, DataError

_IMAGE = re.compile(r"((?:^|.*/)(train|val)_set/)images/([^/]+)\.[^./]+$")
_ANNOTATION = re.compile(
    r"((?:^|.*/)(?:train|val)_set/)annotations/([^/]+)_(exp|val|aro|lnd)\.npy$"
)

_HEADER = re.compile(
    rb"\{'descr': '([<>|][USfiu]\d+)', 'fortran_order': False, "
    rb"'shape': \((?:1,)?\), \}\s*"
)
"""Of a .npy file that holds one number or text."""

_SPLIT = {"train": "train", "val": "test"}
_CLASSES = len(labels.AFFECTNET)
_NO_CLASS = {8: "none", 9: "uncertain", 10: "no face"}
_UNLABELLED = -2
_CHUNK = 500
"""Images whose annotations a thread reads at a time."""

_TRAIN = (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750)
_TEST = (500, 500, 500, 500, 500, 500, 500, 499)


class Affectnet(FaceBuilder):
    """AffectNet: faces from the web, eight expressions, valence and arousal."""

    layout = """
        train_set/images/0.jpg with train_set/annotations/0_exp.npy (and 0_val.npy,
        0_aro.npy: valence and arousal), and the same under val_set/
    """
    where = """
        http://mohammadmahoor.com/affectnet/ (a signed agreement); name the folder
        that holds train_set/ and val_set/, or a zip of it
    """

    @staticmethod
    def scan(source: Source | None, *, classes: int = 8) -> Plan:
        """Finds images and reads their annotations, by several threads.

        The owners publish no labels of a test part; results are reported on
        their validation part, which is therefore the split `test`.

        Args:
          source: the folders train_set and val_set, or one of them.
          classes: 8, or 7, which leaves contempt out.

        Returns:
          The plan, sorted by split and file name.
        """
        assert source is not None
        if classes not in (7, 8):
            raise ConfigError(f"classes must be 7 or 8, found {classes}.")
        images = [n for n in source.sizes if is_image(n) and _IMAGE.match(n)]
        if not images:
            raise layout_error(source, "AffectNet", Affectnet.layout, Affectnet.where)
        class_names = labels.AFFECTNET[:classes]
        examples: list[Example] = []
        skips = [*source.skips, *_others(source, set(images))]
        for found in _annotated(source, images, class_names):
            if isinstance(found, Skip):
                skips.append(found)
            else:
                examples.append(found)
        if not examples:
            raise DataError(
                f"{source.path} has AffectNet images but none with a usable label; "
                f"the first: {skips[-len(images)].file}: {skips[-len(images)].reason}. "
                "Expected files like train_set/annotations/0_exp.npy."
            )
        examples.sort(key=lambda e: (e.split == "test", e.file))
        unrated = sum(bool(np.isnan(e.affect or ()).any()) for e in examples)
        note = f", {unrated:,} image(s) without valence or arousal" if unrated else ""
        published = Published(
            {
                "train": dict(zip(class_names, _TRAIN)),
                "test": dict(zip(class_names, _TEST)),
            },
            None,
            "287,651 + 3,999 images of 8 classes, 283,901 + 3,500 of 7; "
            "the owners' validation part is the split test",
        )
        return Plan(
            class_names,
            examples,
            skips,
            published,
            f"AffectNet, {classes} classes{note}",
            sum(source.sizes[e.file] for e in examples),
        )


def _others(source: Source, images: set[str]) -> Iterator[Skip]:
    stems = {name.rpartition(".")[0] for name in images}
    for name in source.sizes:
        if name in images:
            continue
        match = _ANNOTATION.match(name)
        if match is None:
            yield Skip(name, "not an image or annotation of AffectNet")
        elif match[3] == "exp" and f"{match[1]}images/{match[2]}" not in stems:
            yield Skip(name, "annotation without an image")


def _annotated(
    source: Source, images: list[str], class_names: tuple[str, ...]
) -> Iterator[Example | Skip]:
    """One answer per image, in order; reading waits for the disk, so in threads."""

    def read(start: int) -> list[Example | Skip]:
        chunk = images[start : start + _CHUNK]
        return [_example(source, name, class_names) for name in chunk]

    with ThreadPoolExecutor(4 * (os.cpu_count() or 1)) as pool:
        for found in pool.map(read, range(0, len(images), _CHUNK)):
            yield from found


def _example(source: Source, name: str, class_names: tuple[str, ...]) -> Example | Skip:
    match = _IMAGE.match(name)
    assert match is not None
    stem = f"{match[1]}annotations/{match[3]}"
    if problem := size_problem(source, name):
        return Skip(name, problem)
    try:
        expression = _number(source, f"{stem}_exp.npy")
        affect = tuple(_number(source, f"{stem}_{kind}.npy") for kind in ("val", "aro"))
    except ValueError as error:
        return Skip(name, str(error))
    if np.isnan(expression):
        return Skip(name, "no annotation (_exp.npy)")
    if expression in _NO_CLASS:
        kind = _NO_CLASS[int(expression)]
        return Skip(name, f"expression {expression:g} ({kind})")
    if expression not in range(_CLASSES):
        return Skip(name, f"expression {expression:g} is not one of 0 to 10")
    if expression >= len(class_names):
        return Skip(name, "contempt, which is not a class here")
    for what, value in zip(("valence", "arousal"), affect):
        if value == _UNLABELLED:
            return Skip(name, f"{what} -2 (not labelled)")
        if abs(value) > 1:
            return Skip(name, f"{what} {value:g} is not within -1 to 1")
    read = partial(source.read, name)
    valence, arousal = affect
    split = _SPLIT[match[2]]
    return Example(name, split, int(expression), read, affect=(valence, arousal))


def _number(source: Source, name: str) -> float:
    """The number in a .npy file, which holds it as a number or as text; NaN if none.

    Raises:
      ValueError: the file holds anything else.
    """
    if name not in source.sizes:
        return float("nan")
    kind = name.rpartition("_")[2]
    try:
        number = _only_number(source.read(name))
    except (ValueError, TypeError, OSError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(f"unreadable annotation (_{kind})") from error
    if not np.isfinite(number):
        raise ValueError(f"annotation is not a number (_{kind})")
    return number


def _only_number(content: bytes) -> float:
    # np.load takes the header for Python code, and CPython 3.11 sometimes fails
    # to parse code in several threads at once.
    start = {b"\x93NUMPY\1": 10, b"\x93NUMPY\2": 12}.get(content[:7], 0)
    end = start + int.from_bytes(content[8:start], "little")
    header = _HEADER.fullmatch(content[start:end]) if start else None
    if header is None:
        raise ValueError("not one number in a .npy file")
    dtype = np.dtype(header[1].decode())
    return float(np.frombuffer(content, dtype, 1, end).astype(str)[0])
