"""The model card: one model's figures, told from its run folder."""

import json
import re

import numpy as np
import pytest

from jaxfer.errors import DataError
from jaxfer.evaluate.model_card import Confusion, model_card, most_confused


def tables(card):
    """Every table as rows of cells."""
    blocks = re.findall(r"(?:^\|.*\n)+", card, re.M)
    return [
        [
            [cell.strip() for cell in line.split("|")[1:-1]]
            for line in block.splitlines()
        ]
        for block in blocks
    ]


def test_a_card_tells_the_figures_of_its_model_alone(make_run):
    path = make_run(folds=3, examples=300)
    card = model_card(path, run=1, licence="For research, by agreement.")
    with np.load(path / "fold_01" / "predictions_validation.npz") as file:
        label, answer = file["label"], file["logits/decision"].argmax(axis=1)
    right = (label == answer).mean()
    assert f"**{100 * right:.1f} %** (standard error" in card
    assert "For research, by agreement." in card and "To be written" not in card
    facts, metrics, classes, confusion = tables(card)
    assert all(len({len(row) for row in rows}) == 1 for rows in tables(card))
    assert [
        "Model",
        "seed 0, fold 1; the epoch that was best on held-out validation images",
    ] in facts
    assert metrics[0] == ["", "this model", "mean over 3 runs", "deviation"]
    assert metrics[2][1] == f"{100 * right:.1f} %" != metrics[2][2]
    counts = np.array([row[1:] for row in confusion[2:]], int)
    expected = np.zeros_like(counts)
    np.add.at(expected, (label, answer), 1)
    np.testing.assert_array_equal(counts, expected)
    assert [row[2] for row in classes[2:]] == [str(n) for n in expected.sum(axis=1)]
    assert sum(int(row[1]) for row in classes[2:]) == 160  # of 200, a fifth held out
    worst = most_confused(expected, [row[0] for row in classes[2:]])[0]
    assert f"- {worst.true} taken for {worst.predicted}: {worst.number} of" in card
    assert "python -m jaxfer.launch --config cfnet_ckplus.py" in card
    assert 'data.label_noise.kind = ""\n' in card and "jaxfer_version" not in card
    assert re.search(r"Known failures\n\n\S", card) and "\n\n\n" not in card
    last = model_card(path, run=1, selection="last")
    assert "*To be written before" in last and "the last epoch of training" in last


def test_the_most_frequent_mistakes_come_first():
    confusion = np.array([[5, 2, 0], [3, 9, 1], [0, 0, 4]])
    assert most_confused(confusion, "abc", 2) == [
        Confusion("b", "a", 3, 13),
        Confusion("a", "b", 2, 7),
    ]
    assert most_confused(np.eye(3), "abc") == []


def test_a_card_does_without_what_a_run_does_not_know(make_run):
    path = make_run(folds=1, validation=False, cfnet=False)
    info = json.loads((path / "run.json").read_text())
    for name in ("command", "environment", "seconds", "parameters", "data"):
        del info[name]
    (path / "run.json").write_text(json.dumps(info))
    (path / "split_manifest.csv").unlink()
    card = model_card(path, selection="last")
    assert "the command was not recorded" in card and "mean over" not in card
    for options in ({"selection": "validation"}, {"selection": "last", "run": 1}):
        with pytest.raises(DataError, match="has runs 0 to 0 and the selections last"):
            model_card(path, **options)


def test_a_card_does_not_list_many_classes(make_run, widen):
    path = make_run(folds=2, examples=90, cfnet=False, skill=0.3)
    few = model_card(path)
    card = model_card(widen(path))
    assert "one of 300 classes; with" in card and "c299" not in card
    assert "too many to list" in card and "mistakes were not counted" in card
    kept = "On [0-9,]+ test images it is right in .* would be right in .*"
    assert re.findall(kept, card) == re.findall(kept, few) != []
    (weak,) = re.findall(r"Fewer than half of these are recognised: (.*)\. Do", few)
    number, tested = re.findall(r"recognised of (\d+) of the (\d+) classes", card)[0]
    assert int(number) == weak.count(" of ") and tested == "7"
    assert len(tables(card)) == len(tables(few)) - 2
    assert "\n\n\n" not in card
