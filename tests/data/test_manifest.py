import csv
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from jaxfer.data.manifest import (
    COLUMNS,
    near_duplicates,
    perceptual_hashes,
    shrink,
    write_manifest,
)
from jaxfer.data.splits import Fold
from jaxfer.data.synthetic import EXPRESSIONS, render


def rows(*values):
    return np.array(values, np.int32)


@pytest.fixture(scope="module")
def faces():
    names = sorted(EXPRESSIONS)
    return np.stack(
        [render(n, i, t, size=48) for i in range(6) for n in names for t in range(2)]
    )


def halves(n):
    return Fold(
        np.arange(n, dtype=np.int32), rows(), np.arange(n, 2 * n, dtype=np.int32)
    )


def jpeg(image):
    return cv2.imdecode(
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], 1
    )


CHANGES = {
    "same": lambda image: image,
    "jpeg": jpeg,
    "brighter": lambda image: cv2.add(image, np.full_like(image, 12)),
    "darker": lambda image: (image * 0.9).astype(np.uint8),
    "smaller": lambda image: cv2.resize(
        cv2.resize(image, (40, 40), interpolation=cv2.INTER_AREA), (48, 48)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_planted_copies_are_found(faces, change):
    n = len(faces)
    copies = np.stack([CHANGES[change](face) for face in faces])
    found = near_duplicates(np.concatenate([faces, copies]), halves(n))
    assert len(found) >= 0.95 * n
    assert all(b - a == n for a, b, _ in found)
    if change == "same":
        assert found == [(i, n + i, 0) for i in range(n)]


def test_different_takes_of_one_person_are_not_copies(faces):
    images = np.concatenate([faces[0::2], faces[1::2]])
    assert near_duplicates(images, halves(len(faces) // 2)) == []
    assert near_duplicates(images, halves(len(faces) // 2), threshold=8) == []


def test_hashes_alone_would_pair_some_of_them(faces):
    hashes, flat = perceptual_hashes(shrink(faces))
    distance = np.bitwise_count(hashes[:, None] ^ hashes).astype(int)
    np.fill_diagonal(distance, 64)
    assert not flat.any()
    assert distance.min() <= 8


def test_only_pairs_across_the_boundary_count(faces):
    images = np.concatenate([faces[:3], faces[:3]])
    inside = Fold(rows(0, 3), rows(1, 4), rows(2, 5))
    assert near_duplicates(images, inside) == []
    validation = Fold(rows(1), rows(0), rows(3))
    assert near_duplicates(images, validation) == [(0, 3, 0)]
    assert near_duplicates(images, Fold(rows(), rows(), rows(3))) == []


def test_flat_images_count_only_as_exact_copies():
    rng = np.random.default_rng(0)
    flat = np.clip(rng.normal(90, 1, (4, 48, 48, 3)), 0, 255).astype(np.uint8)
    flat[1] = flat[3] = 0
    fold = Fold(rows(0, 1), rows(), rows(2, 3))
    assert near_duplicates(flat, fold, threshold=64) == []
    digests = np.array(["a", "b", "c", "b"])
    assert near_duplicates(flat, fold, sha256=digests) == [(1, 3, 0)]


def test_each_test_image_is_named_once_with_its_nearest(faces):
    noisy = cv2.GaussianBlur(faces[0], (0, 0), 1.5)
    images = np.stack([noisy, faces[0], faces[0]])
    assert near_duplicates(images, Fold(rows(0, 1), rows(), rows(2))) == [(1, 2, 0)]


def test_many_images_take_seconds():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4000, 16, 16, 3), dtype=np.uint8)
    start = time.process_time()
    assert near_duplicates(images, halves(2000)) == []
    assert time.process_time() - start < 5


def test_manifest_lists_every_row_of_every_fold(tmp_path):
    table = SimpleNamespace(
        file=np.array(["a,b.png", "ü.png", "c.png"]),
        sha256=np.array(["00", "11", "22"]),
        label=rows(0, 1, 1),
        subject=np.array(["S1", "", "S2"]),
    )
    folds = [Fold(rows(0), rows(1), rows(2)), Fold(rows(1, 2), rows(), rows(0))]
    path = tmp_path / "split_manifest.csv"
    write_manifest(path, table, folds, ("anger", "fear"))
    with path.open(newline="", encoding="utf-8") as file:
        header, *lines = csv.reader(file)
    assert tuple(header) == COLUMNS
    assert lines == [
        ["0", "train", "a,b.png", "00", "anger", "S1"],
        ["0", "validation", "ü.png", "11", "fear", ""],
        ["0", "test", "c.png", "22", "fear", "S2"],
        ["1", "train", "ü.png", "11", "fear", ""],
        ["1", "train", "c.png", "22", "fear", "S2"],
        ["1", "test", "a,b.png", "00", "anger", "S1"],
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["split_manifest.csv"]
