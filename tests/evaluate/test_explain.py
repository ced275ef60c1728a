"""`jaxfer explain`: sheets of a model with masks, and of one with Grad-CAM alone."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxfer import cli, explain
from jaxfer.errors import DataError
from jaxfer.evaluate import attention
from jaxfer.methods.base import Deployment
from jaxfer.models import Outputs
from jaxfer.ops import class_activation_map
from jaxfer.predict import Recognizer

NAMES = ("anger", "happiness", "surprise")


class Trunk(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Conv(4, (3, 3), (2, 2), name="conv")(x))


class Network(nn.Module):
    """A linear classifier on a small map, with all that a model may tell."""

    tells: bool

    @nn.compact
    def __call__(self, x):
        x = Trunk(name="trunk")(x)
        classifier = nn.Dense(3, name="classifier")
        logits = classifier(x.mean((1, 2)))
        if not self.tells:
            return Outputs(logits, features={"map": x})
        kernel = classifier.variables["params"]["kernel"]
        mask = nn.sigmoid(x[..., :1])
        maps = {
            "mask": mask,
            "refined_mask": mask / 2,
            "attention": class_activation_map(x, kernel),
        }
        return Outputs(logits, maps=maps, images={"pattern": mask})


@pytest.fixture(scope="module")
def variables():
    return jax.jit(Network(False).init)(jax.random.key(3), jnp.zeros((1, 8, 8, 3)))


def predict(tells):
    def answer(variables, images):
        return Network(tells).apply(variables, images.astype(jnp.float32) / 255)

    return answer


@pytest.fixture(params=[True, False], ids=["maps", "gradients"])
def recognizer(request, variables, monkeypatch):
    deployment = Deployment(lambda v: v, predict(request.param))
    found = Recognizer(deployment, variables, NAMES, 8)
    monkeypatch.setattr(explain, "load", lambda *args, **options: found)
    return found


def test_grad_cam_is_the_activation_map_where_that_is_known(variables):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    kind, maps = attention.create_look(predict(True), variables, 8, 4)
    other, gradients = attention.create_look(predict(False), variables, 8, 4)
    assert (kind, other) == ("Class activation map", "Grad-CAM")
    linear, found = maps(images, [0, 2]), gradients(images, [0, 2])
    expected = np.maximum(linear.class_maps, 0)
    assert found.class_maps.shape == (3, 3, 4, 4)
    np.testing.assert_allclose(found.class_maps, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.probabilities, linear.probabilities, rtol=1e-5)
    best = linear.probabilities.argmax(1)
    for i in np.flatnonzero(best == 2):  # the predicted class comes first
        np.testing.assert_array_equal(linear.class_maps[i, 0], linear.class_maps[i, 2])
    assert set(linear.masks) == {"mask", "refined_mask"} and not found.masks


def test_a_sheet_is_written_for_every_image(recognizer, faces, tmp_path, capsys):
    (faces / "broken.png").write_bytes(b"no image")
    out = tmp_path / "out"
    words = ["explain", "model.safetensors", faces, "--class", "Anger", "--out", out]
    assert cli.main(list(map(str, words))) == 0
    printed, errors = capsys.readouterr()
    sheets = [out / name for name in ("one.png", "one_2.png")]
    assert sorted(printed.split()) == list(map(str, sheets))
    assert "broken.png" in errors and "skipped 1 of 3 files" in errors
    drawn = [cv2.imread(str(path)) for path in sheets]
    assert all(image.std() > 10 for image in drawn)
    assert not np.array_equal(drawn[0], drawn[1])


def test_what_cannot_be_explained_is_said_clearly(recognizer, faces, tmp_path, capsys):
    def fails(*words):
        assert cli.main(["explain", *map(str, words), "--out", str(tmp_path)]) == 2
        return capsys.readouterr().err

    said = fails("run", faces, "--class", "hapiness")
    assert "no class is called 'hapiness'; did you mean 'happiness'?" in said
    assert "anger, happiness, surprise" in fails("run", faces, "--class", "x")
    assert "one.png is an image: expected first" in fails(faces / "one.png", faces)
    assert "does not exist" in fails("run", tmp_path / "absent")
    assert not list(tmp_path.glob("*.png"))
    with pytest.raises(SystemExit):
        cli.main(["explain", "run"])
    assert "images" in capsys.readouterr().err


def test_a_diverged_model_explains_nothing(variables, faces, tmp_path, capsys):
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, variables)
    found = Recognizer(Deployment(lambda v: v, predict(True)), broken, NAMES, 8)
    with pytest.raises(DataError, match="not finite"):
        next(explain.explain(found, [faces / "one.png"], [], tmp_path))
    with pytest.raises(DataError, match="not finite"):
        found.predict(np.zeros((2, 8, 8, 3), np.uint8))
    assert not list(tmp_path.glob("*.png"))


def test_a_folder_without_a_run_says_so(faces, capsys):
    assert cli.main(["explain", str(faces), str(faces)]) == 2
    assert "not a working folder" in capsys.readouterr().err
