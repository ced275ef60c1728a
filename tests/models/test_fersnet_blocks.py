import functools

import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from golden_rule import close

from jaxfer.models import fersnet_blocks as blocks
from jaxfer.weights import fersnet as names
from jaxfer.weights.mapping import TORCH_LINEAR, Entry, convert

FLU = [
    e
    for name in ("W_r", "W", "U", "W_z")
    for e in names.layer(f"m.{name}", f"m/{name}")
]
TRANSFORM = [
    *names.layer("m.style_1d", "m/style", TORCH_LINEAR, bias=True),
    Entry("m.noise.weight", "params/m/noise"),
]
UP = [*names.layer("m.model.0", "m/up"), *names.transform("m.transform", "m/transform")]
MODULES = {
    "convflu": (blocks.ConvFLU(), FLU, (1350, 1351), [(2, 6, 5, 16)] * 2),
    "transform": (blocks.Transform(), TRANSFORM, (1360, 1361), [(2, 5, 4, 8), (2, 6)]),
    "unetup": (
        blocks.Up(8),
        UP,
        (1370, 1371, 1372),
        [(2, 4, 3, 12), (2, 8, 6, 8), (2, 6)],
    ),
    "basicblock_bn": (
        blocks.BasicBlock(12),
        names.block("m", "m", norms=True, project=True),
        (1380,),
        [(2, 6, 5, 8)],
    ),
    "basicblock_in": (
        blocks.BasicBlock(12, norm="instance"),
        names.block("m", "m", norms=False, project=True),
        (1390,),
        [(2, 6, 5, 8)],
    ),
}


@pytest.fixture(scope="module")
def reference():
    return golden_rule.load("fersnet")


def normal(seed, shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "mode"),
    [*((name, "eval") for name in MODULES), ("basicblock_bn", "train")],
)
def test_blocks_equal_the_released_code(reference, name, mode):
    golden, index = reference
    module, entries, seeds, sizes = MODULES[name]
    inputs = [normal(*each) for each in zip(seeds, sizes, strict=True)]
    arrays = golden_rule.weights(index, f"mod_{name}")
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    template = {collection: {"m": tree} for collection, tree in shapes.items()}
    arrays = {f"m.{key}": array for key, array in arrays.items()}
    variables = {
        collection: tree["m"]
        for collection, tree in convert(name, entries, arrays, template).items()
    }
    apply = functools.partial(module.apply, mutable=["batch_stats"])
    if mode == "train":
        apply = functools.partial(apply, train=True)

    def weighted_sum(*inputs):
        outputs, _ = apply({**variables, "params": params}, *inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        y = outputs[0]
        weights = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
        return jnp.sum(y * weights), dict(zip(("y", "r", "z"), outputs, strict=False))

    with jax.enable_x64():
        params, inputs = jax.tree.map(
            lambda x: jnp.asarray(x, jnp.float64), (variables["params"], inputs)
        )
        places = tuple(range(len(inputs)))
        step = jax.jit(jax.grad(weighted_sum, argnums=places, has_aux=True))
        gradients, outputs = jax.tree.map(np.asarray, step(*inputs))
    outputs |= {f"grad_in{i}": gradient for i, gradient in enumerate(gradients)}
    kept = {
        k.split("/")[4].split("|")[0]
        for k in golden
        if k.startswith(f"mod/{name}/{mode}")
    }
    assert kept == set(outputs)
    for key, value in outputs.items():
        full = f"mod/{name}/{mode}/f64/{key}"
        close(*golden_rule.sample(value, golden, index, full), 1e-9)


def test_a_leaky_unit_without_weights_keeps_half():
    own, other = (
        jnp.asarray(normal(0, (1, 2, 2, 8))),
        jnp.asarray(normal(1, (1, 2, 2, 8))),
    )
    module = blocks.ConvFLU()
    params = jax.tree.map(
        lambda x: jnp.zeros(x.shape),
        jax.eval_shape(module.init, jax.random.key(0), own, other),
    )
    merged, leaky, memory = module.apply(params, own, other)
    np.testing.assert_array_equal(merged, own / 2)
    assert (leaky == 0.5).all() and (memory == 0.5).all()
    # A memory gate that is open keeps everything, whatever the other weights.
    params = jax.tree.map(jnp.ones_like, params)
    params["params"]["W_z"]["kernel"] *= 1e4
    merged, _, memory = module.apply(params, jnp.abs(own), jnp.abs(other))
    np.testing.assert_array_equal(merged, jnp.abs(own))


def test_transform_gives_each_target_its_statistics():
    x, target = jnp.asarray(normal(2, (2, 7, 7, 4))), jnp.eye(3)[:2]
    module = blocks.Transform()
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(normal(3, leaf.shape)),
        jax.eval_shape(module.init, jax.random.key(0), x, target),
    )
    y = module.apply(variables, x, target)
    style = variables["params"]["style"]
    gamma, beta = jnp.split(style["kernel"][:2] + style["bias"][None], 2, axis=-1)
    np.testing.assert_allclose(y.mean((1, 2)), beta, atol=1e-5)
    np.testing.assert_allclose(y.std((1, 2)), jnp.abs(gamma), rtol=1e-4)


def test_initial_weights_are_pytorchs():
    shape = (3, 3, 16, 24)
    kernel = blocks.fan_in_uniform(jax.random.key(0), shape)
    limit = 1 / np.sqrt(3 * 3 * 16)
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    reference = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    np.testing.assert_allclose(kernel, reference(jax.random.key(0), shape), atol=1e-7)
    variables = blocks.Transform().init(
        jax.random.key(0), jnp.zeros((1, 2, 2, 64)), jnp.zeros((1, 6))
    )["params"]
    spread = 0.1 * np.sqrt(2 / (6 + 128))
    np.testing.assert_allclose(variables["style"]["kernel"].std(), spread, rtol=0.1)
    assert not variables["noise"].any() and not variables["style"]["bias"].any()
