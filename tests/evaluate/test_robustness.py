"""Corruptions of a real (toy) run, measured and reported by the command."""

import argparse
import json
import shutil

import numpy as np
import pytest
import toy

from jaxfer import evaluate, train
from jaxfer.errors import ConfigError, DataError
from jaxfer.evaluate import cli, pictures, robustness, run_folder
from jaxfer.evaluate.robustness import Corruption, check, judge_corrupted, measure
from jaxfer.evaluate.selections import scalars, state_of
from jaxfer.evaluate.summary import summarize


@pytest.fixture
def run(toy_run, toys, tmp_path):
    """A copy of the trained run, to be changed; the lowest of its rates counts."""
    return shutil.copytree(toy_run, tmp_path / "run")


def command(*words):
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return cli.main(parser.parse_args([str(word) for word in words]))


def test_a_corruption_that_changes_nothing_costs_nothing(run):
    entries = measure(run, [Corruption("gaussian_blur", kernel_size=1)])
    entries = measure(run, [Corruption("gaussian_noise", variance=0.0)])
    clean = summarize(run)["selections"]["best_by_validation"]
    assert list(entries) == [
        "gaussian_blur kernel_size=1 on test, best_by_validation",
        "gaussian_noise variance=0 on test, best_by_validation",
    ]
    for entry in entries.values():
        for name in ("accuracy", "macro_f1", "loss"):
            np.testing.assert_allclose(
                entry[name]["runs"], clean[name]["runs"], rtol=1e-5
            )


def test_strong_corruption_costs_accuracy_and_the_last_epoch_is_its_own(run):
    noise = [Corruption("gaussian_noise", variance=4.0)]
    entries = measure(run, noise)
    entries = measure(run, noise, selection="last")
    clean = summarize(run)["selections"]["last"]["accuracy"]["mean"]
    assert len(entries) == 2
    assert all(e["accuracy"]["mean"] < clean - 0.2 for e in entries.values())


def test_training_too_is_a_run_of_its_own(run, monkeypatch):
    blur = Corruption("gaussian_blur", kernel_size=1)  # changes nothing
    entries = measure(run, [blur], train_too=True)
    (entry,) = entries.values()
    assert entry["where"] == "train_and_test"
    clean = summarize(run)["selections"]["best_by_validation"]
    np.testing.assert_allclose(entry["accuracy"]["runs"], clean["accuracy"]["runs"])
    config = run_folder.load(run / "corrupted" / "gaussian_blur_1").config
    assert config["data"]["corruption"]["kernel_size"] == 1
    monkeypatch.setattr(
        train.experiment, "_train", lambda *a, **k: pytest.fail("trained again")
    )
    assert measure(run, [blur], train_too=True) == entries
    with pytest.raises(ConfigError, match="itself trained on corrupted"):
        measure(run / "corrupted" / "gaussian_blur_1", [blur])


def test_judging_does_not_depend_on_batches(monkeypatch):
    rows, labels = np.arange(20), np.arange(20, dtype=np.int32) % 3
    images = np.random.default_rng(0).integers(0, 200, (20, 4, 4, 3)).astype(np.uint8)

    def predict(_, x):
        return np.asarray(x)[:, 0, :3, 0].astype(np.float32)

    def change(x, row):  # hangs on the row, as noise does
        return np.asarray(x) + (7 * np.asarray(row) % 50)[:, None, None, None].astype(
            np.uint8
        )

    monkeypatch.setattr(robustness, "BATCH", 7)
    state = judge_corrupted(predict, None, change, images, rows, labels)
    expected = scalars(state_of(predict(None, change(images, rows)), labels))
    assert scalars(state) == pytest.approx(expected, rel=1e-4)


def test_the_command_draws_the_curve(run, capsys, undrawn):
    assert command(run, "--sweep", "3,7") == 0
    assert command(run, "--corruption", "gaussian_noise", "--variance", "0.05") == 0
    output = capsys.readouterr().out
    assert "Blur, 7 × 7: accuracy" in output
    assert "Noise, variance 0.05, test alone, best_by_validation" in output
    assert output.strip().endswith(f"Report: {run / 'report' / 'index.html'}")
    page = (run / "report" / "index.html").read_text()
    assert 'aria-label="Test accuracy by kernel size of the blur"' in page
    assert "Noise, variance 0.05" in page
    results = json.loads((run / "report" / "results.json").read_text())
    assert len(results["robustness"]) == 3


def test_without_a_corruption_summary_and_report_are_made_again(run, capsys, undrawn):
    assert command(run) == 0
    output = capsys.readouterr().out
    results = json.loads((run / "report" / "results.json").read_text())
    accuracy = results["selections"]["best_by_validation"]["accuracy"]
    assert f"{100 * accuracy['mean']:.1f} ± {100 * accuracy['std']:.1f}" in output
    assert "best_on_test (optimistic" in output
    assert evaluate.finish(run) == output.rstrip("\n")


def test_pictures_come_from_the_same_data_only(run, tmp_path, monkeypatch, undrawn):
    folder = run_folder.load(run)
    monkeypatch.setenv("JAXFER_DATA_DIR", str(tmp_path / "data"))
    assert pictures.image_source(folder) is None  # not prepared
    (tmp_path / "data" / "synthetic_faces").mkdir(parents=True)
    image_of = pictures.image_source(folder)
    assert image_of(3).shape == (pictures.SIDE, pictures.SIDE, 3)
    assert "data:image/jpeg" in (evaluate.finish(run) and _page(run))
    other = toy.dataset(count=30)
    monkeypatch.setattr(train.experiment.data, "load", lambda *a, **k: other)
    assert pictures.image_source(folder) is None
    assert "data:image/jpeg" not in (evaluate.finish(run) and _page(run))


def _page(run):
    return (run / "report" / "index.html").read_text()


def test_another_version_of_the_data_is_refused(run, monkeypatch):
    data = toy.dataset()
    data.table.label[:] = np.roll(data.table.label, 1)
    monkeypatch.setattr(train.experiment.data, "load", lambda *a, **k: data)
    with pytest.raises(DataError, match="another version of toy"):
        measure(run, [Corruption("gaussian_blur")])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--corruption", "fog"], "gaussian_blur, gaussian_noise, found 'fog'"),
        (["--corruption", "gaussian_blur", "--kernel", "4"], "odd, positive.* 4"),
        (["--sweep", "3,x"], "kernel sizes such as 3,5,7"),
        (["--sweep", "3,6"], "odd, positive.* 6"),
        (["--sweep", "3", "--kernel", "3"], "either --kernel or --sweep"),
        (["--kernel", "3"], "--kernel needs --corruption"),
        (["--train-too"], "--train-too needs --corruption"),
        (["--corruption", "gaussian_noise", "--kernel", "3"], "takes --variance"),
        (["--corruption", "gaussian_noise", "--variance", "-1"], "at least 0"),
    ],
)
def test_wrong_arguments_are_explained(run, words, message):
    with pytest.raises(ConfigError, match=message):
        command(run, *words)
    assert not (run / "report").exists()


def test_wrong_folders_are_explained(run, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        command(tmp_path / "nowhere")
    for file in run.rglob("predictions_validation.npz"):
        file.unlink()
    with pytest.raises(ConfigError, match="held out no validation"):
        command(run, "--sweep", "3", "--selection", "validation")
    (run / "run.json").unlink()
    with pytest.raises(DataError, match="not finished"):
        command(run)


def test_check_keeps_what_is_right():
    blur = Corruption("gaussian_blur", 3)
    assert check(blur) == blur and blur.folder == "gaussian_blur_3"
    assert Corruption("gaussian_noise").folder == "gaussian_noise_0.01"
