"""Runs at several rates of wrong labels: never averaged, and compared."""

import csv
import json
import re

import numpy as np
import pytest

from jaxfer.errors import ConfigError, DataError
from jaxfer.evaluate import run_folder, tables
from jaxfer.evaluate.label_noise import write_beside
from jaxfer.evaluate.report import write_report
from jaxfer.evaluate.summary import summarize

RATES = (1 / 3, 0.0, 0.1)  # in the order of the config, which is any
SMALL = {"examples": 60, "cfnet": False, "stages": {"train": 6}, "folds": 2}


@pytest.fixture
def sweep(make_run):
    return make_run(rates=RATES, seeds=2, **SMALL)


def change(path, name, **fields):
    content = json.loads((path / name).read_text())
    content.update(fields)
    (path / name).write_text(json.dumps(content))


def test_without_noise_nothing_changes(make_run):
    path = make_run(**SMALL)
    results = summarize(path)
    assert "label_noise" not in results and set(results["headline"]) == {
        "selection",
        "meaning",
    }
    info = json.loads((path / "run.json").read_text())
    for run in info["runs"]:  # as runs were written before rates existed
        del run["noise"]
    change(path, "run.json", runs=info["runs"])
    lines = list(csv.reader((path / "metrics.csv").read_text().splitlines()))
    at = lines[0].index("noise")
    text = "\n".join(",".join(line[:at] + line[at + 1 :]) for line in lines)
    (path / "metrics.csv").write_text(text + "\n")
    old = summarize(path)
    assert old.pop("runs") != results.pop("runs") and old == results


def test_rates_are_never_mixed(sweep):
    results = summarize(sweep)
    with (sweep / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [entry["rate"] for entry in results["label_noise"]] == sorted(RATES)
    for entry in results["label_noise"]:
        assert entry["runs"] == 4
        expected, recalls, last_five = [], [], []
        for seed in (0, 1):
            for fold in (0, 1):
                name = f"seed_{seed:02}/noise_{100 * entry['rate']:g}/fold_{fold:02}"
                with np.load(sweep / name / "predictions_last.npz") as table:
                    hits = table["logits/decision"].argmax(1) == table["label"]
                    true = table["label"]
                expected.append(hits.mean())
                recalls.append(np.mean([hits[true == k].mean() for k in set(true)]))
                mine = [
                    float(r["test/accuracy"])
                    for r in rows
                    if (int(r["seed"]), int(r["fold"])) == (seed, fold)
                    and r["noise"] == f"{entry['rate']:.7g}"
                ]
                assert len(mine) == 6
                last_five.append(np.mean(mine[-5:]))
        balanced = entry["balanced_accuracy"]
        np.testing.assert_allclose(balanced["last"]["runs"], recalls, rtol=1e-6)
        found = entry["accuracy"]
        assert balanced.keys() == found.keys()
        np.testing.assert_allclose(found["last"]["runs"], expected, rtol=1e-6)
        np.testing.assert_allclose(found["mean_of_last_5"]["runs"], last_five)
        assert found["last"]["std"] == pytest.approx(np.std(expected, ddof=1))
    headline = results["headline"]
    assert headline["noise"] == 0.0 and "0 % wrong" in headline["meaning"]
    lowest = results["label_noise"][0]
    assert results["selections"]["last"]["accuracy"] == lowest["accuracy"]["last"]
    assert np.sum(results["confusion"]["last"]) == 2 * 60  # two seeds, one rate


def test_answers_to_wrong_labels_are_counted(sweep):
    none, _, third = summarize(sweep)["label_noise"]
    assert none["wrong_labels"] == 0 and none["memorised"] == {}
    assert third["wrong_labels"] == 4 * 10
    for selection, name in (("last", "last"), ("best_by_validation", "validation")):
        shares = []
        for path in sorted(sweep.glob(f"seed_*/noise_33*/*/wrong_labels_{name}.npz")):
            with np.load(path) as table:
                pairs = zip(table["label"], table["given"])
                answers = table["logits/decision"].argmax(1)
                kinds = [
                    "memorised" if a == given else "corrected" if a == true else "other"
                    for a, (true, given) in zip(answers, pairs)
                ]
            shares.append([kinds.count(k) / 10 for k in ("memorised", "corrected")])
        for k, kind in enumerate(("memorised", "corrected")):
            runs = [s[k] for s in shares]
            np.testing.assert_allclose(third[kind][selection]["runs"], runs)
        total = sum(third[k][selection]["mean"] for k in ("memorised", "corrected"))
        assert third["other"][selection]["mean"] == pytest.approx(1 - total)


def test_labels_of_a_file_are_one_group(make_run):
    path = make_run(rates=(0.2,), **SMALL)
    info = json.loads((path / "run.json").read_text())
    for run, noise in zip(info["runs"], (0.21, 0.23)):
        run["noise"] = noise
    change(path, "run.json", runs=info["runs"])
    assert len(run_folder.by_rate(run_folder.load(path))) == 2
    config = json.loads((path / "config.json").read_text())
    config["data"]["label_noise"]["kind"] = "file"
    change(path, "config.json", data=config["data"])
    (entry,) = summarize(path)["label_noise"]
    assert entry["rate"] == pytest.approx(0.22) and entry["runs"] == 2
    assert summarize(path)["selections"]["last"]["accuracy"]["n"] == 2
    config["data"]["label_noise"]["file"] = "less.txt,more.txt"
    change(path, "config.json", data=config["data"])
    rates = [entry["rate"] for entry in summarize(path)["label_noise"]]
    assert rates == [0.21, 0.23]  # one a list


def test_the_page_draws_a_line_for_each_rate(run_writer, tmp_path, parse):
    options = SMALL | {"examples": 40, "rates": (0.0, 0.25)}
    path = run_writer(tmp_path / "eac", **options)
    other = run_writer(tmp_path / "plain", skill=0.7, **options)
    change(other, "config.json", method={"name": "resnet18", "consistency": 0.0})
    content = write_beside(path, other)
    assert content["names"] == ["eac", "plain"]
    assert content["differences"] == ["method.consistency: null -> 0.0"]
    text = write_report(path).read_text()
    page = parse(text)
    assert "label-noise" in page.ids
    words = " ".join(" ".join(page.text).split())
    assert "method.consistency: null -> 0.0" in words
    figures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    curves = [f for f in figures if "and rate of wrong labels" in f]
    assert len(curves) == 2 and all(">25 %</text>" in f for f in curves)
    for metric in ("accuracy", "balanced accuracy"):
        title = f"Test {metric} by rate of wrong labels"
        (compared,) = (f for f in figures if title in f)
        assert ">eac</text>" in compared and ">plain</text>" in compared
    results = json.loads((path / "report" / "results.json").read_text())
    assert results["beside"]["label_noise"] == summarize(other)["label_noise"]
    for entry in (*results["label_noise"], *results["beside"]["label_noise"]):
        assert f"{100 * entry['accuracy']['last']['mean']:.1f} ±" in words
    table = tables.results_table(results)
    assert "plain, best_by_validation" in table and "25 % wrong" in table


@pytest.mark.parametrize(
    ("options", "info", "message"),
    [
        ({"rates": (0.0, 0.3)}, {}, "same label noise, found symmetric, 0 %, 30 %"),
        ({"rates": ()}, {}, "same label noise, found none"),
        ({"folds": 3}, {}, "same protocol"),
        ({}, {"dataset": "rafdb"}, "same data set, found rafdb"),
        ({}, {"data": {"fingerprint": "f00"}}, "fingerprint f00"),
    ],
)
def test_other_data_protocols_and_rates_are_refused(
    run_writer, tmp_path, options, info, message
):
    options = SMALL | {"rates": (0.0, 0.25)} | options
    path = run_writer(tmp_path / "a", **SMALL, rates=(0.0, 0.25))
    other = run_writer(tmp_path / "b", **options)
    change(other, "run.json", **info)
    with pytest.raises(DataError, match=message):
        write_beside(path, other)
    assert not (path / "report").exists()


def test_beside_needs_noise_and_finished_runs(make_run, tmp_path):
    path = make_run(**SMALL)
    with pytest.raises(ConfigError, match=r"trained without.*label_noise\.kind"):
        write_beside(path, path)
    with pytest.raises(DataError, match="does not exist"):
        write_beside(path, tmp_path / "nowhere")
