"""Damaged files of a run folder: named, with what to do, before anything is written."""

import csv
import json

import numpy as np
import pytest

from jaxfer.errors import DataError
from jaxfer.evaluate.report import write_report
from jaxfer.evaluate.run_folder import is_measured, load
from jaxfer.evaluate.summary import summarize


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write(text):
    def damage(path):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    return damage


DAMAGES = {
    "fold_00/predictions_last.npz": cut,
    "fold_01/predictions_validation.npz": cut,
    "noise_20/fold_00/wrong_labels_last.npz": write(""),
    "run.json": write("{}"),
    "config.json": write("[]"),
    "metrics.csv": write("seed,fold,sta"),
    "split_manifest.csv": cut,
    "report/robustness.json": write("[]"),
    "report/beside.json": write("{}"),
    "report/suspect_labels.json": write(""),
    "report/synthesis.json": write("{}"),
    "report/explanations.json": write("{}"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_named_with_what_to_do(make_run, undrawn, name):
    rates = (0.1, 0.2) if "noise" in name else ()
    path = make_run(folds=2, examples=60, stages={"train": 1}, rates=rates)
    DAMAGES[name](path / name)
    with pytest.raises(DataError) as error:
        write_report(path)
    told = str(error.value)
    assert told.startswith(f"{path / name} is damaged and cannot be read: expected ")
    assert ", found " in told and ("delete it" in told or "restore it" in told)
    assert not (path / "report" / "index.html").exists()


@pytest.mark.parametrize(
    ("column", "value"), [("epoch", "one"), ("test/accuracy", "0.5.1")]
)
def test_a_metric_that_is_no_number_is_named(make_run, column, value):
    path = make_run(folds=1, examples=60, stages={"train": 1})
    with (path / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    lines = [",".join(row), ",".join((row | {column: value}).values())]
    (path / "metrics.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(
        DataError, match=rf"metrics\.csv is damaged.*{value}.*delete it"
    ):
        load(path)


def test_predictions_of_unequal_lengths_are_damaged(make_run):
    path = make_run(folds=1, examples=60)
    file = path / "fold_00" / "predictions_last.npz"
    arrays = dict(np.load(file))
    np.savez(file, **arrays | {"label": arrays["label"][1:]})
    with pytest.raises(DataError, match=r"last\.npz is damaged.*a row for each image"):
        summarize(path)


@pytest.mark.parametrize("section", ["explanations", "synthesis"])
def test_damaged_pictures_of_a_section_are_named(make_run, undrawn, section):
    path = make_run(folds=1, examples=60, stages={"train": 1})
    found = {"selection": "last", "pictures_of": {"seed": 0, "fold": 0}}
    found |= {"recognisers": {}}
    (path / "report").mkdir()
    (path / "report" / f"{section}.json").write_text(json.dumps(found))
    assert not is_measured(load(path), section)  # pictures are missing
    (path / "report" / f"{section}.npz").write_bytes(b"PK")
    assert is_measured(load(path), section)
    with pytest.raises(DataError, match=rf"{section}\.npz is damaged.*delete it and"):
        write_report(path)
