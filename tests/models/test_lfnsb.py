import functools

import chex
import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import models, weights
from jaxfer.models import counts
from jaxfer.models.fuse import fuse

SYSTEMS = {"lfnsb": {"num_classes": 7}, "lfn": {"num_classes": 0}}


def close(actual, expected, tolerance):
    """Largest difference, relative to the largest reference value."""
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


def widen(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


@pytest.fixture(scope="module")
def reference():
    return golden_rule.load("lfnsb")


@functools.cache
def images():
    return golden_rule.uniform(1101, (3, 112, 112, 3))


@functools.cache
def official(system):
    return weights.from_official(
        system, golden_rule.weights(golden_rule.load("lfnsb")[1], system)
    )


def apply(model, variables, images, train=False):
    """Outputs and new statistics; not compiled as a whole, so that equal blocks are
    compiled once."""
    outputs, updated = model.apply(
        variables, images, train=train, mutable=["batch_stats"]
    )
    return jax.tree.map(np.asarray, (outputs, updated["batch_stats"]))


@functools.cache
def computed(system, mode, dtype):
    """Outputs and new statistics of a network with the reference's weights."""
    model = models.create(system, **SYSTEMS[system])
    variables = official(system)
    with jax.enable_x64(dtype == "float64"):
        if dtype == "float64":
            variables = {**variables, "params": widen(variables["params"])}
        x = jnp.asarray(images(), dtype)
        return apply(model, variables, x, mode == "train")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_outputs_equal_the_released_code(reference, dtype, tolerance):
    golden, index = reference
    outputs, _ = computed("lfnsb", "eval", dtype)
    chex.assert_type([outputs.logits, outputs.features["map"]], np.dtype(dtype))
    key = "lfnsb/eval/f64/features.8"
    expected = golden_rule.sample(outputs.features["map"], golden, index, key)
    close(*expected, tolerance)
    flat = outputs.maps["spatial_bias"].transpose(0, 3, 1, 2).reshape(3, -1)
    close(flat, golden["lfnsb/eval/f64/flatten"], tolerance)
    close(outputs.logits, golden["lfnsb/eval/f64/logits"], tolerance)
    pooled = outputs.features["map"].mean((1, 2))
    close(outputs.features["pooled"], pooled, 1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_embeddings_equal_the_released_code(reference, dtype, tolerance):
    outputs, _ = computed("lfn", "eval", dtype)
    embedding = outputs.features["embedding"]
    close(embedding, reference[0]["lfn/eval/f64/embedding"], tolerance)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(outputs.logits, embedding)


def test_training_mode_equals_the_released_code(reference):
    golden, index = reference
    outputs, _ = computed("lfnsb", "train", "float64")
    close(outputs.logits, golden["lfnsb/train/f64/logits"], 1e-8)
    key = "lfnsb/train/f64/feat"
    close(
        *golden_rule.sample(outputs.features["map"], golden, index, key),
        1e-8,
    )
    outputs, _ = computed("lfn", "train", "float64")
    close(outputs.features["embedding"], golden["lfn/train/f64/embedding"], 1e-8)


@pytest.mark.parametrize(
    ("system", "released", "ours"),
    [
        ("lfnsb", "features.0.bn", "backbone/conv1/bn"),
        ("lfnsb", "features.2.CA.bn1", "backbone/down3/attention/squeeze/bn"),
        ("lfnsb", "features.8.bn", "backbone/conv6/bn"),
        ("lfnsb", "sb.feature_reduction.1", "spatial_bias/reduce/bn"),
        ("lfn", "conv6_sep.conv.bn", "backbone/conv6/spatial/bn"),
        ("lfn", "conv6_sep.bn", "backbone/conv6/bn"),
        ("lfn", "conv_6_dw.bn", "conv6_dw/bn"),
        ("lfn", "bn", "linear/bn"),
    ],
)
def test_running_statistics_equal_the_released_code(reference, system, released, ours):
    golden, _ = reference
    _, statistics = computed(system, "train", "float64")
    after = functools.reduce(lambda tree, name: tree[name], ours.split("/"), statistics)
    key = f"{system}/train/f64/updated/{released}.running_"
    close(after["mean"], golden[f"{key}mean"], 1e-6)
    close(after["var"], golden[f"{key}var"], 1e-6)


def test_the_other_head_joins_the_enlarged_map(reference):
    golden, index = reference
    classifier = golden_rule.weights(index, "lfnsb_concat")
    variables = official("lfnsb")
    params = {
        **variables["params"],
        "logits": {"kernel": classifier["fc.weight"].T, "bias": classifier["fc.bias"]},
    }
    model = models.create("lfnsb", 7, head="paper")
    outputs, _ = apply(model, {**variables, "params": params}, images())
    key = "lfnsb/eval/f64/sb_up7_align0"
    found = outputs.maps["spatial_bias"]
    close(*golden_rule.sample(found, golden, index, key), 1e-5)
    close(outputs.logits, golden["lfnsb_concat/eval/f64/logits"], 1e-4)


def init_shapes(model, size=112):
    """Shapes of outputs and variables, without computing anything."""
    key = {"params": jax.random.key(0)}
    x = jnp.zeros((2, size, size, 3))
    return jax.eval_shape(model.init_with_output, key, x)


def test_counts():
    model = models.create("lfnsb", 7)
    _, variables = init_shapes(model)
    unused = 2 * 7  # of the released batch norm over the classes
    assert counts.count_parameters(variables) + unused == 2_676_161
    _, variables = init_shapes(models.create("lfnsb", 8))
    assert counts.count_parameters(variables) + 2 * 8 == 2_676_420
    assert counts.count_multiply_adds(model, (112, 112, 3)) == 387_237_892


def test_counts_of_lfn_fused_and_unfused():
    model = models.create("lfn", 0)
    _, variables = init_shapes(model)
    assert counts.count_parameters(variables) == 2_736_372
    fused = jax.eval_shape(fuse, variables)
    _, expected = init_shapes(model.clone(fused=True))
    chex.assert_trees_all_equal_shapes_and_dtypes(fused, expected)


@pytest.mark.parametrize(
    ("options", "parameters"),
    [({"head": "paper"}, 2_676_595), ({"spatial_bias": False}, 2_659_067)],
)
def test_counts_of_the_variants(options, parameters):
    _, variables = init_shapes(models.create("lfnsb", 7, **options))
    assert counts.count_parameters(variables) == parameters
