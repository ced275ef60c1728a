"""Damaged files of a run that continues: named, and what is advised helps."""

import shutil

import pytest
import toy

from jaxfer import train
from jaxfer.errors import CheckpointError
from jaxfer.train import experiment

pytestmark = pytest.mark.usefixtures("use_toy")


def again(folder, lines=None):
    lines = [] if lines is None else lines
    return train.run(toy.config(kind="given"), folder, say=lines.append)


@pytest.mark.parametrize("content", ["", "[]", "{}"])
@pytest.mark.parametrize(
    "name", ["data.json", "plan.json", "config.json", "fold_00/finished.json"]
)
def test_a_damaged_record_stops_a_run_before_it_trains(
    finished_toy, tmp_path, monkeypatch, name, content
):
    folder = shutil.copytree(finished_toy, tmp_path / "run")
    (folder / name).write_text(content)
    monkeypatch.setattr(experiment, "_train", lambda *a, **k: pytest.fail("trained"))
    with pytest.raises(CheckpointError, match=rf"{name} is damaged.*delete it and run"):
        again(folder)
    assert (folder / name).read_text() == content


@pytest.mark.parametrize("name", ["data.json", "plan.json", "run.json"])
def test_what_is_deleted_as_advised_is_made_anew_without_training(
    finished_toy, tmp_path, monkeypatch, name
):
    folder = shutil.copytree(finished_toy, tmp_path / "run")
    (folder / name).unlink()
    monkeypatch.setattr(experiment, "_train", lambda *a, **k: pytest.fail("trained"))
    again(folder)
    assert (folder / name).is_file()


@pytest.mark.parametrize(
    "names", [["predictions_last.npz"], ["finished.json", "predictions_validation.npz"]]
)
def test_results_of_a_run_come_again_from_its_last_checkpoint(
    finished_toy, tmp_path, names
):
    folder = shutil.copytree(finished_toy, tmp_path / "run")
    for name in names:
        (folder / "fold_00" / name).unlink()
    again(folder, lines := [])
    assert any("continuing at stage second, epoch 2" in line for line in lines), lines
    for name in (*names, "finished.json"):
        assert (folder / "fold_00" / name).is_file()
    before, after = (f / "metrics.csv" for f in (finished_toy, folder))
    assert before.read_text() == after.read_text()
