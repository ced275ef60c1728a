"""The model that comes with the package."""

import csv
import hashlib
import io
import json

import cv2
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from safetensors import safe_open

import jaxfer
from jaxfer import cli, methods
from jaxfer.data import synthetic
from jaxfer.data.labels import FERPLUS
from jaxfer.predict import SHIPPED
from jaxfer.weights import model_file


@pytest.fixture(scope="module")
def recognizer():
    return jaxfer.load()


def drawn(expression):
    return np.stack(
        [synthetic.render(expression, person, 0, size=48) for person in range(12)]
    )


def test_it_is_small_and_in_half_precision():
    assert SHIPPED.stat().st_size < 8e6
    with safe_open(SHIPPED, framework="np") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118


def test_its_card_is_of_this_file():
    card = SHIPPED.with_suffix(".md").read_text()
    assert hashlib.sha256(SHIPPED.read_bytes()).hexdigest() in card
    _, facts = model_file.read(SHIPPED)
    accuracy = facts["results"]["best_by_validation"]["accuracy"]["mean"]
    assert f"**{100 * accuracy:.1f} %**" in card
    assert "**Licence of the data.** *To be written" not in card
    assert "It is **not** for deciding or judging anything about people" in card


def test_it_knows_the_classes_of_ferplus_and_a_smile(recognizer):
    assert recognizer.class_names == FERPLUS
    happiness = FERPLUS.index("happiness")
    smile, sorrow = (
        recognizer.predict(drawn(name)).probabilities[:, happiness]
        for name in ("happiness", "sadness")
    )
    assert (smile > sorrow).all() and smile.mean() > 0.5


def test_it_does_not_mind_colours(recognizer):
    faces = drawn("happiness")
    # Not in whole levels: rounding alone moves the answer to an uncertain face.
    luma = (faces / 255 @ np.array([0.2989, 0.5870, 0.1140])).astype(np.float32)
    grey = np.repeat(luma[..., None], 3, axis=-1)
    assert np.abs(faces / 255 - grey).max() > 0.15
    answer = jax.jit(recognizer.deployment.predict)
    one, other = (
        jax.nn.softmax(answer(recognizer.variables, images).logits)
        for images in (jnp.asarray(faces), jnp.asarray(grey))
    )
    np.testing.assert_allclose(one, other, atol=0.01)


def test_the_command_asks_it_by_default(tmp_path, capsys):
    file = tmp_path / "face.png"
    cv2.imwrite(str(file), drawn("surprise")[0][..., ::-1])
    assert cli.main(["predict", str(file)]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["label"] in FERPLUS and set(FERPLUS) < set(row)


def test_another_training_can_start_from_it():
    _, facts = model_file.read(SHIPPED)
    config = ml_collections.ConfigDict(json.loads(json.dumps(facts["config"])))
    config.method.initial = str(SHIPPED)
    config.method.initial_part = "trunk"
    method = methods.create(config, num_classes=3, steps_per_epoch=1)
    assert set(method.pretrained()["params"]["network"]) == {"backbone"}
