"""`precision=bfloat16`: what stays float32, and how near the rest is to it."""

import functools
import importlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import methods
from jaxfer.models import resnet

KEY = jax.random.key(0)
CLASSES, SIZE, IMAGES, STEPS = 3, 16, 24, 6
NARROW = {
    "cfnet": {"width": 0.03125, "image_size": 14},
    "eac": {
        "width": 0.125,
        "image_size": SIZE,
        "backbone": "resnet18",
        "stem": "torchvision",
        "small_images": True,
        "consistency": 0.0,
    },
}
LOSS, COSINE = 0.03, 0.99
"""How far bfloat16 may be off: losses, relatively; the direction of a gradient."""


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """Two blocks of a ResNet: the others are like them, and take long to compile."""
    monkeypatch.setattr(resnet, "STAGES", {18: (1, 1)})


def create(name, precision):
    config = importlib.import_module(f"jaxfer.methods.{name}").default_config()
    config.method.update(NARROW[name])
    config.augment.update({"erase": 0.0, "noise": 0.0})
    config.optim.update({"name": "sgd", "learning_rate": 0.3, "momentum": 0.0})
    config.optim.weight_decay = 0.0
    config.precision = precision
    return methods.create(config, num_classes=CLASSES, steps_per_epoch=10)


def batch():
    """Coarse patterns, one of each class, mixed with one of each image."""
    rng = np.random.default_rng(0)
    label = np.arange(IMAGES, dtype=np.int32) % CLASSES
    own, shared = (rng.integers(0, 256, (n, 4, 4, 3)) for n in (IMAGES, CLASSES))
    coarse = ((own + shared[label]) // 2).astype(np.uint8)
    return {
        "image": coarse.repeat(SIZE // 4, axis=1).repeat(SIZE // 4, axis=2),
        "label": label,
        "target": np.eye(CLASSES, dtype=np.float32)[label],
        "index": np.arange(IMAGES, dtype=np.int32),
    }


def narrow_floats(tree):
    """Paths of the floats that are not float32."""
    return [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype != jnp.float32
    ]


@pytest.mark.parametrize("name", NARROW)
def test_state_losses_and_scores_stay_float32(name):
    method, data = create(name, "bfloat16"), batch()
    state = jax.eval_shape(method.init, KEY, data["image"])
    assert narrow_floats(state) == []
    for stage in method.stages:
        given = dict(data)
        if stage.features is not None:
            images = given.pop("image")
            given["features"] = jax.eval_shape(stage.features, state.variables, images)
        for one in stage.passes:
            after, metrics = jax.eval_shape(one.train_step, state, given, KEY)
            assert narrow_floats(metrics) == []
            chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    outputs = jax.eval_shape(method.predict, state.variables, data["image"])
    assert narrow_floats((outputs.logits, outputs.heads)) == []


def test_training_in_bfloat16_follows_float32():
    data, losses, gradients = batch(), {}, {}
    start = jax.jit(create("eac", "float32").init)(KEY, data["image"])
    for precision in ("float32", "bfloat16"):
        train_step = create("eac", precision).stages[0].passes[0].train_step
        lowered = jax.jit(train_step).lower(start, data, KEY)
        assert ("bf16" in lowered.as_text()) == (precision == "bfloat16")
        step, state, losses[precision] = lowered.compile(), start, []
        for number in range(STEPS):
            state, metrics = step(state, data, jax.random.fold_in(KEY, number))
            losses[precision].append(float(metrics["loss"][0]) / IMAGES)
            if number == 0:  # of plain descent, a step is the gradient, scaled
                parts = (s.variables["params"]["network"] for s in (state, start))
                gradients[precision] = jax.tree.map(np.subtract, *parts)
    assert losses["float32"][-1] < 0.8 * losses["float32"][0]
    assert losses["bfloat16"] != losses["float32"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=LOSS)
    assert cosine(*gradients.values()) > COSINE


def cosine(*trees):
    flat = [np.concatenate([x.ravel() for x in jax.tree.leaves(t)]) for t in trees]
    lengths = functools.reduce(np.multiply, map(np.linalg.norm, flat))
    return np.dot(*flat) / lengths
