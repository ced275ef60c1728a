"""Drawn faces of a (toy) run that paints what its classes look like, and judges."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
import toy

from jaxfer import cli, evaluate, methods
from jaxfer.errors import ConfigError, DataError
from jaxfer.evaluate import face_grid, identity, judges, synthesis
from jaxfer.evaluate.synthesized import grid_rows
from jaxfer.train import experiment

CLASSES = 3


def bright_row(images, target):
    """Faces as the toy's: one row is bright, and tells the class by its place.

    The first is the middle's outermost, which is repeated around it.
    """
    dark = jnp.minimum(images.astype(jnp.float32) / 255, 0.47)
    places = jnp.arange(8)[:, None] == jnp.asarray([1, 2, 5])[None]
    bright = jnp.einsum("hk,bk->bh", places.astype(jnp.float32), target)
    return jnp.maximum(dark, 0.86 * bright[:, :, None, None])


def painting(config, **options):
    """Draws the middle of what was asked for."""

    def synthesise(variables, images, target):
        del variables
        return bright_row(images, target)[:, 1:-1, 1:-1]

    return synthesise


def copying(config, **options):
    def synthesise(variables, images, target):
        return images[:, 1:-1, 1:-1].astype(jnp.float32) / 255

    return synthesise


def described(config, **options):
    """The toy, with a vector of each image."""
    method = toy.method(config, **options)

    def predict(variables, images):
        outputs = method.predict(variables, images)
        vector = images.astype(jnp.float32).mean(axis=(2, 3)) / 255
        return outputs._replace(features={"pooled": vector})

    return method._replace(predict=predict)


@pytest.fixture
def run(toy_run, toys, tmp_path, monkeypatch):
    """A copy of the trained run, which now draws faces; its data set is "here"."""
    monkeypatch.setattr(experiment.methods, "create", described)
    monkeypatch.setattr(methods, "draws_faces", lambda config: True)
    monkeypatch.setattr(synthesis, "draws_faces", lambda config: True)
    monkeypatch.setattr(methods, "create_synthesis", painting)
    (tmp_path / "data" / "synthetic_faces").mkdir(parents=True)
    return shutil.copytree(toy_run, tmp_path / "run")


@pytest.fixture
def judge(toy_run, tmp_path):
    """Another run, of the same folds, whose classes are in another order."""
    other = shutil.copytree(toy_run, tmp_path / "judge")
    facts = json.loads((other / "run.json").read_text())
    facts["class_names"] = [name.upper() for name in facts["class_names"]]
    (other / "run.json").write_text(json.dumps(facts))
    return other


def test_the_report_judges_what_the_models_draw(run, judge, parse, undrawn, capsys):
    assert "drawn faces, by" in evaluate.finish(run)
    own = json.loads((run / "report" / "synthesis.json").read_text())
    assert set(own["recognisers"]) == {"own"} and own["identity"] is None
    assert cli.main(["evaluate", str(run), "--judge", str(judge)]) == 0
    assert f"toy of {judge}" in capsys.readouterr().out
    found = json.loads((run / "report" / "synthesis.json").read_text())
    assert found["images"] == 60
    asked, mine = found["recognisers"][str(judge)], found["recognisers"]["own"]
    assert mine == own["recognisers"]["own"]
    # The same models, by another way: independent of nothing, but of the same mind.
    for key in ("accuracy", "distance", "distance_of_halves", "per_class"):
        assert asked[key] == mine[key]
    assert (asked["independent"], asked["seen"]) == (True, 0.0)
    accuracy = {k: v["mean"] for k, v in mine["accuracy"].items()}
    assert accuracy["drawn"] >= accuracy["middle"] > 0.5
    assert {row["class"]: row["drawn"] for row in mine["per_class"]}.keys() == set(
        toy.CLASSES
    )
    assert found["difference"]["images"] == 60
    difference = found["difference"]
    assert difference["drawn"]["mean"] < 0.8 * difference["unchanged"]["mean"]
    results = json.loads((run / "report" / "results.json").read_text())
    assert results["synthesis"] == found
    page = parse((run / "report" / "index.html").read_text())
    assert "synthesis" in page.ids and "#synthesis" in page.links
    words = " ".join(" ".join(page.text).split())
    assert "60 test faces" in words and f"toy of {judge}" in words
    assert f"{100 * accuracy['drawn']:.1f} ±" in words
    assert "Not measured: it takes a network" in words
    assert (run / "report" / "synthesis.png").is_file()
    with np.load(run / "report" / "synthesis.npz") as file:
        arrays = {name: file[name] for name in file.files}
    assert arrays["drawn"].shape == (len(arrays["person"]), CLASSES, 6, 6, 3)
    assert arrays["has_real"].all()


def test_a_judge_is_another_run_that_saw_no_drawn_faces(run, judge):
    with pytest.raises(ConfigError, match="is the run that is to be judged"):
        synthesis.measure(run, judge=run)
    config = json.loads((judge / "config.json").read_text())
    config["method"]["fes_augmentation"] = True
    (judge / "config.json").write_text(json.dumps(config))
    found = synthesis.measure(run, judge=judge)["recognisers"][str(judge)]
    assert (found["independent"], found["trained_on_drawn"]) == (False, True)


def test_a_copy_is_near_the_faces_and_has_the_wrong_expression(run, monkeypatch):
    monkeypatch.setattr(methods, "create_synthesis", copying)
    found = synthesis.measure(run)
    copied, difference = found["recognisers"]["own"], found["difference"]
    assert copied["accuracy"]["drawn"]["mean"] < 0.3
    assert copied["distance"]["mean"] < 0  # the same faces: nearer than a sample is
    assert difference["drawn"]["runs"] == difference["unchanged"]["runs"]


def test_identities_are_compared_by_embeddings(run, monkeypatch):
    def create_embed(source):
        return f"net of {source}", lambda images: images.mean(axis=(1, 3)) + 1

    monkeypatch.setattr(synthesis, "create_embed", create_embed)
    found = synthesis.measure(run, identity=run)["identity"]
    assert found["by"] == f"net of {run}"
    assert all(0 < found[k]["mean"] < 1 for k in ("drawn", "same_person"))
    assert synthesis.measure(run)["identity"] == found  # kept


def test_mean_cosines_are_of_the_pairs_that_they_name():
    source = np.array([[1.0, 0], [0, 1], [1, 1], [-1, 0]])
    label, person = np.array([0, 1, 0, 0]), np.array([0, 0, 1, -1])
    found = identity.similarities(source, 2 * source[::-1], label, person)
    half = np.sqrt(0.5)
    assert found["drawn"] == pytest.approx((-1 + half) / 2)
    assert found["same_person"] == pytest.approx(0)
    assert found["different_people"] == pytest.approx(half)
    nobody = identity.similarities(source, source, label, np.full(4, -1))
    assert nobody["drawn"] == pytest.approx(1)
    assert np.isnan([nobody["same_person"], nobody["different_people"]]).all()


def test_only_networks_that_learned_people_tell_them_apart(run):
    with pytest.raises(ConfigError, match="learned no identities"):
        identity.create_embed(run)


@pytest.mark.parametrize("label", [[0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 2], [1] * 4 + [0]])
def test_expressions_are_exchanged(label):
    label = np.array(label)
    wanted = synthesis.exchanged(label, np.random.default_rng(0))
    assert sorted(wanted) == sorted(label)
    must = max(0, 2 * int(np.bincount(label).max()) - len(label))
    assert int(np.sum(wanted == label)) == must


def test_every_expression_is_drawn_from_every_other():
    label = np.repeat(np.arange(4), 20)
    wanted = synthesis.exchanged(label, np.random.default_rng(0))
    counts = np.zeros((4, 4), int)
    np.add.at(counts, (label, wanted), 1)
    assert not counts.diagonal().any()
    assert counts[~np.eye(4, dtype=bool)].min() > 0


def test_a_judge_is_asked_that_knows_the_fewest_of_the_faces(
    toy_run, toys, monkeypatch
):
    monkeypatch.setattr(experiment.methods, "create", described)
    judge = judges.open_judge(toy_run, list(toy.CLASSES))
    sha256 = toys().table.sha256
    for place in (0, 1, 2):  # the folds at the lowest rate of wrong labels
        run = judge.folder.runs[place]
        rows = np.load(run.path / "predictions_last.npz")["index"]
        assert judges.choose_run(judge, sha256[rows]) == (place, 0.0)
    place, share = judges.choose_run(judge, sha256)
    assert share == pytest.approx(0.6)  # four of ten people are in the largest fold
    nothing = judge._replace(trained=None)
    assert judges.choose_run(nothing, sha256) == (0, None)


def test_logits_follow_the_classes_that_are_asked_for(toy_run, toys, monkeypatch):
    monkeypatch.setattr(experiment.methods, "create", described)
    turned = judges.open_judge(toy_run, list(toy.CLASSES[::-1]))
    judge = judges.open_judge(toy_run, list(toy.CLASSES))
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3)).astype(np.uint8)
    variables = judges.variables_of(judge, 0)
    first, second = (one.ask(variables, images) for one in (judge, turned))
    np.testing.assert_array_equal(first.logits, second.logits[:, ::-1])
    np.testing.assert_array_equal(first.features, second.features)


def test_what_cannot_be_judged_is_said_clearly(run, judge, monkeypatch):
    facts = json.loads((judge / "run.json").read_text())
    facts["class_names"][0] = "up"
    (judge / "run.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"up, MIDDLE, RIGHT apart; expected.*left"):
        synthesis.measure(run, judge=judge)
    monkeypatch.setattr(
        methods,
        "create_synthesis",
        lambda config, **options: lambda v, images, t: jnp.nan * t,
    )
    with pytest.raises(DataError, match="training diverged"):
        synthesis.measure(run)
    assert "Drawn faces are not judged: the model draws" in evaluate.finish(run)
    monkeypatch.setattr(synthesis, "draws_faces", lambda config: False)
    with pytest.raises(ConfigError, match="draws no faces that could be judged"):
        synthesis.measure(run)


def test_a_grid_has_a_row_of_real_faces_where_there_are_some():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 2, 4, 4, 3)).astype(np.uint8)
    arrays = {
        "person": np.array(["a", ""]),
        "source": pictures[:, 0],
        "source_label": np.array([1, 0]),
        "drawn": pictures,
        "real": pictures[::-1],
        "has_real": np.array([[True, False], [False, False]]),
    }
    rows = grid_rows(arrays, ["x", "y"])
    assert [row.label for row in rows] == ["a", "", "drawn"]
    assert [cell.caption for cell in rows[0].cells] == ["face", "x", "y"]
    assert rows[1].cells[0] is rows[1].cells[2] is None
    figure = face_grid.draw(rows, "title", "subtitle")
    assert len(figure.axes) == 3 + 1 + 3
