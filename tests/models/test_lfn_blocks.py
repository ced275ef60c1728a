import functools

import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxfer.errors import ConfigError
from jaxfer.models import lfn_blocks as blocks
from jaxfer.models.fuse import fuse
from jaxfer.models.spatial_bias import SpatialBias
from jaxfer.weights import lfnsb as names

# Programs that run once: half the time to compile.

MIXED = ((3, 12), (5, 8), (7, 4))
BOTTLENECK = ((3, 16), (5, 8))


def mixed_entries(official, ours, split):
    return [
        entry
        for i, (size, _) in enumerate(split)
        for entry in names.conv_entries(
            f"{official}.mixed_depthwise_conv.{i}", f"{ours}/conv{size}x{size}"
        )
    ]


CASES = {
    "conv2d_bn": (blocks.ConvBN(16, (3, 3), 2), names.conv_bn_entries),
    "conv2d_bn_dw": (blocks.ConvBN(16, (3, 3), depthwise=True), names.conv_bn_entries),
    "repvggdw": (blocks.RepVGGDW(), names.repvgg_entries),
    "coordatt96": (blocks.CoordinateAttention(), names.attention_entries),
    "coordatt320": (blocks.CoordinateAttention(), names.attention_entries),
    "mdconv357_s2": (
        blocks.MixedDepthwiseConv(MIXED, 2),
        functools.partial(mixed_entries, split=MIXED),
    ),
    "mixdw_res": (
        blocks.MixBottleneck(16, BOTTLENECK, residual=True),
        functools.partial(names.bottleneck_entries, split=BOTTLENECK),
    ),
    "mixdw_s2": (
        blocks.MixBottleneck(32, BOTTLENECK, 2),
        functools.partial(names.bottleneck_entries, split=BOTTLENECK),
    ),
    "spatial_bias": (SpatialBias(64, 2), names.spatial_bias_entries),
    "spatial_bias1": (SpatialBias(256, 7), names.spatial_bias_entries),
}

# The others are parts of these, or the same with other sizes.
WITH_GRADIENTS = ("conv2d_bn", "repvggdw", "coordatt96", "mixdw_s2", "spatial_bias")


def widen(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


def close(actual, expected, tolerance=1e-9):
    """Largest difference, relative to the largest reference value."""
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


@pytest.fixture(scope="module")
def reference():
    return golden_rule.load("lfnsb")


def loaded(name, index):
    """A block, its input and variables, and its name map."""
    block, entries_of = CASES[name]
    rule = index["inputs"][f"mod/{name}"]
    x = np.random.default_rng(rule["seed"]).standard_normal(rule["shape"])
    x = x.astype(np.float32)
    drawn = golden_rule.weights(index, f"mod_{name}")
    entries = list(entries_of("m", "m"))
    shapes = jax.eval_shape(block.init, jax.random.key(0), x)
    narrow = [e.path for e in entries if e.official == "m.sb_conv.weight"]
    variables = names.fill(
        name,
        entries,
        {f"m.{key}": array for key, array in drawn.items()},
        {collection: {"m": tree} for collection, tree in shapes.items()},
        *narrow,
    )
    variables = {collection: tree["m"] for collection, tree in variables.items()}
    places = {e.official[2:]: e.path.replace("/m/", "/", 1) for e in entries}
    return block, x, variables, places


@functools.cache
def computed(name):
    """Outputs in both modes, new statistics and gradients, float64, as NumPy."""
    block, x, variables, places = loaded(name, golden_rule.load("lfnsb")[1])
    takes_train = "batch_stats" in variables

    def run(variables, x):
        mode = {"train": False} if takes_train else {}
        evaluated = block.apply(variables, x, **mode)

        def objective(params, x):
            mode = {"train": True} if takes_train else {}
            y, updated = block.apply(
                {**variables, "params": params}, x, mutable=["batch_stats"], **mode
            )
            flat = y.reshape(-1)
            weights = jnp.cos(jnp.arange(flat.size, dtype=flat.dtype))
            return flat @ weights, (y, updated)

        if name not in WITH_GRADIENTS:
            return evaluated, *objective(variables["params"], x)[1], None
        gradients, (trained, updated) = jax.grad(objective, (0, 1), has_aux=True)(
            variables["params"], x
        )
        return evaluated, trained, updated, gradients

    with jax.enable_x64():
        variables["params"] = widen(variables["params"])
        x = jnp.asarray(x, jnp.float64)
        results = jax.tree.map(np.asarray, jax.jit(run)(variables, x))
    return results, places


@pytest.mark.parametrize("name", CASES)
def test_blocks_equal_the_released_code(reference, name):
    golden, index = reference
    (evaluated, trained, updated, _), places = computed(name)
    for mode, y in (("eval", evaluated), ("train", trained)):
        key = f"mod/{name}/{mode}/f64/y"
        close(*golden_rule.sample(y, golden, index, key))
    flat = flatten_dict(updated, sep="/")
    prefix = f"mod/{name}/train/f64/updated/"
    statistics = [key for key in golden if key.startswith(prefix)]
    assert len(statistics) == len(jax.tree.leaves(updated))
    for key in statistics:
        close(flat[places[key.removeprefix(prefix)]], golden[key], 1e-6)


@pytest.mark.parametrize("name", WITH_GRADIENTS)
def test_gradients_equal_the_released_code(reference, name):
    golden, index = reference
    (*_, (gradients, input_gradient)), places = computed(name)
    key = f"mod/{name}/train/f64/grad_x"
    close(*golden_rule.sample(input_gradient, golden, index, key))
    flat = flatten_dict({"params": gradients}, sep="/")
    norms = [
        np.linalg.norm(flat[places[weight]])
        for weight in index["grad_order"][f"mod_{name}"]
    ]
    expected = golden[f"mod/{name}/train/f64/grad_norms"]
    # A bias before batch norm has no gradient but rounding.
    np.testing.assert_allclose(
        norms, expected, rtol=1e-6, atol=1e-12 * np.abs(expected).max()
    )


def test_one_depthwise_kernel_size_is_a_plain_depthwise_convolution(reference):
    golden, index = reference
    rule = index["inputs"]["mod/mdconv3_s1"]
    x = np.random.default_rng(rule["seed"]).standard_normal(rule["shape"])
    (kernel,) = golden_rule.weights(index, "mod_mdconv3_s1").values()
    params = {"conv3x3": {"kernel": kernel.transpose(2, 3, 1, 0)}}
    block = blocks.MixedDepthwiseConv(((3, 8),))
    y = block.apply({"params": params}, x.astype(np.float32))
    close(y, golden["mod/mdconv3_s1/eval/f64/y"], 1e-5)


@pytest.mark.parametrize("name", ["conv2d_bn", "conv2d_bn_dw", "repvggdw"])
def test_fused_kernels_equal_the_released_code(reference, name):
    golden, index = reference
    _, _, variables, _ = loaded(name, index)
    fused = fuse(variables)["params"]["conv"]
    kernel = golden[f"mod/{name}/fused/f64/weight"].transpose(2, 3, 1, 0)
    close(fused["kernel"], kernel, 1e-6)
    close(fused["bias"], golden[f"mod/{name}/fused/f64/bias"], 1e-6)


@pytest.mark.parametrize("name", ["conv2d_bn", "repvggdw", "mixdw_s2", "spatial_bias"])
def test_fused_blocks_equal_unfused_ones(reference, name):
    golden, index = reference
    block, x, variables, _ = loaded(name, index)
    apply = jax.jit(block.clone(fused=True).apply)
    y = apply(fuse(variables), x)
    key = f"mod/{name}/eval/f64/y"
    close(*golden_rule.sample(y, golden, index, key), 1e-5)


@pytest.mark.parametrize("block", [blocks.ConvBN(8, fused=True), blocks.RepVGGDW(True)])
def test_a_fused_block_cannot_be_trained(block):
    with pytest.raises(ConfigError, match="fuse its variables afterwards"):
        block.init(jax.random.key(0), jnp.zeros((1, 3, 3, 8)), train=True)


def test_a_split_must_cover_the_channels():
    with pytest.raises(ConfigError, match=r"not add up to 9 channels"):
        blocks.MixedDepthwiseConv(((3, 4), (5, 4))).init(
            jax.random.key(0), jnp.zeros((1, 3, 3, 9))
        )


def test_prelu_between_relu_and_identity():
    x = jnp.asarray([[-2.0, -1.0, 3.0]])
    for slope, expected in ((0.0, jax.nn.relu(x)), (1.0, x)):
        params = {"params": {"slope": jnp.full(3, slope)}}
        np.testing.assert_array_equal(blocks.PReLU().apply(params, x), expected)


def test_kernels_keep_the_variance():
    kernel = blocks.lecun_uniform(jax.random.key(0), (5, 5, 1, 4000))
    np.testing.assert_allclose(kernel.var(), 1 / 25, rtol=0.02)
    assert np.abs(kernel).max() <= np.sqrt(3 / 25)
