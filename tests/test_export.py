import hashlib
import json

import chex
import jax
import numpy as np
import pytest
import toy

import jaxfer
from jaxfer import cli, export
from jaxfer import data as datasets
from jaxfer.errors import CheckpointError, ConfigError
from jaxfer.evaluate.summary import summarize
from jaxfer.methods import fersnet, lfnsb
from jaxfer.weights import model_file


@pytest.fixture
def run(finished_toy):
    return finished_toy


@pytest.fixture(autouse=True)
def known(monkeypatch):
    toy.stand_in(monkeypatch)


def test_a_file_answers_as_the_run_does(run, tmp_path, capsys):
    file = tmp_path / "deep" / "model.safetensors"
    words = ["export", str(run), "--output", str(file), "--precision", "float32"]
    assert cli.main(words) == 0
    assert "MB" in capsys.readouterr().out
    images = datasets.read_images(toy.dataset(), np.arange(10), 8)
    expected = jaxfer.load(run).predict(images)
    found = jaxfer.load(file).predict(images)
    assert found.class_names == expected.class_names
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_half_precision_halves_the_file_and_hardly_moves_the_answers(run, tmp_path):
    sizes = {}
    for precision in model_file.PRECISIONS:
        file = export.export_run(
            run, tmp_path / f"{precision}.safetensors", precision=precision
        )
        arrays, facts = model_file.read(file)
        sizes[precision] = sum(a.size for a in arrays["params"].values())
        sizes[f"{precision} file"] = file.stat().st_size
        assert facts["class_names"] == list(toy.CLASSES)
        assert facts["config"]["data"]["image_size"] == facts["image_size"]
    assert sizes["float16"] == sizes["float32"]
    assert sizes["float32 file"] - sizes["float16 file"] >= 2 * sizes["float16"]
    images = datasets.read_images(toy.dataset(), np.arange(10), 8)
    half = jaxfer.load(tmp_path / "float16.safetensors").predict(images)
    full = jaxfer.load(tmp_path / "float32.safetensors").predict(images)
    np.testing.assert_allclose(half.probabilities, full.probabilities, atol=2e-3)


def test_values_that_half_precision_cannot_hold_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(CheckpointError, match="params/w does not fit into float16"):
        model_file.write(path, {"params": {"w": np.full(3, 1e6)}}, {})
    assert not path.exists()


def test_files_that_are_no_model_are_named(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "model.safetensors"
    with pytest.raises(CheckpointError, match="no such file"):
        jaxfer.load(path)
    save_file({"a": np.zeros(3, np.float32)}, path)
    with pytest.raises(CheckpointError, match="holds no model of jaxfer"):
        jaxfer.load(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        jaxfer.load(path)
    with pytest.raises(CheckpointError, match="ends in"):
        model_file.write(tmp_path / "model.npz", {}, {})


def test_a_card_is_written_beside_the_file(run, tmp_path, capsys):
    file, card = tmp_path / "model.safetensors", tmp_path / "MODEL_CARD.md"
    assert cli.main(["export", str(run), "--card", str(card)]) == 0
    assert "still to be written" in capsys.readouterr().out
    assert 'jaxfer.load("RUN")' in card.read_text()
    terms = tmp_path / "terms.txt"
    terms.write_text("Free for research.\n")
    words = ["export", str(run), "--output", str(file), "--card", str(card)]
    assert cli.main([*words, "--licence", str(terms)]) == 0
    assert "still to be written" not in capsys.readouterr().out
    text = card.read_text()
    assert "**Licence of the data.** Free for research.\n" in text
    assert hashlib.sha256(file.read_bytes()).hexdigest() in text
    accuracy = summarize(run)["selections"]["best_by_validation"]["accuracy"]["mean"]
    assert f"**{100 * accuracy:.1f} %**" in text
    terms.write_bytes(b"\xff\xfe\x00")
    before = card.read_text()
    assert cli.main([*words, "--licence", str(terms)]) == 2
    assert "terms.txt cannot be read as text" in capsys.readouterr().err
    assert card.read_text() == before
    blocked = str(terms / "card.md")  # a file is in the folder's place
    assert cli.main(["export", str(run), "--card", blocked]) == 2
    assert "name another place with --card" in capsys.readouterr().err
    assert cli.main(["export", str(run)]) == 2
    assert "nothing to write: name a file" in capsys.readouterr().err


def test_the_network_that_is_to_be_shipped_is_small_enough(tmp_path):
    config = lfnsb.default_config()
    config.method.image_size = 48
    method = lfnsb.create(config, num_classes=8, steps_per_epoch=1)
    images = np.zeros((1, 48, 48, 3), np.uint8)
    shapes = jax.eval_shape(method.init, jax.random.key(0), images).variables
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    fused = method.deployed.convert(variables)
    path = model_file.write(tmp_path / "model.safetensors", fused, {})
    assert 4e6 < path.stat().st_size < 8e6
    found, _ = model_file.read(path)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}
    halves = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16), fused)
    chex.assert_trees_all_equal(
        found, jax.tree.map(lambda leaf: leaf.astype(np.float32), halves)
    )


def small(module, **fields):
    made = module.default_config()
    made.method.update({"image_size": 32, "width": 0.125})
    made.update_from_flattened_dict(fields)
    return made, module.create(made, num_classes=3, steps_per_epoch=1)


def trainable_file(path, made, method):
    images = np.zeros((1, 32, 32, 3), np.uint8)
    state = jax.jit(method.init)(jax.random.key(0), images)
    network = jax.device_get(method.deployed.trainable(state.variables))
    facts = {
        "trainable": True,
        "config": made.to_dict(),
        "class_names": ["a", "b", "c"],
        "image_size": 32,
    }
    return model_file.write(path, network, facts, precision="float32"), state


def test_a_file_to_start_from_answers_too(tmp_path):
    made, method = small(lfnsb, **{"method.depth": 0.1, "method.ema": 0.9})
    file, state = trainable_file(tmp_path / "model.safetensors", made, method)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    expected = jax.jit(method.predict)(state.variables, images).logits
    np.testing.assert_allclose(
        jaxfer.load(file).predict(images).probabilities,
        jax.nn.softmax(expected),
        rtol=1e-4,
    )


def test_a_file_whose_answers_are_another_networks_is_refused(tmp_path):
    fields = {"method.multi_task": True, "method.fes_augmentation": True}
    made, method = small(fersnet, **fields)
    file, _ = trainable_file(tmp_path / "model.safetensors", made, method)
    with pytest.raises(ConfigError, match="another network of that run"):
        jaxfer.load(file)


def test_a_file_holds_one_model(run, tmp_path):
    file = export.export_run(run, tmp_path / "model.safetensors")
    assert json.loads((run / "run.json").read_text())["class_names"]
    with pytest.raises(ConfigError, match="holds one model"):
        jaxfer.load(file, selection="last")
