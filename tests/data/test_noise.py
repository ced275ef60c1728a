from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxfer.data import labels as label_spaces
from jaxfer.data.dataset import load
from jaxfer.data.label_files import read_label_file, write_label_file
from jaxfer.data.noise import corrupt_labels, read_confusion
from jaxfer.data.prepare import prepare
from jaxfer.errors import ConfigError, DataError


def corrupt(labels, rate, seed=0, num_classes=7, **options):
    rng = np.random.default_rng(seed)
    return corrupt_labels(
        labels, num_classes=num_classes, rate=rate, rng=rng, **options
    )


def some_labels(n, num_classes=7, seed=0):
    return np.random.default_rng(seed).integers(num_classes, size=n, dtype=np.int32)


@given(
    st.integers(0, 200),
    st.integers(2, 9),
    st.floats(0, 1),
    st.sampled_from(["symmetric", "pair"]),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=60)
def test_exactly_the_share_changes(n, num_classes, rate, kind, seed):
    labels = some_labels(n, num_classes)
    before = labels.copy()
    noisy = corrupt(labels, rate, seed, num_classes, kind=kind)
    np.testing.assert_array_equal(labels, before)
    np.testing.assert_array_equal(
        noisy, corrupt(labels, rate, seed, num_classes, kind=kind)
    )
    changed = noisy != labels
    assert noisy.dtype == np.int32 and noisy.shape == labels.shape
    assert changed.sum() == round(rate * n)
    assert n == 0 or (noisy.min() >= 0 and noisy.max() < num_classes)
    if kind == "pair":
        np.testing.assert_array_equal(
            noisy[changed], (labels[changed] + 1) % num_classes
        )


@pytest.mark.parametrize("kind", ["symmetric", "pair"])
def test_a_smaller_rate_changes_a_subset(kind):
    labels = some_labels(300)
    few, many = (corrupt(labels, rate, kind=kind) for rate in (0.1, 0.3))
    changed = few != labels
    np.testing.assert_array_equal(few[changed], many[changed])


def test_symmetric_noise_is_uniform_over_the_other_classes():
    labels = np.repeat(np.arange(5, dtype=np.int32), 4000)
    noisy = corrupt(labels, 0.5, num_classes=5)
    table = np.zeros((5, 5))
    np.add.at(table, (labels, noisy), 1)
    others = table[~np.eye(5, dtype=bool)]
    # Each is 500 expected of 4,000 draws, one standard deviation being 21.
    assert abs(others - 500).max() < 100
    assert abs(np.diag(table) - 2000).max() < 160


def test_pair_flips_follow_the_confusion_matrix():
    labels = np.repeat(np.arange(3, dtype=np.int32), 4000)
    confusion = [[7, 3, 1], [0, 0, 2], [0.5, 0.5, 0]]
    noisy = corrupt(labels, 1.0, num_classes=3, kind="pair", confusion=confusion)
    table = np.zeros((3, 3))
    np.add.at(table, (labels, noisy), 1 / 4000)
    np.testing.assert_allclose(
        table, [[0, 0.75, 0.25], [0, 0, 1], [0.5, 0.5, 0]], atol=0.04
    )
    assert (table == 0).sum() == 4


def test_bad_noise_settings_say_what_to_do():
    labels = some_labels(10)

    def pair(confusion):
        return {"kind": "pair", "confusion": confusion}

    for message, options in (
        ("expected one of", {"kind": "uniform"}),
        ("0 to 1", {"rate": 1.1}),
        ("0 to 1", {"rate": float("nan")}),
        ("at least 2 classes", {"num_classes": 1}),
        ("belongs to noise kind 'pair'", {"confusion": np.ones((7, 7))}),
        (r"shape \(2, 2\); expected \(7, 7\)", pair(np.ones((2, 2)))),
        ("negative.* first in row 1", pair(-np.ones((7, 7)))),
        ("Row 1 .* off its diagonal", pair(np.eye(7))),
    ):
        with pytest.raises(ConfigError, match=message):
            corrupt(labels, **{"rate": 0.1} | options)
    with pytest.raises(DataError, match="within 0 to 2; found 0 to 6"):
        corrupt(np.arange(7, dtype=np.int32), 0.1, num_classes=3)


def test_bad_confusion_matrices_name_file_and_row(tmp_path):
    path = tmp_path / "confusion.csv"
    for content, message in (
        ("1,2\n3,4\n", "expected 3 rows of 3 numbers, one a class; found 2 rows"),
        ("0,1,1\n1,0\n1,1,0\n", "row 2 has 2: 1,0"),
        ("anger,fear,joy\n1,0,1\n1,1,0\n", "row 1: .*'anger'"),
        ("0,1,1\n1,0,1\n1,-1,0\n", "negative .* first in row 3"),
        ("0,1,1\n0,3,0\n1,1,0\n", "Row 2 .* off its diagonal"),
    ):
        path.write_text(content)
        with pytest.raises(ConfigError, match=message) as error:
            read_confusion(path, 3)
        assert str(path) in str(error.value)
    with pytest.raises(ConfigError, match="Cannot read the confusion matrix"):
        read_confusion(tmp_path / "none.csv", 3)


def test_rafdb_label_files_name_images_without_aligned(trees, data_dir, tmp_path):
    prepare("rafdb", trees.rafdb(), data_dir=data_dir, progress=False)
    data = load("rafdb", data_dir=data_dir)
    original = data_dir.parent / "sources/rafdb/basic/EmoLabel/list_patition_label.txt"
    read = read_label_file(original, data.table, data.class_names)
    np.testing.assert_array_equal(read, data.table.label)
    noisy = (data.table.label + 1) % 7
    train = np.flatnonzero(data.table.split == "train")
    path = tmp_path / "noise.txt"
    write_label_file(path, data.table, noisy, train)
    assert path.read_text().splitlines()[0] == "train_00001.jpg 2"
    assert len(path.read_text().splitlines()) == 7
    read = read_label_file(path, data.table, data.class_names)
    np.testing.assert_array_equal(read[train], noisy[train])
    np.testing.assert_array_equal(np.delete(read, train), range(7))
    assert [p.name for p in tmp_path.glob("*.part")] == []


def table_of(files, label=0, split="train"):
    n = len(files)
    return SimpleNamespace(
        file=np.array(files),
        label=np.full(n, label, np.int32),
        split=np.broadcast_to(np.array(split), (n,)),
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(["a/", "a b/", ""]), st.integers(0, 20)),
        min_size=1,
        unique=True,
    ),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=40)
def test_label_files_hold_any_data_set(tmp_path_factory, names, seed):
    table = table_of([f"{folder}{number} x.png" for folder, number in names])
    labels = some_labels(len(names), 7, seed)
    path = tmp_path_factory.mktemp("labels") / "list.txt"
    write_label_file(path, table, labels)
    np.testing.assert_array_equal(
        read_label_file(path, table, label_spaces.RAFDB), labels
    )


def test_bad_label_files_name_the_first_offending_entries(tmp_path):
    table = table_of(["train/x.jpg", "train/y.jpg", "test/y.jpg"])
    table.split = np.array(["train", "train", "test"])
    path = tmp_path / "noise.txt"
    for content, message in (
        ("x.jpg 1\nz.jpg 2\n", r"no such image.*line 2: 'z.jpg 2'"),
        ("y.jpg 2\n", "no such image, or several.*line 1"),
        ("x.jpg 1\nx.jpg 2\n", "named before: line 2"),
        ("x.jpg 0\n", r"class from 1 to 7 \(surprise.*line 1: 'x.jpg 0'"),
        ("x.jpg 8\nx.jpg\n\nx.jpg -1\nx.jpg 1.0\n", r"line 1.*line 2.*and 1 more"),
        ("x.jpg 5\n", r"of the same part have one: 'train/y.jpg'\."),
        ("\n", "names no image"),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=message) as error:
            read_label_file(path, table, label_spaces.RAFDB)
        assert str(path) in str(error.value)
    with pytest.raises(DataError, match="names no image that is asked for"):
        path.write_text("test/y.jpg 1\n")
        read_label_file(path, table, label_spaces.RAFDB, needed=np.array([0, 1]))
    path.write_text("x.jpg\t5 \ntrain/y.jpg  2\n")
    read = read_label_file(path, table, label_spaces.RAFDB)
    assert read.tolist() == [4, 1, 0]
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="Cannot read"):
        read_label_file(path, table, label_spaces.RAFDB)
    with pytest.raises(DataError, match="Cannot read"):
        read_label_file(tmp_path / "none.txt", table, label_spaces.RAFDB)
