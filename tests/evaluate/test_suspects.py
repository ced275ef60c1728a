"""Suspect labels of real (toy) runs, found where they were made wrong."""

import argparse
import csv
import json
import shutil

import jax
import numpy as np
import pytest

from jaxfer import evaluate, train
from jaxfer.errors import ConfigError, DataError
from jaxfer.evaluate import cli, suspects
from jaxfer.evaluate.ranking import auroc
from jaxfer.evaluate.suspects import measure
from jaxfer.evaluate.suspicion import rank, view_scores


@pytest.fixture
def sweep(toy_run, toys, tmp_path):
    """A copy of the trained run, of three folds at two rates."""
    return shutil.copytree(toy_run, tmp_path / "run")


@pytest.fixture
def clean(sweep):
    """Its runs without wrong labels, as if there had never been others."""
    info = json.loads((sweep / "run.json").read_text())
    info["runs"] = [run for run in info["runs"] if not run["noise"]]
    for run in info["runs"]:
        source = sweep / run["dir"]
        run["dir"] = source.name
        (source / "labels.txt").unlink()
        source.rename(sweep / source.name)
    (sweep / "run.json").write_text(json.dumps(info))
    config = json.loads((sweep / "config.json").read_text())
    config["data"]["label_noise"]["kind"] = ""
    (sweep / "config.json").write_text(json.dumps(config))
    return sweep


def read(path):
    with (path / "suspect_labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_scores_are_what_they_say():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), (5, 2))
    given = np.array([0, 1, 2, 3, 0])
    score, gap = view_scores(np.log(p), given)
    for i, label in enumerate(given):
        assert score[i] == pytest.approx(-np.log(p[i, :, label]).mean())
        assert gap[i] == pytest.approx(np.maximum(p[i, 0] - p[i, 1], 0).sum())
    _, gap = view_scores(np.log(p[:, [0, 0]]), given)
    np.testing.assert_array_equal(gap, 0)


def test_an_image_is_averaged_over_the_runs_that_gave_it_the_same_label():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(3), (2, 3, 2))
    rows = [np.array([4, 7, 9]), np.array([4, 7, 8])]
    given = [np.array([0, 1, 2]), np.array([0, 2, 2])]
    ranking = rank(rows, given, list(np.log(p)))
    found = dict(zip(zip(ranking.row.tolist(), ranking.given.tolist()), range(5)))
    assert set(found) == {(4, 0), (7, 1), (7, 2), (9, 2), (8, 2)}
    assert (np.diff(ranking.score) <= 0).all()
    both, single = found[4, 0], found[7, 2]
    assert ranking.runs.tolist().count(2) == 1 and ranking.runs[both] == 2
    assert ranking.score[both] == pytest.approx(-np.log(p[:, 0, :, 0]).mean())
    assert ranking.probability[both] == pytest.approx(p[:, 0, :, 0].mean())
    assert ranking.predicted[both] == p[:, 0].mean((0, 1)).argmax()
    assert ranking.score[single] == pytest.approx(-np.log(p[1, 1, :, 2]).mean())


def test_wrong_labels_are_found(sweep):
    content = measure(sweep, top=5)
    none, quarter = (entry["per_run"] for entry in content["rates"])
    assert (content["rates"][0]["rate"], none["wrong_labels"]) == (0.0, 0)
    assert none["score"]["auroc"] is none["gap"]["precision_at_wrong_labels"] is None
    told = set()
    for file in sweep.glob("noise_25/fold_*/wrong_labels_last.npz"):
        with np.load(file) as table:
            told |= set(zip(table["index"].tolist(), table["given"].tolist()))
    assert quarter["score"]["auroc"]["mean"] > 0.7
    assert quarter["score"]["precision_at_wrong_labels"]["mean"] > 0.5
    assert quarter["score"]["precision_at_100"] is None  # there are fewer images
    lines = read(sweep)
    assert [line["noise"] for line in lines[:2]] == ["0.0", "0.0"]
    lines = [line for line in lines if line["noise"] == "0.25"]
    assert [int(line["rank"]) for line in lines] == list(range(1, len(lines) + 1))
    wrong = np.array([line["given_label"] != line["true_label"] for line in lines])
    assert wrong.sum() == len(told) > 20
    # Judged run by run: the mean over runs, by which the file is sorted, is better.
    restored = train.restore(sweep, "validation")
    true = restored.dataset.table.label
    alone: dict[str, list[float]] = {"score": [], "gap": []}
    for run, answers in zip(restored.runs, suspects.answers(restored)):
        rows = run.rows.train
        if "noise_25" in str(run.dir):
            found = view_scores(answers, run.labels[rows])
            for values, score in zip(alone.values(), found):
                values.append(auroc(score, run.labels[rows] != true[rows]))
    for name, values in alone.items():
        assert len(values) == quarter["runs"] == 3
        assert quarter[name]["auroc"]["runs"] == pytest.approx(values)
        assert quarter[name]["auroc"]["std"] == pytest.approx(np.std(values, ddof=1))
    pooled = auroc(np.array([float(line["score"]) for line in lines]), wrong)
    assert pooled != pytest.approx(quarter["score"]["auroc"]["mean"], abs=1e-4)
    assert [line["rank"] for line in content["top"]] == [1, 2, 3, 4, 5]
    assert all(line["noise"] == 0.25 for line in content["top"])  # not the clean runs


def test_images_are_scored_by_the_runs_that_trained_on_them(clean, monkeypatch):
    monkeypatch.setattr(suspects, "BATCH", 5)
    monkeypatch.setattr(suspects, "CHUNK", 7)
    content = measure(clean, selection="last")
    lines = {line["file"]: line for line in read(clean)}
    assert content["selection"] == "last"
    assert content["rates"] == [{"rate": 0.0, "images": len(lines)}]
    assert not {"true_label", "noise"} & set(lines["001.png"])
    restored = train.restore(clean, "last")
    table = restored.dataset.table
    images = suspects.data.read_images(restored.dataset, np.arange(60), 8)
    scores, probabilities = {}, {}
    for run in restored.runs:
        views = [
            np.asarray(restored.method.predict(run.variables, x).logits, np.float64)
            for x in (images, images[:, :, ::-1])
        ]
        p = np.exp(views) / np.exp(views).sum(axis=-1, keepdims=True)
        for row in run.rows.train.tolist():
            mine = p[:, row, table.label[row]]
            file = str(table.file[row])
            scores.setdefault(file, []).append(-np.log(mine).mean())
            probabilities.setdefault(file, []).append(mine.mean())
    assert set(scores) == set(lines) and {len(s) for s in scores.values()} == {1, 2}
    for file, line in lines.items():
        assert int(line["runs"]) == len(scores[file])
        assert float(line["score"]) == pytest.approx(np.mean(scores[file]), rel=1e-4)
        mean = np.mean(probabilities[file])
        assert float(line["probability_of_given"]) == pytest.approx(mean, abs=1e-5)


def test_the_command_writes_list_and_report(sweep, capsys, parse, undrawn, monkeypatch):
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    words = [str(sweep), "--suspect-labels", "--top", "30"]
    assert cli.main(parser.parse_args(words)) == 0
    output = capsys.readouterr().out
    assert f"Suspects: {sweep / 'suspect_labels.csv'}" in output
    quarter = json.loads((sweep / "report" / "results.json").read_text())[
        "suspect_labels"
    ]["rates"][1]
    quarter = quarter["per_run"]
    assert f"{quarter['score']['auroc']['mean']:.3f} ± " in output
    page = parse((sweep / "report" / "index.html").read_text())
    assert {"suspects", "label-noise"} <= set(page.ids)
    words = " ".join(" ".join(page.text).split())
    assert (
        "6 more" in words and f"{100 * quarter['gap']['auroc']['mean']:.1f} ±" in words
    )
    assert evaluate.finish(sweep) in output  # nothing is lost when it is made again
    for wrong, message in (
        (["--top", "3"], "--top needs --suspect-labels"),
        (["--suspect-labels", "--top", "0"], "1 or more, found 0"),
        (["--selection", "last"], "--selection needs"),
    ):
        with pytest.raises(ConfigError, match=message):
            cli.main(parser.parse_args([str(sweep), *wrong]))


def test_other_data_and_diverged_models_are_refused(sweep, toys, monkeypatch):
    restored = suspects.restore

    def diverged(*args):
        selection, run = restored(*args)
        nan = [
            r._replace(variables=jax.tree.map(lambda a: a * np.nan, r.variables))
            for r in run.runs
        ]
        return selection, run._replace(runs=nan)

    monkeypatch.setattr(suspects, "restore", diverged)
    with pytest.raises(DataError, match=r"not finite.*diverged"):
        measure(sweep)
    monkeypatch.setattr(suspects, "restore", restored)
    other = toys()
    other.table.label[:] = np.roll(other.table.label, 1)
    monkeypatch.setattr(train.experiment.data, "load", lambda *a, **k: other)
    with pytest.raises(DataError, match="another version of toy"):
        measure(sweep)
    assert not (sweep / "suspect_labels.csv").exists()
