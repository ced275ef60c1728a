import functools

import chex
import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from golden_rule import close

from jaxfer import models, weights
from jaxfer.errors import ConfigError
from jaxfer.models import counts, lfnsb
from jaxfer.models.fuse import fuse

# Programs that run once: half the time to compile.
SYSTEMS = {"lfnsb": {"num_classes": 7}, "lfn": {"num_classes": 0}}


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


@functools.cache
def backbone_program(train, fused):
    """Both networks and all heads run this, the part that takes long to compile."""
    apply = functools.partial(lfnsb.Backbone(fused=fused).apply, train=train)
    return jax.jit(functools.partial(apply, mutable=["batch_stats"]))


def with_features(features):
    """Networks applied within take these for the backbone's, and are quick then."""

    def use(function, args, kwargs, context):
        if isinstance(context.module, lfnsb.Backbone):
            return features
        return function(*args, **kwargs)

    return nn.intercept_methods(use)


def apply(model, variables, images, train=False):
    """Outputs and new statistics, the backbone in a program of its own."""
    own = {collection: tree["backbone"] for collection, tree in variables.items()}
    features, updated = backbone_program(train, model.fused)(own, images)

    @jax.jit
    def head(variables, images):
        with with_features(features):
            return model.apply(variables, images, train=train, mutable=["batch_stats"])

    outputs, more = head(variables, images)
    if not model.fused:
        more["batch_stats"]["backbone"] = updated["batch_stats"]
    return jax.tree.map(np.asarray, (outputs, more.get("batch_stats")))


@functools.cache
def computed(system, mode):
    """Outputs and new statistics of a network with the reference's weights.

    `mode` is eval or train, in float64; or fused, in float32 evaluation.
    """
    fused = mode == "fused"
    model = models.create(system, **SYSTEMS[system], fused=fused)
    variables = official(system)
    with jax.enable_x64(not fused):
        if fused:
            variables = fuse(jax.device_get(variables))
        else:
            variables = {**variables, "params": widen(variables["params"])}
        x = jnp.asarray(images(), np.float32 if fused else np.float64)
        return apply(model, variables, x, train=mode == "train")


@pytest.mark.parametrize(("mode", "tolerance"), [("eval", 1e-9), ("fused", 1e-5)])
def test_outputs_equal_the_released_code(reference, mode, tolerance):
    golden, index = reference
    outputs, _ = computed("lfnsb", mode)
    key = "lfnsb/eval/f64/features.8"
    expected = golden_rule.sample(outputs.features["map"], golden, index, key)
    close(*expected, tolerance)
    flat = outputs.maps["spatial_bias"].transpose(0, 3, 1, 2).reshape(3, -1)
    close(flat, golden["lfnsb/eval/f64/flatten"], tolerance)
    close(outputs.logits, golden["lfnsb/eval/f64/logits"], tolerance)
    pooled = outputs.features["map"].mean((1, 2))
    close(outputs.features["pooled"], pooled, 1e-6)


@pytest.mark.parametrize(
    ("mode", "released", "tolerance"),
    [("eval", "eval", 1e-9), ("fused", "eval_fused", 1e-5)],
)
def test_embeddings_equal_the_released_code(reference, mode, released, tolerance):
    outputs, _ = computed("lfn", mode)
    embedding = outputs.features["embedding"]
    close(embedding, reference[0][f"lfn/{released}/f64/embedding"], tolerance)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(outputs.logits, embedding)


def test_training_mode_equals_the_released_code(reference):
    golden, index = reference
    outputs, _ = computed("lfnsb", "train")
    close(outputs.logits, golden["lfnsb/train/f64/logits"], 1e-8)
    key = "lfnsb/train/f64/feat"
    expected = golden_rule.sample(outputs.features["map"], golden, index, key)
    close(*expected, 1e-8)
    outputs, _ = computed("lfn", "train")
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
    _, statistics = computed(system, "train")
    after = functools.reduce(lambda tree, name: tree[name], ours.split("/"), statistics)
    key = f"{system}/train/f64/updated/{released}.running_"
    close(after["mean"], golden[f"{key}mean"], 1e-6)
    close(after["var"], golden[f"{key}var"], 1e-6)


def test_the_other_head_joins_the_enlarged_map(reference):
    golden, index = reference
    classifier = golden_rule.weights(index, "lfnsb_concat")
    variables = fuse(jax.device_get(official("lfnsb")))
    variables["params"]["logits"] = {
        "kernel": classifier["fc.weight"].T,
        "bias": classifier["fc.bias"],
    }
    model = models.create("lfnsb", 7, head="paper", fused=True)
    outputs, _ = apply(model, variables, images())
    key = "lfnsb/eval/f64/sb_up7_align0"
    found = outputs.maps["spatial_bias"]
    close(*golden_rule.sample(found, golden, index, key), 1e-5)
    close(outputs.logits, golden["lfnsb_concat/eval/f64/logits"], 1e-5)


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
    maps = 7 * 2 * 2 * 64  # attention by place, which the released code does not have
    assert counts.count_multiply_adds(model, (112, 112, 3)) - maps == 387_237_892


def test_counts_of_lfn_fused_and_unfused():
    model = models.create("lfn", 0)
    _, variables = init_shapes(model)
    assert counts.count_parameters(variables) == 2_736_372
    fused = jax.eval_shape(fuse, variables)
    _, expected = init_shapes(model.clone(fused=True))
    chex.assert_trees_all_equal_shapes_and_dtypes(fused, expected)


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({"head": "paper"}, 2_676_595),
        ({"head": "paper", "bias_size": 7, "bias_channels": 256}, 2_734_675),
        ({"spatial_bias": False}, 2_659_067),
    ],
)
def test_counts_of_the_variants(options, parameters):
    _, variables = init_shapes(models.create("lfnsb", 7, **options))
    assert counts.count_parameters(variables) == parameters


def test_a_lone_image_has_a_finite_gradient():
    """Batch norm of one image leaves zeros, which cannot be divided by their norm."""
    model = models.create("lfn", 0)
    x = jnp.ones((1, 112, 112, 3))

    @jax.jit
    def gradient(features):
        with with_features(features):
            variables = model.init(jax.random.key(0), x)

        def total(features):
            with with_features(features):
                outputs, _ = model.apply(
                    variables, x, train=True, mutable=["batch_stats"]
                )
            return outputs.features["embedding"].sum()

        return jax.grad(total)(features)

    chex.assert_tree_all_finite(gradient(jnp.ones((1, 1, 1, 16))))


def test_dropout_in_training_alone():
    model = models.create("lfnsb", 5, spatial_bias=False, dropout=0.5)
    x = jnp.ones((1, 112, 112, 3))

    def logits(train, key=None):
        rngs = None if key is None else {"dropout": jax.random.key(key)}
        return model.apply(variables, x, train=train, rngs=rngs).logits

    with with_features(jnp.ones((1, 2, 2, 64))):
        variables = model.init(jax.random.key(0), x)
        np.testing.assert_array_equal(logits(False), logits(False))
        assert (logits(True, 1) != logits(True, 2)).any()
        np.testing.assert_array_equal(logits(True, 1), logits(True, 1))
        without = model.clone(dropout=0.0).apply(variables, x, train=True)
        np.testing.assert_array_equal(without.logits, logits(False))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lfnsb", {"head": "both"}, "'released' or 'paper', got 'both'"),
        ("lfnsb", {"stem_stride": 3}, "lfnsb stem_stride must be 1 or 2, got 3"),
        ("lfnsb", {"width": 0.0}, "lfnsb width must be positive, got 0"),
        ("lfnsb", {"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1"),
        ("lfn", {"width": float("nan")}, "lfn width must be positive, got nan"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ConfigError, match=message):
        models.create(name, 7, **options)


def test_small_images():
    model = models.create("lfnsb", 8, stem_stride=1, width=0.25)
    outputs, _ = init_shapes(model, 48)
    assert outputs.logits.shape == (2, 8)
    assert outputs.features["map"].shape == (2, 6, 6, 64)
    assert outputs.maps["spatial_bias"].shape == (2, 2, 2, 16)


def test_half_precision_keeps_parameters_logits_and_statistics_wide():
    model = models.create("lfnsb", 8, width=0.125, dtype=jnp.bfloat16)
    outputs, variables = init_shapes(model, 48)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(variables)} == {"float32"}
    assert outputs.logits.dtype == jnp.float32
    assert outputs.features["map"].dtype == jnp.bfloat16
    assert outputs.features["map"].shape == (2, 3, 3, 32)


@pytest.mark.parametrize(
    ("options", "shape", "together"),
    [
        ({"head": "paper"}, (2, 3, 2, 5), np.mean),
        ({"spatial_bias": False}, (2, 3, 2, 5), np.mean),
        ({"head": "released"}, (2, 2, 2, 5), np.sum),
    ],
    ids=["paper", "no bias", "released"],
)
def test_the_attention_maps_together_are_the_decision(options, shape, together):
    model = models.create("lfnsb", 5, width=0.125, depth=0.01, **options)
    images = jax.random.normal(jax.random.key(0), (2, 48, 32, 3))

    def answer(key):
        variables = model.init(key, images)
        return model.apply(variables, images), variables["params"]["logits"]["bias"]

    outputs, bias = jax.jit(answer)(jax.random.key(1))
    maps = outputs.maps["attention"]
    assert maps.shape == shape
    logits = together(np.asarray(maps), axis=(1, 2)) + np.asarray(bias)
    chex.assert_trees_all_close(logits, outputs.logits, rtol=1e-4, atol=1e-5)
