import functools

import chex
import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eac_reference import (
    LABELS,
    SYSTEMS,
    compare_norms,
    compare_statistics,
    network,
    views,
)
from flax import traverse_util
from golden_rule import close

from jaxfer import losses, models
from jaxfer.errors import ConfigError


@pytest.fixture(scope="module")
def reference():
    return golden_rule.load("eac")


@pytest.mark.parametrize("system", SYSTEMS)
def test_outputs_equal_the_released_code(reference, system):
    golden, index = reference
    model, variables, _ = network(system)
    apply = jax.jit(model.apply)
    for number, images in enumerate(views(system), start=1):
        outputs = apply(variables, images)
        key = f"{system}/eval/f64/"
        close(outputs.logits, golden[f"{key}logits{number}"], 1e-5)
        close(outputs.maps["attention"], golden[f"{key}hm{number}"], 1e-5)
        if number == 1:
            key = f"{key}{SYSTEMS[system]['last']}"
            found = golden_rule.sample(outputs.features["map"], golden, index, key)
            close(*found, 1e-5)


SYSTEM = "eac_r50"
TRAINS = ("trunk/layer4_2", "classifier")
"""The gradients of the last block and of the classifier: all of them take long to
compile. Those of MobileNetV2 are compared with the method, all of them."""


@functools.cache
def trained():
    """ResNet-50 trained on both views, one after the other, in float64, as NumPy.

    One program serves both views and both directions (logits and maps do not depend
    on the running statistics): it compiles in half the time of a program for the
    whole loss, which is also why XLA is told not to optimise it.
    """
    model, variables, _ = network(SYSTEM)
    params = traverse_util.flatten_dict(variables["params"], sep="/")
    params = {path: np.asarray(x, np.float64) for path, x in params.items()}
    free = {path: x for path, x in params.items() if path.startswith(TRAINS)}

    @jax.jit
    def view(free, params, batch_stats, images, cotangents):
        def forward(free):
            tree = traverse_util.unflatten_dict({**params, **free}, sep="/")
            outputs, updated = model.apply(
                {"params": tree, "batch_stats": batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
            )
            return (outputs.logits, outputs.maps["attention"]), updated

        outputs, pullback, updated = jax.vjp(forward, free, has_aux=True)
        return outputs, updated["batch_stats"], pullback(cotangents)[0]

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def loss_fn(first, second):
        ce = losses.mean(losses.cross_entropy(first[0], jnp.asarray(LABELS)))
        consistency = losses.mean(losses.attention_consistency(first[1], second[1]))
        return ce + 5.0 * consistency, (ce, consistency)

    with jax.enable_x64():
        images = [each.astype(np.float64) for each in views(SYSTEM)]
        stats = variables["batch_stats"]
        nothing = (np.zeros((2, 7)), np.zeros((2, 7, 7, 7)))
        first, stats, _ = view(free, params, stats, images[0], nothing)
        second, stats, _ = view(free, params, stats, images[1], nothing)
        (loss, parts), cotangents = loss_fn(first, second)
        gradients = [
            jax.tree.map(np.asarray, view(free, params, stats, *each)[2])
            for each in zip(images, cotangents, strict=True)
        ]
        gradient = jax.tree.map(np.add, *gradients)
        result = (first, second), (loss, *parts), stats, gradient
        return jax.tree.map(np.asarray, result)


def test_training_mode_equals_the_released_code(reference):
    golden, _ = reference
    both, (loss, ce, consistency), statistics, gradient = trained()
    key = f"{SYSTEM}/train/f64/"
    for number, (logits, attention) in enumerate(both, start=1):
        close(logits, golden[f"{key}logits{number}"], 1e-8)
        close(attention, golden[f"{key}hm{number}"], 1e-8)
    close(ce, golden[f"{key}ce"], 1e-8)
    # The released code flips by interpolation, exact up to float32's rounding.
    close(consistency, golden[f"{key}acloss"], 1e-6)
    close(loss, golden[f"{key}loss"], 1e-6)
    compare_statistics(reference, SYSTEM, statistics)
    assert compare_norms(reference, SYSTEM, gradient) == (11, 161)


def some_variables(model, images):
    """Random variables, quicker than `init`, which compiles a draw per shape."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        scale = {"kernel": 0.2, "bias": 0.1}.get(path[-1].key, 0.0)
        offset = float(path[-1].key in ("scale", "var"))
        return np.float32(offset + scale * rng.standard_normal(leaf.shape))

    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    return jax.tree_util.tree_map_with_path(draw, shapes)


SMALL = {"backbone": "resnet18", "width": 0.125, "small_images": True}


@pytest.fixture(scope="module")
def small():
    model = models.create("eac", 3, **SMALL)
    images = jax.random.uniform(jax.random.key(1), (2, 16, 24, 3))
    return model, some_variables(model, images), images


def test_the_mean_of_a_map_is_the_logit_without_bias(small):
    model, variables, images = small
    outputs = jax.jit(model.apply)(variables, images)
    attention = outputs.maps["attention"]
    assert attention.shape == (2, 2, 3, 3)
    bias = variables["params"]["classifier"]["bias"]
    close(attention.mean(axis=(1, 2)), outputs.logits - bias[None], 1e-5)


@pytest.mark.parametrize("detach", [True, False])
def test_the_maps_gradient_reaches_the_classifier_if_not_detached(small, detach):
    _, variables, images = small
    model = models.create("eac", 3, **SMALL, detach_classifier=detach)

    def loss(classifier):
        params = {**variables["params"], "classifier": classifier}
        outputs = model.apply({**variables, "params": params}, images)
        return jnp.square(outputs.maps["attention"]).sum()

    gradient = jax.jit(jax.grad(loss))(variables["params"]["classifier"])
    assert gradient["kernel"].any() != detach
    assert not gradient["bias"].any()


def test_the_backbones_own_model_has_the_same_logits(small):
    model, variables, images = small
    options = {key: value for key, value in SMALL.items() if key != "backbone"}
    plain = models.create("resnet18", 3, **options)
    outputs = jax.jit(model.apply)(variables, images)
    own = jax.jit(plain.apply)(variables, images)
    chex.assert_trees_all_equal_structs(own[:3], outputs[:3])
    for a, b in zip(*map(jax.tree.leaves, (own[:3], outputs[:3])), strict=True):
        close(a, b, 1e-5)


def test_half_precision_keeps_logits_and_maps_wide(small):
    _, variables, images = small
    model = models.create("eac", 3, **SMALL, dtype=jnp.bfloat16)
    outputs = jax.eval_shape(model.apply, variables, images)
    assert outputs.features["map"].dtype == jnp.bfloat16
    assert outputs.logits.dtype == outputs.maps["attention"].dtype == jnp.float32


@pytest.mark.parametrize(
    ("backbone", "parameters"),
    [("resnet50", 23_522_375), ("mobilenet_v2", 2_232_839)],
)
def test_parameter_count(backbone, parameters):
    model = models.create("eac", 7, backbone=backbone)
    images = jnp.zeros((1, 224, 224, 3))
    outputs, variables = jax.eval_shape(
        model.init_with_output, jax.random.key(0), images
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == parameters
    assert outputs.maps["attention"].shape == (1, 7, 7, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet34"}, "one of resnet50, resnet18, mobilenet_v2, got"),
        ({"stem": "caffe"}, "one of torchvision, vggface2, got 'caffe'"),
        ({"backbone": "mobilenet_v2", "stem": "vggface2"}, "leave the stem out"),
        ({"width": -1.0}, "width must be positive, got -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        models.create("eac", 7, **options)
