"""Training on wrong labels, at several rates at once."""

import json

import chex
import numpy as np
import pytest
import toy

from jaxfer import train
from jaxfer.data.label_files import read_label_file
from jaxfer.errors import ConfigError, DataError
from jaxfer.train.experiment import open_experiment

pytestmark = pytest.mark.usefixtures("use_toy")


def config(kind="symmetric", rates=(0.0, 0.25, 0.5), **fields):
    config = toy.config(kind="given", validation_kind="random")
    config.data.label_noise.kind = kind
    config.data.label_noise.rates = rates
    config.update_from_flattened_dict(fields)
    return config


def run(folder, config):
    return train.run(config, folder, say=lambda line: None)


def variables_of(folder):
    return [run.variables for run in train.restore(folder, "last").runs]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        toy.stand_in(patch)
        run(folder, config())
    return folder


def test_every_rate_is_a_run_with_its_wrong_labels(sweep):
    runs = json.loads((sweep / "run.json").read_text())["runs"]
    assert [r["dir"] for r in runs] == [f"noise_{n}/fold_00" for n in (0, 25, 50)]
    data = toy.dataset()
    train_rows = train.restore(sweep, "last").runs[0].rows.train
    changed = []
    for one, rate in zip(runs, (0.0, 0.25, 0.5)):
        assert one["noise"] == rate
        path = sweep / one["dir"] / "labels.txt"
        given = read_label_file(path, data.table, toy.CLASSES)[train_rows]
        wrong = given != data.table.label[train_rows]
        assert wrong.sum() == round(rate * len(train_rows))
        changed.append(wrong)
        with np.load(sweep / one["dir"] / "wrong_labels_last.npz") as found:
            np.testing.assert_array_equal(found["index"], train_rows[wrong])
            np.testing.assert_array_equal(found["given"], given[wrong])
            assert (found["label"] != found["given"]).all()
            assert found["logits/decision"].shape == (wrong.sum(), 3)
    assert (changed[2] | changed[1] == changed[2]).all()  # the same mistakes, and more
    rows = (sweep / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("seed,fold,noise,stage") and len(rows) == 1 + 3 * 5


def given(config, folder):
    """What each run would be trained on."""
    runs = open_experiment(config, folder).runs
    return {run.noise: (run.folder.relative_to(folder), run.given) for run in runs}


def test_the_lists_of_a_run_are_those_of_another_run(sweep, tmp_path):
    told = train.restore(sweep, "last").runs[1:]
    rows = told[0].rows.train
    paths = [run.dir / "labels.txt" for run in told]
    named = [line.split()[0] for line in paths[0].read_text().splitlines()]
    table = toy.dataset().table
    assert named == table.file[table.split == "train"].tolist() and len(rows) < 48
    found = given(
        config("file", **{"data.label_noise.file": ",".join(map(str, paths))}), tmp_path
    )
    for run, (rate, (folder, labels)) in zip(told, found.items(), strict=True):
        np.testing.assert_array_equal(labels, run.labels)
        assert rate == pytest.approx(
            np.mean(labels[rows] != table.label[rows]), abs=1e-6
        )
        assert folder.as_posix() == f"noise_{100 * rate:g}/fold_00"
    # Lists of what is trained on alone, as they were written once, serve that run.
    lines = paths[0].read_text().splitlines(keepends=True)
    short = tmp_path / "short.txt"
    trained = set(table.file[rows].tolist())
    short.write_text("".join(x for x in lines if x.split()[0] in trained))
    ((_, labels),) = given(
        config("file", **{"data.label_noise.file": str(short)}), tmp_path
    ).values()
    np.testing.assert_array_equal(labels, told[0].labels)
    for files, message in (
        ("", "data.label_noise.file is empty; with .*kind=file it takes"),
        (f"{paths[0]}, {paths[0]}", r"several lists with 2\d\.\d+% wrong labels"),
    ):
        with pytest.raises(ConfigError, match=message):
            given(config("file", **{"data.label_noise.file": files}), tmp_path)


def test_pairs_flip_by_a_matrix_of_the_config(tmp_path):
    path = tmp_path / "confusion.csv"
    path.write_text("9,0,1\n2,5,2\n\n1,0,0\n")
    fields = {"data.label_noise.confusion": str(path)}
    ((_, labels),) = given(config("pair", (0.5,), **fields), tmp_path).values()
    true = toy.dataset().table.label
    flips = set(zip(true[labels != true].tolist(), labels[labels != true].tolist()))
    assert flips == {(0, 2), (1, 0), (1, 2), (2, 0)}
    with pytest.raises(ConfigError, match=r"belongs to data\.label_noise\.kind=pair"):
        given(config("symmetric", **fields), tmp_path)


def test_wrong_labels_are_trained_on_and_not_judged_by(sweep):
    half, none = variables_of(sweep)[2], variables_of(sweep)[0]
    assert not np.allclose(half["params"]["first"], none["params"]["first"], atol=1e-3)
    with np.load(sweep / "noise_50" / "fold_00" / "predictions_last.npz") as found:
        label = toy.dataset().table.label[found["index"]]
        np.testing.assert_array_equal(found["label"], label)


def test_rates_at_once_equal_each_alone_and_streamed(sweep, tmp_path):
    together = variables_of(sweep)
    streamed = config(**{"data.resident": "never"})
    run(tmp_path, streamed)
    for one, other in zip(together, variables_of(tmp_path)):
        chex.assert_trees_all_close(one, other, rtol=2e-5, atol=1e-6)


def test_a_file_of_labels_is_obeyed_in_the_training_part_alone(tmp_path):
    table = toy.dataset().table
    lines = [f"{file} {(k + 1) % 3 + 1}\n" for file, k in zip(table.file, table.label)]
    path = tmp_path / "noise.txt"
    path.write_text("".join(lines))
    run(tmp_path / "run", config("file", **{"data.label_noise.file": str(path)}))
    info = json.loads((tmp_path / "run" / "run.json").read_text())["runs"]
    assert [(r["dir"], r["noise"]) for r in info] == [("fold_00", 1.0)]
    path.write_text("stranger.png 1\n")  # the list may change when training is over
    (restored,) = train.restore(tmp_path / "run").runs
    expected = table.label.copy()
    expected[restored.rows.train] = (expected[restored.rows.train] + 1) % 3
    np.testing.assert_array_equal(restored.labels, expected)
    with np.load(tmp_path / "run" / "fold_00" / "predictions_last.npz") as found:
        # It has learned what it was told, and is judged by what is true.
        told = (found["label"] + 1) % 3
        guess = found["logits/decision"].argmax(1)
        assert (guess == told).mean() > 0.8 > 0.2 > (guess == found["label"]).mean()


def test_a_file_of_other_images_is_refused(tmp_path):
    path = tmp_path / "noise.txt"
    path.write_text("stranger.png 1\n")
    with pytest.raises(DataError, match=r"stranger\.png"):
        run(tmp_path / "run", config("file", **{"data.label_noise.file": str(path)}))
    assert not (tmp_path / "run").exists()
