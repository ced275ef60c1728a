"""results.json from a run folder: the numbers, and what is honestly absent."""

import csv
import json

import numpy as np
import pytest

from jaxfer.errors import DataError
from jaxfer.evaluate import selections
from jaxfer.evaluate.selections import BEST_ON_TEST
from jaxfer.evaluate.summary import summarize


def accuracies(path, head="decision", suffix="validation"):
    values, right, total = [], 0, 0
    for file in sorted(path.rglob(f"predictions_{suffix}.npz")):
        with np.load(file) as table:
            hits = table[f"logits/{head}"].argmax(1) == table["label"]
        values.append(hits.mean())
        right, total = right + hits.sum(), total + len(hits)
    return values, right / total


def test_means_and_sample_deviations_over_runs(make_run):
    path = make_run(folds=3, seeds=2, examples=90)
    results = summarize(path)
    for name, suffix in (("best_by_validation", "validation"), ("last", "last")):
        values, _ = accuracies(path, suffix=suffix)
        found = results["selections"][name]["accuracy"]
        np.testing.assert_allclose(sorted(found["runs"]), sorted(values), rtol=1e-6)
        assert found["mean"] == pytest.approx(np.mean(values))
        assert found["std"] == pytest.approx(np.std(values, ddof=1))
        assert found["n"] == 6


def test_pooled_accuracy_weighs_images_not_folds(make_run):
    path = make_run(folds=4, examples=90)  # folds of 23, 23, 22, 22
    values, pooled = accuracies(path)
    found = summarize(path)["selections"]["best_by_validation"]
    assert found["pooled"]["accuracy"] == pytest.approx(pooled)
    assert found["pooled"]["n"] == 90
    assert found["pooled"]["accuracy"] != pytest.approx(np.mean(values), abs=1e-9)


def test_confusion_classes_and_calibration_count_every_image(make_run):
    results = summarize(make_run(folds=2, examples=90))
    for name in ("last", "best_by_validation"):
        confusion = np.array(results["confusion"][name])
        assert confusion.sum() == 90
        supports = [row["support"] for row in results["per_class"][name]]
        np.testing.assert_array_equal(confusion.sum(1), supports)
        recall = np.diag(confusion) / confusion.sum(1)
        found = [row["recall"] for row in results["per_class"][name]]
        np.testing.assert_allclose(found, recall, rtol=1e-6)
        bins = results["calibration"][name]["bins"]
        assert sum(b["count"] for b in bins) == 90
        gaps = [
            b["count"] / 90 * abs(b["accuracy"] - b["confidence"])
            for b in bins
            if b["count"]
        ]
        assert results["calibration"][name]["ece"] == pytest.approx(sum(gaps), abs=1e-6)


def test_many_classes_are_told_without_a_confusion_matrix(make_run, widen):
    path = make_run(folds=2, examples=90)
    few = summarize(path)
    many = summarize(widen(path))
    assert "confusion" not in many
    for name in ("last", "best_by_validation"):
        pooled = many["selections"][name]["pooled"]
        assert pooled == pytest.approx(few["selections"][name]["pooled"], rel=1e-6)
        rows = many["per_class"][name]
        assert rows[:7] == few["per_class"][name]
        assert len(rows) == 300 and not any(row["support"] for row in rows[7:])


def test_ablation_judges_every_head(make_run):
    path = make_run(folds=2, examples=90)
    ablation = summarize(path)["ablation"]["best_by_validation"]
    assert list(ablation) == ["local", "global", "direct", "constraint"]
    heads = {"local": "local", "direct": "fused", "constraint": "decision"}
    for name, head in heads.items():
        values, _ = accuracies(path, head)
        assert ablation[name]["accuracy"]["mean"] == pytest.approx(np.mean(values))


def test_fusion_weights_by_class(make_run):
    path = make_run(folds=2, examples=90)
    weights = summarize(path)["fusion_weights"]["last"]
    tables = [np.load(f) for f in sorted(path.rglob("predictions_last.npz"))]
    labels = np.concatenate([t["label"] for t in tables])
    alpha = np.concatenate([t["features/alpha_local"] for t in tables])
    third = next(row for row in weights["per_class"] if row["class"] == "disgust")
    assert third["alpha_local"]["mean"] == pytest.approx(alpha[labels == 2].mean())
    assert third["alpha_local"]["median"] == pytest.approx(
        np.median(alpha[labels == 2])
    )
    assert weights["overall"]["alpha_global"]["mean"] == pytest.approx(1 - alpha.mean())


def test_epoch_selections_come_from_the_final_stage(make_run):
    path = make_run(folds=2, examples=60)
    with (path / "metrics.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["stage"] == "fusion"]
    last_five, best = [], []
    for fold in ("0", "1"):
        curve = [float(r["test/accuracy"]) for r in rows if r["fold"] == fold]
        last_five.append(np.mean(curve[-5:]))
        best.append(max(curve))
    results = summarize(path)["selections"]
    found = results["mean_of_last_5"]["accuracy"]
    np.testing.assert_allclose(found["runs"], last_five)
    np.testing.assert_allclose(results[BEST_ON_TEST]["accuracy"]["runs"], best)
    assert "optimistic" in BEST_ON_TEST and "test" in BEST_ON_TEST
    assert list(results)[-1] == BEST_ON_TEST


def test_missing_selections_are_absent(make_run):
    path = make_run(folds=2, examples=60, validation=False, stages={"joint": 4})
    results = summarize(path)
    assert set(results["selections"]) == {"last", BEST_ON_TEST}
    assert results["headline"]["selection"] == "last"
    (path / "metrics.csv").unlink()
    assert set(summarize(path)["selections"]) == {"last"}


def test_without_validation_the_last_five_epochs_count(make_run):
    path = make_run(folds=2, examples=60, validation=False, stages={"joint": 6})
    found = set(summarize(path)["selections"])
    assert found == {"last", "mean_of_last_5", BEST_ON_TEST}


def test_best_by_validation_needs_every_run(make_run):
    path = make_run(folds=2, examples=60)
    (path / "fold_01" / "predictions_validation.npz").unlink()
    assert "best_by_validation" not in summarize(path)["selections"]


def test_one_run_has_no_deviation(make_run):
    found = summarize(make_run(folds=1, examples=60))["selections"]["last"]["accuracy"]
    assert found["std"] is None and found["n"] == 1


def test_methods_without_heads_have_no_ablation(make_run):
    results = summarize(make_run(folds=2, examples=60, cfnet=False))
    assert not {"ablation", "heads", "fusion_weights"} & set(results)


def test_absent_class_and_nan_stay_valid_json(make_run):
    path = make_run(folds=2, examples=60)
    file = path / "fold_00" / "predictions_last.npz"
    arrays = dict(np.load(file))
    keep = arrays["label"] != 1
    np.savez(file, **{name: array[keep] for name, array in arrays.items()})
    text = json.dumps(summarize(path), allow_nan=False)
    assert json.loads(text)["class_names"][1] == "contempt"


def test_repeated_epochs_count_once(make_run):
    path = make_run(folds=1, examples=60)
    before = summarize(path)["selections"]["mean_of_last_5"]
    lines = (path / "metrics.csv").read_text().splitlines()
    (path / "metrics.csv").write_text("\n".join([*lines, *lines[-3:]]) + "\n")
    assert summarize(path)["selections"]["mean_of_last_5"] == before


def test_states_do_not_depend_on_padding():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(33, 4)), rng.integers(0, 4, 33)
    whole = selections.state_of(logits, labels)
    parts = [selections.state_of(logits[i::2], labels[i::2]) for i in range(2)]
    for a, b in zip(whole, selections.pool(parts)):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_wrong_folders_are_explained(make_run, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        summarize(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no config\.json.*training printed"):
        summarize(tmp_path)
    path = make_run(folds=2, examples=60)
    (path / "fold_01" / "predictions_last.npz").unlink()
    with pytest.raises(DataError, match=r"fold_01.*continues.*jaxfer\.launch"):
        summarize(path)
    (path / "run.json").unlink()
    with pytest.raises(DataError, match="not finished"):
        summarize(path)
    (path / "run.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        summarize(path)
