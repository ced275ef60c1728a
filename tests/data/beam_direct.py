"""Run by launch/single/test_beam.sh, where Apache Beam is installed."""

import numpy as np
import pytest
from data import test_affectnet

from jaxfer.data import beam
from jaxfer.data.dataset import Table, load
from jaxfer.data.prepare import prepare

tree = test_affectnet.tree

RUNNERS = {
    "one process": "--runner=DirectRunner",
    "two processes": "--runner=DirectRunner --direct_num_workers=2 "
    "--direct_running_mode=multi_processing",
}


@pytest.fixture
def source(tree, trees):
    """Sixteen good images, and what the scan or the workers leave out."""
    damaged = test_affectnet.annotated("train_set/30", b"no image", "3")
    cut = test_affectnet.annotated("val_set/31", trees.jpeg(31, 12)[:-40], "2")
    empty = test_affectnet.annotated("train_set/32", b"", "1")
    uncertain = test_affectnet.annotated("val_set/33", trees.jpeg(33, 12), "9")
    unrated = test_affectnet.annotated("val_set/34", trees.jpeg(34, 12), "4")
    del unrated["val_set/annotations/34_val.npy"]
    return tree(**damaged, **cut, **empty, **uncertain, **unrated)


def records(folder, split):
    import tensorflow_datasets as tfds

    return list(tfds.builder_from_directory(str(folder)).as_data_source(split))


@pytest.mark.parametrize("options", RUNNERS.values(), ids=RUNNERS)
def test_a_pipeline_leaves_what_the_threads_leave(
    source, data_dir, monkeypatch, options
):
    monkeypatch.setattr(beam, "_CHUNK", 3)  # so that workers get several
    made = {"threads": {"workers": 2}, "beam": {"beam": options}}
    reports, datasets = [], []
    for name, how in made.items():
        how |= {"data_dir": data_dir, "save_as": name, "progress": False}
        reports.append(prepare("affectnet", source, **how))
        datasets.append(load(name, data_dir=data_dir))
    threads, pipeline = reports
    assert pipeline.counts == threads.counts
    assert pipeline.skips == threads.skips
    for file in ("table.npz", "skipped.csv"):
        expected = (threads.path / file).read_bytes()
        assert (pipeline.path / file).read_bytes() == expected
    one, other = datasets
    assert other.class_names == one.class_names
    assert other.skips == one.skips
    for column in Table.__dataclass_fields__:
        np.testing.assert_array_equal(
            getattr(other.table, column), getattr(one.table, column)
        )
    images = [one.source[row]["image"] for row in range(len(one.table))]
    assert images == [other.source[row]["image"] for row in range(len(other.table))]
    for split in ("train", "test"):
        for ours, theirs in zip(
            records(pipeline.path, split), records(threads.path, split), strict=True
        ):
            assert ours.keys() == theirs.keys()
            for key in ours:
                np.testing.assert_array_equal(ours[key], theirs[key])
