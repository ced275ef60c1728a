"""Explanations of a real (toy) run whose models tell more than their decision."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from jaxfer import evaluate, train
from jaxfer.errors import ConfigError, DataError
from jaxfer.evaluate import explanations
from jaxfer.evaluate.samples import grid_rows
from jaxfer.evaluate.told import create_ask
from jaxfer.train import experiment

SCALES = ("within_class", "between_classes", "ratio", "nearest_class_mean_accuracy")


def telling_method(config, **options):
    """The toy with masks, a pattern map of its probabilities, and an embedding."""
    method = toy.method(config, **options)

    def predict(variables, images):
        outputs = method.predict(variables, images)
        p = jax.nn.softmax(outputs.logits)
        light = images.astype(jnp.float32).mean(axis=-1, keepdims=True) / 255
        coarse = light.reshape(-1, 4, 2, 4, 2, 1).mean(axis=(2, 4))
        return outputs._replace(
            features={**outputs.features, "embedding": outputs.logits},
            maps={"mask": coarse, "refined_mask": 1 - coarse},
            images={"pattern": jnp.repeat(p[:, :, None, None], 3, axis=2)},
        )

    return method._replace(predict=predict)


@pytest.fixture
def run(toy_run, toys, tmp_path, monkeypatch):
    """A copy of the trained run; its data set is "here"."""
    monkeypatch.setattr(experiment.methods, "create", telling_method)
    (tmp_path / "data" / "synthetic_faces").mkdir(parents=True)
    return shutil.copytree(toy_run, tmp_path / "run")


def test_the_report_tells_what_the_models_tell(run, parse, undrawn, monkeypatch):
    monkeypatch.setattr(explanations, "MASKED", 6)
    printed = evaluate.finish(run)
    found = json.loads((run / "report" / "explanations.json").read_text())
    results = json.loads((run / "report" / "results.json").read_text())
    assert results["explanations"] == found
    maps, faces = (found["pattern_maps"][k] for k in ("pattern_maps", "gray_images"))
    assert maps["ratio"]["mean"] > 1.5 * faces["ratio"]["mean"] > 0
    assert maps["ratio_across_identities"]["mean"] > 1
    assert {maps[name]["n"] for name in SCALES} == {3}  # of the lowest rate alone
    accuracy = results["selections"][found["selection"]]["accuracy"]["mean"]
    assert maps["nearest_class_mean_accuracy"]["mean"] == pytest.approx(
        accuracy, abs=0.1
    )
    assert found["images"] == {"train_per_run": 34, "test": 60}
    assert found["largest_class_share"] == pytest.approx(1 / 3, abs=0.01)
    masks = found["masks"]
    assert masks["images"] == 6 and set(masks["kinds"]) == {"mask", "refined_mask"}
    for entry in masks["kinds"].values():
        whole = [entry["deletion"]["curve"][0], entry["insertion"]["random_curve"][-1]]
        assert whole[0] == pytest.approx(whole[1], rel=1e-5)
    bright = masks["kinds"]["mask"]["insertion"]["area"]["mean"]
    assert bright > masks["kinds"]["refined_mask"]["insertion"]["area"]["mean"]

    page = parse((run / "report" / "index.html").read_text())
    assert "explanations" in page.ids and "#explanations" in page.links
    words = " ".join(" ".join(page.text).split())
    assert f"{maps['ratio']['mean']:#.3g} ±" in words
    assert "judged on 60 test images" in words and "refined mask" in words
    drawn = sum(link.startswith("data:image") for link in page.links)
    assert drawn >= 2 * 3 + 2 * 4 * 3 + 4 * 8  # means, grid, examples
    assert "nearest class mean" in printed and "deletion" in printed

    monkeypatch.setattr(explanations, "measure", None)  # once is enough
    assert evaluate.finish(run) == printed


def test_distances_are_between_outputs_of_models_that_did_not_see(run):
    explanations.measure(run)
    with np.load(run / "report" / "explanations.npz") as file:
        shown = {name: file[name] for name in file.files}
    restored = train.restore(run, "validation")
    first = restored.runs[0]
    table = restored.dataset.table
    rows = shown["grid_row"]
    assert np.isin(rows, first.rows.test).all()
    for person, line in zip(shown["grid_person"], rows):
        assert set(table.subject[line]) == {person}
        assert table.label[line].tolist() == [0, 1, 2]
    told = create_ask(restored)(first, np.sort(first.rows.test))
    label = table.label[np.sort(first.rows.test)]
    for k in range(3):
        mean = told["pattern"][label == k].mean(axis=0)
        np.testing.assert_allclose(shown["mean_patterns"][k], mean, atol=1e-3)
    assert shown["embedding"].shape == (len(first.rows.test), 2)
    assert shown["embedding_share"].sum() <= 1 + 1e-6


def test_class_activation_maps_alone_are_judged_and_shown(
    run, parse, undrawn, monkeypatch
):
    def attending(config, **options):
        method = telling_method(config, **options)

        def predict(variables, images):
            outputs = method.predict(variables, images)
            signs = jnp.asarray([1.0, -1.0, 0.5]).reshape(1, 1, 1, 3)
            maps = {"attention": outputs.maps["mask"] * signs}
            return outputs._replace(maps=maps, images={}, features={})

        return method._replace(predict=predict)

    monkeypatch.setattr(experiment.methods, "create", attending)
    monkeypatch.setattr(explanations, "MASKED", 6)
    found = explanations.measure(run)
    assert "pattern_maps" not in found and set(found["masks"]["kinds"]) == {"attention"}
    page = parse(evaluate.finish(run) and (run / "report" / "index.html").read_text())
    words = " ".join(" ".join(page.text).split())
    assert "evidence for the predicted class, in logits" in words
    assert "pattern map" not in words and "Embeddings" not in words


def test_plain_models_and_diverged_ones_are_left_alone(run, monkeypatch, undrawn):
    def diverged(config, **options):
        method = telling_method(config, **options)

        def predict(variables, images):
            outputs = method.predict(variables, images)
            return outputs._replace(logits=outputs.logits * np.float32(np.nan))

        return method._replace(predict=predict)

    def older(config, **options):
        return config.method.field_of_today

    monkeypatch.setattr(experiment.methods, "create", older)
    assert "without the field 'field_of_today'" in evaluate.finish(run).replace('"', "")
    monkeypatch.setattr(experiment.methods, "create", diverged)
    with pytest.raises(DataError, match="training diverged"):
        explanations.measure(run)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ConfigError, match="by one process"):
        explanations.measure(run)
    monkeypatch.setattr(experiment.methods, "create", toy.method)
    assert explanations.measure(run) is None
    monkeypatch.setattr(experiment.data, "load", None)  # nothing is read for it
    assert explanations.measure(run) is None
    assert not (run / "report" / "explanations.json").exists()


def test_the_grid_prefers_those_seen_in_most_classes():
    label = np.array([0, 1, 2, 0, 1, 0, 0])
    subject = np.array(["a", "a", "b", "b", "b", "b", ""])
    rows = np.array([6, 5, 4, 3, 2, 1, 0])
    grid, people = grid_rows(label, subject, rows, 3)
    assert people.tolist() == ["b", "a"]
    assert grid.tolist() == [[5, 4, 2], [0, 1, -1]]
    grid, people = grid_rows(label, np.full(7, ""), rows, 3)
    assert people.tolist() == [""] * 4
    assert grid.tolist() == [[6, 4, 2], [5, 1, -1], [3, -1, -1], [0, -1, -1]]
