import io
import sys
import tracemalloc
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from jaxfer import cli
from jaxfer.data import labels
from jaxfer.data.builders.affectnet import Affectnet
from jaxfer.data.builders.source import Source
from jaxfer.data.dataset import load
from jaxfer.data.prepare import prepare
from jaxfer.errors import ConfigError, DataError


def npy(value):
    """A number as the owners ship it: a text in an array without axes."""
    file = io.BytesIO()
    np.save(file, np.array(value))
    return file.getvalue()


def annotated(name, image, expression, valence="0.5", arousal="-0.25"):
    split, stem = name.split("/")
    at = f"{split}/annotations/{stem}"
    return {
        f"{split}/images/{stem}.jpg": image,
        f"{at}_exp.npy": npy(expression),
        f"{at}_val.npy": npy(valence),
        f"{at}_aro.npy": npy(arousal),
        f"{at}_lnd.npy": npy([1.0, 2.0]),
    }


@pytest.fixture
def tree(trees, tmp_path):
    def make(**more):
        files = {}
        for split in ("train_set", "val_set"):
            for k in range(8):
                image = trees.jpeg(k + 50 * (split == "val_set"), 12)
                files |= annotated(f"{split}/{k}", image, str(k), str(k / 8))
        return trees.write(tmp_path / "affectnet", files | more)

    return make


def prepared(source, data_dir, **options):
    report = prepare(
        "affectnet", source, data_dir=data_dir, progress=False, workers=2, **options
    )
    return report, load("affectnet", data_dir=data_dir)


@pytest.mark.parametrize("packed", [False, True])
def test_eight_classes_with_valence_and_arousal(tree, trees, data_dir, packed):
    source = trees.zipped(tree()) if packed else tree()
    report, data = prepared(source, data_dir)
    assert data.class_names == labels.AFFECTNET
    assert list(data.table.split) == ["train"] * 8 + ["test"] * 8
    assert list(data.table.label) == list(range(8)) * 2
    assert data.table.valence.dtype == data.table.arousal.dtype == np.float32
    np.testing.assert_array_equal(data.table.valence, np.arange(16) % 8 / 8)
    np.testing.assert_array_equal(data.table.arousal, np.full(16, -0.25))
    assert not report.skips
    assert any("train, happiness: 1 images, published 134,415" in w
               for w in report.warnings)  # fmt: skip


def test_shards_keep_valence_and_arousal(tree, data_dir):
    import tensorflow_datasets as tfds

    report, _ = prepared(tree(), data_dir)
    builder = tfds.builder_from_directory(str(report.path))
    record = builder.as_data_source("train")[3]
    assert (record["label"], record["valence"], record["arousal"]) == (3, 0.375, -0.25)


def test_seven_classes_leave_contempt_out(tree, data_dir):
    report, data = prepared(tree(), data_dir, classes=7)
    assert data.class_names == labels.AFFECTNET[:7]
    assert Counter(data.table.label.tolist()) == dict.fromkeys(range(7), 2)
    assert [s.reason for s in report.skips] == [
        "contempt, which is not a class here"
    ] * 2
    assert sum(report.published.counts["train"].values()) == 283901
    assert sum(report.published.counts["test"].values()) == 3500
    with pytest.raises(ConfigError, match="classes must be 7 or 8, found 6"):
        prepare("affectnet", tree(), data_dir=data_dir, classes=6, overwrite=True)


def test_unlabelled_images_are_counted_and_listed(tree, trees, data_dir):
    image, at = trees.jpeg(9, 12), "train_set/annotations"
    more = {}
    for k, (expression, valence) in enumerate(
        [("8", "-2"), ("9", "-2"), ("10", "-2"), ("11", "0"), ("1", "-2"), ("1", "3"),
         ("joy", "0"), ("nan", "0")],
        20,
    ):  # fmt: skip
        more |= annotated(f"train_set/{k}", image, expression, valence)
    more |= annotated("train_set/28", image, np.array([{"a": 1}], object))
    more |= annotated("train_set/29", image, np.float32(3), [b"0.5"])
    more |= annotated("train_set/30", image, "1", [0.1, 0.2])
    more |= annotated("train_set/40", b"", "1") | annotated("train_set/41", b"x", "1")
    more |= {"train_set/images/42.jpg": image, "list.csv": "a,b"}
    more |= {f"{at}/43_exp.npy": npy("1")}
    more |= annotated("val_set/44", image, "2")
    source = tree(**more)
    (source / "val_set/annotations/44_val.npy").unlink()
    (source / "train_set/annotations/5_aro.npy").write_bytes(b"\x93NUMPY")
    report, data = prepared(source, data_dir)
    assert Counter(s.reason for s in report.skips) == {
        "expression 8 (none)": 1,
        "expression 9 (uncertain)": 1,
        "expression 10 (no face)": 1,
        "expression 11 is not one of 0 to 10": 1,
        "valence -2 (not labelled)": 1,
        "valence 3 is not within -1 to 1": 1,
        "unreadable annotation (_exp.npy)": 2,
        "annotation is not a number (_exp.npy)": 1,
        "empty file": 1,
        "annotation without an image": 1,
        "not an image": 1,
        "no annotation (_exp.npy)": 1,
        "not an image or annotation of AffectNet": 1,
        "unreadable annotation (_aro.npy)": 1,
        "unreadable annotation (_val.npy)": 1,
    }
    assert len(data.table) == 7 + 1 + 8 + 1
    assert "train_set/images/29.jpg" in data.table.file  # a number, not a text
    row = list(data.table.file).index("val_set/images/44.jpg")
    assert np.isnan(data.table.valence[row]) and data.table.arousal[row] == -0.25
    assert "1 image(s) without valence or arousal" in report.layout


def test_images_without_any_annotation_are_an_error(trees, tmp_path, data_dir):
    source = trees.write(tmp_path / "x", {"train_set/images/0.jpg": trees.jpeg(0)})
    with pytest.raises(DataError, match=r"none with a usable label.*no annotation"):
        prepare("affectnet", source, data_dir=data_dir)


def test_a_plan_of_many_images_is_small():
    names = {}
    for k in range(2_000):
        names[f"train_set/images/{k}.jpg"] = 5000
        for kind in ("exp", "val", "aro"):
            names[f"train_set/annotations/{k}_{kind}.npy"] = 140
    one = npy("0.0")
    source = Source(Path("nowhere"), names, lambda name: one)
    tracemalloc.start()
    plan = Affectnet.scan(source)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(plan.examples) == 2_000 and not plan.skips
    assert kept < 2_000 * 800
    assert peak < 2_000 * 1600


def test_beam_says_what_it_needs(tree, trees, data_dir, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    source = tree()
    command = ["prepare", "affectnet", "--source", str(source), "--beam", ""]
    assert cli.main([*command, "--data-dir", str(data_dir)]) == 2
    assert "docs/affectnet_on_a_cluster.md" in capsys.readouterr().err
    assert not data_dir.exists()


def test_beam_refuses_a_zip(tree, trees, data_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", types.ModuleType("apache_beam"))
    with pytest.raises(DataError, match="is a zip file; the workers"):
        prepare("affectnet", trees.zipped(tree()), data_dir=data_dir, beam="")
