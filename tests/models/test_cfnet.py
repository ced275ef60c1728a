import functools

import chex
import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from golden_rule import close

from jaxfer import losses, models, weights
from jaxfer.errors import ConfigError
from jaxfer.models import backbone, cfnet
from jaxfer.weights.cfnet import FUSION_DENSE

LABELS = np.asarray([0, 3])
HEADS = {"local": "l", "global": "g", "fused": "c"}
FEATURES = {
    "cfnet_ck": {"local": "share_2.l", "global": "share_2.g", "fused": "share_2.c"},
    "cfnet_mmi": {"local": "dense_3", "global": "dense_4", "fused": "dense_5"},
}
SYSTEMS = {
    "cfnet_ck": {"num_classes": 7, "heads": "shared", "seed": 1001},
    "cfnet_mmi": {"num_classes": 6, "heads": "separate", "seed": 1002},
}


def widen(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)


@pytest.fixture(scope="module")
def reference():
    return golden_rule.load("cfnet")


@functools.cache
def official(system):
    return golden_rule.weights(golden_rule.load("cfnet")[1], system, keras=True)


@functools.cache
def network(system):
    options = {k: v for k, v in SYSTEMS[system].items() if k != "seed"}
    variables = weights.from_official("cfnet", official(system), **options)
    images = golden_rule.uniform(SYSTEMS[system]["seed"], (2, 224, 224, 3))
    return models.create("cfnet", **options), variables, images


@functools.cache
def evaluated(system, dtype):
    """Outputs in evaluation mode, as NumPy."""
    model, variables, images = network(system)
    with jax.enable_x64(dtype == "float64"):
        images = jnp.asarray(images, dtype)
        return jax.tree.map(np.asarray, jax.jit(model.apply)(variables, images))


@functools.cache
def trained():
    """Losses, logits, updated statistics and gradients of cfnet_ck in float64."""
    model, variables, images = network("cfnet_ck")
    with jax.enable_x64():
        labels = jnp.asarray(LABELS)

        def loss_fn(params):
            outputs, updated = model.apply(
                {**variables, "params": params},
                jnp.asarray(images, jnp.float64),
                train=True,
                mutable=["batch_stats"],
            )
            parts = {
                head: losses.cross_entropy(logits, labels)
                for head, logits in outputs.heads.items()
            }
            loss = losses.mean(losses.multi_task(parts))
            return loss, (parts, outputs.heads, updated["batch_stats"])

        # Optimised like the released code: a kink of ReLU or max pool that rounding
        # moves past changes early gradients by a thousandth, even in float64.
        step = jax.jit(
            jax.value_and_grad(loss_fn, has_aux=True),
            compiler_options={"xla_backend_optimization_level": 3},
        )
        return jax.tree.map(np.asarray, step(widen(variables["params"])))


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_outputs_equal_the_released_code(reference, system, dtype, tolerance):
    golden, index = reference
    outputs = evaluated(system, dtype)
    assert outputs.logits.dtype == dtype
    np.testing.assert_array_equal(outputs.logits, outputs.heads["fused"])
    for head, letter in HEADS.items():
        key = f"{system}/eval/f64/logits_{letter}"
        close(outputs.heads[head], golden[key], tolerance)
        key = f"{system}/eval/f64/{FEATURES[system][head]}"
        close(
            *golden_rule.sample(outputs.features[head], golden, index, key), tolerance
        )


def test_training_mode_equals_the_released_code(reference):
    golden, _ = reference
    (loss, (parts, logits, _)), _ = trained()
    for head, letter in HEADS.items():
        close(logits[head], golden[f"cfnet_ck/train/f64/logits_{letter}"], 1e-8)
        close(parts[head].mean(), golden[f"cfnet_ck/train/f64/ce_{letter}"], 1e-8)
    close(loss, golden["cfnet_ck/train/f64/loss"], 1e-8)


@pytest.mark.parametrize(
    ("number", "branch", "block", "side"),
    [
        ("", "local", "1a", 32),
        ("_4", "local", "4", 4),
        ("_5", "global", "1a", 224),
        ("_9", "global", "4", 28),
    ],
)
def test_running_statistics_equal_the_released_code(
    reference, number, branch, block, side
):
    golden, _ = reference
    (_, (_, _, updated)), _ = trained()
    before = network("cfnet_ck")[1]["batch_stats"][branch][f"bn{block}"]
    after = updated[branch][f"bn{block}"]
    key = f"cfnet_ck/train/f64/updated/batch_normalization{number}/moving_"
    close(after["mean"], golden[f"{key}mean"], 1e-6)
    # Keras keeps the biased variance in float64, the unbiased one in float32.
    kept = 0.99 * np.asarray(before["var"])
    n = 2 * side * side
    unbiased = kept + (golden[f"{key}variance"] - kept) * n / (n - 1)
    close(after["var"], unbiased, 1e-6)


def test_gradients_equal_the_released_code(reference):
    golden, index = reference
    _, gradients = trained()
    places = place_by_name("cfnet_ck", index)

    def gradient(name):
        return functools.reduce(lambda tree, k: tree[k], places[name], gradients)

    names = index["grad_order"]["cfnet_ck"]
    norms = [np.linalg.norm(gradient(name)) for name in names]
    assert sum(np.size(leaf) for leaf in jax.tree.leaves(gradients)) == 13_894_741
    np.testing.assert_allclose(
        norms, golden["cfnet_ck/train/f64/grad_norms"], rtol=1e-6
    )
    for name in (
        "conv2d/kernel",
        "conv2d_5/kernel",
        "dense_4/kernel",
        "dense_6/bias",
    ):
        key = f"cfnet_ck/train/f64/grad/{name}"
        close(*golden_rule.sample(gradient(name), golden, index, key), 1e-6)


def place_by_name(system, index):
    """Where `from_official` puts each name, found by marking one array at a time."""
    rows = index["weights"][system]
    marked = {r[0]: np.full(r[2], i, np.float32) for i, r in enumerate(rows)}
    options = {k: v for k, v in SYSTEMS[system].items() if k != "seed"}
    params = weights.from_official("cfnet", marked, **options)["params"]
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {
        rows[int(leaf.flat[0])][0]: [k.key for k in path]
        for path, leaf in ((p, np.asarray(leaf)) for p, leaf in leaves)
    }


@functools.cache
def fused(system, dtype):
    """Outputs, loss and gradients of the fusion network, as NumPy."""
    if system == "cfnet_fusion":
        inputs = [
            golden_rule.uniform(1010 + i, (5, units))
            for i, units in enumerate((1024, 1024, 2048))
        ]
    else:  # the joint network's own features
        outputs = evaluated("cfnet_mmi", "float64")
        inputs = [outputs.features[head].astype(np.float32) for head in HEADS]
    variables = weights.from_official("cfnet_fusion", official(system))
    classes = variables["params"]["logits"]["bias"].size
    model = models.create("cfnet_fusion", classes)
    with jax.enable_x64(dtype == "float64"):
        inputs = [jnp.asarray(x, dtype) for x in inputs]
        labels = jnp.arange(len(inputs[0])) % classes

        def loss_fn(params):
            outputs = model.apply({"params": params}, *inputs)
            return losses.mean(losses.cross_entropy(outputs.logits, labels)), outputs

        params = jax.tree.map(lambda x: jnp.asarray(x, dtype), variables["params"])
        # Optimised like the released code: a kink of ReLU or max pool that rounding
        # moves past changes early gradients by a thousandth, even in float64.
        step = jax.jit(
            jax.value_and_grad(loss_fn, has_aux=True),
            compiler_options={"xla_backend_optimization_level": 3},
        )
        return jax.tree.map(np.asarray, step(params))


@pytest.mark.parametrize("system", ["cfnet_fusion", "cfnet_fusion6"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_fusion_equals_the_released_code(reference, system, dtype, tolerance):
    golden, _ = reference
    (loss, outputs), gradients = fused(system, dtype)
    key = f"{system}/f64/"
    close(outputs.logits, golden[f"{key}logits"], tolerance)
    close(loss, golden[f"{key}loss"], tolerance)
    for ours, theirs in (("alpha", "alpha"), ("cosine", "cos")):
        for head in ("local", "global"):
            expected = golden[f"{key}{theirs}_{HEADS[head]}"][:, 0]
            close(outputs.features[f"{ours}_{head}"], expected, tolerance)
    order = [
        (FUSION_DENSE[i], part) for i in (0, 2, 1, 3) for part in ("kernel", "bias")
    ]
    norms = [np.linalg.norm(gradients[layer][part]) for layer, part in order]
    np.testing.assert_allclose(norms, golden[f"{key}grad_norms"], rtol=10 * tolerance)


@pytest.mark.parametrize(
    ("heads", "classes", "total", "trainable"),
    [
        ("shared", 7, 13_899_861, 13_894_741),
        ("separate", 6, 11_259_986, 11_254_866),
        ("separate", 7, 11_264_085, 11_258_965),
    ],
)
def test_parameter_count(heads, classes, total, trainable):
    model = models.create("cfnet", classes, heads=heads)
    images = jnp.zeros((1, 224, 224, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)

    def count(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    assert (count(variables), count(variables["params"])) == (total, trainable)


def some_variables(model, *inputs):
    """Random variables, quicker than `init`, which compiles a draw per shape."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        scale = {"kernel": 0.1, "bias": 0.1}.get(path[-1].key, 0.0)
        offset = float(path[-1].key in ("scale", "var"))
        return np.float32(offset + scale * rng.standard_normal(leaf.shape))

    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    return jax.tree_util.tree_map_with_path(draw, shapes)


def apply_in_training(model):
    return jax.jit(
        lambda variables, images: model.apply(
            variables, images, train=True, mutable=["batch_stats"]
        )
    )


@pytest.fixture(scope="module")
def small():
    """A small network, its variables, three images, and outputs in training."""
    model = models.create("cfnet", 3, width=0.0625)
    images = jax.random.uniform(jax.random.key(1), (3, 56, 56, 3))
    variables = some_variables(model, images)
    return model, variables, images, apply_in_training(model)(variables, images)


def test_shared_heads_use_the_same_weights(small):
    hidden = {name for name in small[1]["params"] if "dense" in name}
    assert hidden == {"local_dense", "global_dense", "shared_dense_1", "shared_dense_2"}


def test_keras_initialisation():
    shape = (3, 3, 8, 24)
    ours = cfnet.glorot_uniform(jax.random.key(2), shape)
    flax = nn.initializers.glorot_uniform()(jax.random.key(2), shape)
    np.testing.assert_allclose(ours, flax, rtol=1e-6, atol=1e-8)
    fusion = models.create("cfnet_fusion", 7, width=0.01)
    features = jnp.zeros((1, 64))
    params = fusion.init(jax.random.key(0), features, features, features)["params"]
    limit = np.sqrt(6 / (64 + backbone.scaled_nearest(2048, 0.01)))
    assert 0.99 * limit < np.abs(params["local"]["kernel"]).max() <= limit
    assert not params["local"]["bias"].any()


@pytest.mark.parametrize("heads", ["shared", "separate"])
def test_one_image_does_not_see_the_others(heads):
    model = models.create("cfnet", 3, width=0.0625, heads=heads)
    images = jax.random.uniform(jax.random.key(1), (3, 28, 28, 3))
    apply = functools.partial(jax.jit(model.apply), some_variables(model, images))
    first, second = apply(images), apply(images.at[1:].multiply(0.5))
    chex.assert_trees_all_equal(
        jax.tree.map(lambda x: x[:1], first), jax.tree.map(lambda x: x[:1], second)
    )
    assert (first.logits[1:] != second.logits[1:]).any()


def test_training_changes_all_statistics_and_nothing_else(small):
    _, variables, _, (outputs, updated) = small
    chex.assert_tree_all_finite(outputs)
    assert set(updated) == {"batch_stats"}
    before, after = variables["batch_stats"], updated["batch_stats"]
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert (old != new).any()


def test_vmap_over_networks_equals_one_by_one(small):
    model, variables, images, _ = small
    networks = [variables, jax.tree.map(lambda x: 0.5 * x, variables)]
    apply = jax.jit(model.apply)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *networks)
    together = jax.jit(jax.vmap(model.apply, in_axes=(0, None)))(stacked, images)
    one_by_one = jax.tree.map(
        lambda *x: jnp.stack(x), *[apply(network, images) for network in networks]
    )
    chex.assert_trees_all_close(together, one_by_one, rtol=1e-4, atol=1e-6)


def test_half_precision_keeps_logits_and_statistics_wide(small):
    _, variables, images, (wide, _) = small
    model = models.create("cfnet", 3, width=0.0625, dtype=jnp.bfloat16)
    outputs, updated = apply_in_training(model)(variables, images)
    chex.assert_trees_all_equal_dtypes(updated["batch_stats"], variables["batch_stats"])
    assert outputs.logits.dtype == jnp.float32
    assert outputs.features["fused"].dtype == jnp.bfloat16
    close(outputs.logits, wide.logits, 0.2)
    assert not np.array_equal(outputs.logits, wide.logits)


def test_other_grids_and_sizes():
    model = models.create("cfnet", 3, width=0.0625, grid=4)
    outputs, variables = jax.eval_shape(
        model.init_with_output, jax.random.key(0), jnp.zeros((2, 64, 32, 3))
    )
    assert outputs.logits.shape == (2, 3)
    assert variables["params"]["local"]["conv1a"]["kernel"].shape[2] == 4 * 4 * 3


def test_a_size_that_the_grid_does_not_divide(small):
    model, variables, *_ = small
    with pytest.raises(ConfigError, match=r"grid of 7 x 7; 64 x 56 images"):
        model.apply(variables, jnp.zeros((1, 64, 56, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": "joint"}, "'shared' or 'separate', got 'joint'"),
        ({"width": 0.0}, "width must be positive, got 0"),
        ({"width": float("nan")}, "width must be positive, got nan"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        models.create("cfnet", 7, **options)
