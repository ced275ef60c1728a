"""Convolution: values and derivatives of every order equal those of plain lax."""

import contextlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxfer import ops
from jaxfer.ops.geometry import explicit_padding, extent, pair

PADDINGS = ["SAME", "VALID", 1, ((0, 2), (1, 0))]


def plain(x, kernel, *, strides=1, padding="SAME", dilation=1, groups=1):
    strides, dilation = pair(strides), pair(dilation)
    window = extent(kernel.shape[:2], dilation)
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        explicit_padding(padding, x.shape[1:3], window, strides),
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def operands(size, channels, kernel, features, groups=1, dtype=np.float64, runs=()):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((*runs, 2, *size, channels))
    k = rng.standard_normal((*runs, *kernel, channels // groups, features))
    return jnp.asarray(x, dtype), jnp.asarray(k, dtype)


def first_order(function: Callable, weights: jax.Array) -> Callable:
    def both(x, kernel):
        y, pullback = jax.vjp(function, x, kernel)
        return y, *pullback(weights)

    return both


def second_order(function: Callable) -> Callable:
    def inner(x, kernel):
        gradients = jax.grad(lambda *a: jnp.sum(jnp.sin(function(*a))), (0, 1))
        return sum(jnp.sum(jnp.cos(each)) for each in gradients(x, kernel))

    return jax.grad(inner, (0, 1))


def assert_same(ours, theirs, arguments, tolerance=1e-9):
    results = jax.jit(lambda *a: (ours(*a), theirs(*a)))(*arguments)
    for found, expected in zip(*map(jax.tree.leaves, results), strict=True):
        scale = max(1.0, float(jnp.max(jnp.abs(expected), initial=0.0)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@settings(max_examples=16, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(5, 8), st.integers(5, 8)),
    kernel=st.sampled_from([(1, 1), (3, 3), (2, 3), (5, 1), (4, 4)]),
    strides=st.sampled_from([1, 1, 2, 3, (1, 2)]),
    padding=st.sampled_from(PADDINGS),
    dilation=st.sampled_from([1, 1, 1, (2, 1)]),
    channels=st.sampled_from([(3, 4, 1), (16, 3, 1), (4, 4, 4), (4, 6, 2), (4, 8, 4)]),
    double=st.booleans(),
)
def test_values_and_gradients(
    size, kernel, strides, padding, dilation, channels, double
):
    inputs, features, groups = channels
    options = {
        "strides": strides,
        "padding": padding,
        "dilation": dilation if kernel[0] < 4 else 1,
        "groups": groups,
    }
    with jax.enable_x64() if double else contextlib.nullcontext():
        dtype = np.float64 if double else np.float32
        x, k = operands(size, inputs, kernel, features, groups, dtype)
        shape = jax.eval_shape(lambda x, k: plain(x, k, **options), x, k).shape
        weights = jnp.asarray(np.random.default_rng(1).standard_normal(shape), dtype)
        assert_same(
            first_order(lambda x, k: ops.conv(x, k, **options), weights),
            first_order(lambda x, k: plain(x, k, **options), weights),
            (x, k),
            1e-12 if double else 1e-5,
        )


@pytest.mark.parametrize(
    "size, kernel, options",
    [
        ((2, 2), (3, 3), {}),
        ((1, 3), (3, 3), {"strides": 2, "padding": 1}),
        ((4, 2), (3, 3), {"dilation": 2, "padding": 2}),
        ((2, 5), (4, 2), {"strides": (1, 2), "padding": 2}),
    ],
)
def test_an_image_smaller_than_the_kernel(size, kernel, options):
    with jax.enable_x64():
        arguments = operands(size, 16, kernel, 4)
        shape = jax.eval_shape(lambda x, k: plain(x, k, **options), *arguments).shape
        weights = jnp.asarray(np.random.default_rng(1).standard_normal(shape))
        assert_same(
            first_order(lambda x, k: ops.conv(x, k, **options), weights),
            first_order(lambda x, k: plain(x, k, **options), weights),
            arguments,
            1e-12,
        )


CASES = [
    ((3, 3), 16, 4, {}),
    ((6, 7), 2, 3, {"padding": 3}),
    ((3, 3), 16, 3, {"strides": 2}),
    ((1, 1), 3, 4, {"strides": 2}),
    ((3, 3), 4, 4, {"strides": 2, "groups": 4}),
]


# Two images of so many pixels are one block, several, and too uneven for blocks.
@pytest.mark.parametrize("size", [(16, 16), (36, 48), (47, 53)])
@pytest.mark.parametrize(("channels", "features"), [(3, 5), (5, 3)])
def test_the_gradient_of_a_1x1_kernel_sums_over_blocks(size, channels, features):
    with jax.enable_x64():
        x, kernel = operands(size, channels, (1, 1), features)
        y = ops.conv(x, kernel)
        ours, theirs = (first_order(conv, jnp.sin(y)) for conv in (ops.conv, plain))
        assert_same(ours, theirs, (x, kernel))


@pytest.mark.parametrize("kernel, channels, features, options", CASES)
def test_second_derivatives(kernel, channels, features, options):
    with jax.enable_x64():
        groups = options.get("groups", 1)
        arguments = operands((5, 6), channels, kernel, features, groups)
        assert_same(
            second_order(lambda x, k: ops.conv(x, k, **options)),
            second_order(lambda x, k: plain(x, k, **options)),
            arguments,
        )


@pytest.mark.parametrize("kernel, channels, features, options", CASES)
def test_vmap_over_images_and_kernels(kernel, channels, features, options):
    with jax.enable_x64():
        groups = options.get("groups", 1)
        arguments = operands((5, 6), channels, kernel, features, groups, runs=(3,))

        def gradients(conv):
            def loss(x, k):
                return jnp.sum(jnp.sin(conv(x, k, **options)))

            return jax.vmap(jax.value_and_grad(loss, (0, 1)))

        assert_same(gradients(ops.conv), gradients(plain), arguments)


@pytest.mark.parametrize("axes", [(0, None), (None, 0)])
def test_vmap_over_one_operand(axes):
    with jax.enable_x64():
        runs = operands((5, 5), 3, (3, 3), 4, runs=(2,))
        x, k = (a if axis == 0 else a[0] for a, axis in zip(runs, axes, strict=True))

        def gradients(conv):
            def loss(x, k):
                return jnp.sum(jnp.sin(conv(x, k)))

            return jax.vmap(jax.grad(loss, (0, 1)), axes)

        assert_same(gradients(ops.conv), gradients(plain), (x, k))


def test_vmap_of_vmap_and_gradient_of_vmap():
    with jax.enable_x64():
        arguments = operands((4, 4), 2, (3, 3), 3, runs=(2, 2))

        def gradients(conv):
            twice = jax.vmap(jax.vmap(conv))
            return jax.grad(lambda *a: jnp.sum(jnp.sin(twice(*a))), (0, 1))

        assert_same(gradients(ops.conv), gradients(plain), arguments)


def test_second_derivatives_of_vmap():
    with jax.enable_x64():
        arguments = operands((4, 4), 2, (3, 3), 3, runs=(2,))
        assert_same(
            second_order(jax.vmap(ops.conv)), second_order(jax.vmap(plain)), arguments
        )


@pytest.mark.parametrize("strides", [1, 2])
def test_gradients_inside_a_loop(strides):
    with jax.enable_x64():
        x, k = operands((6, 6), 3, (3, 3), 4)

        def descend(conv):
            def loss(k):
                return jnp.sum(jnp.square(conv(x, k, strides=strides)))

            def step(k, _):
                return k - 1e-3 * jax.grad(loss)(k), None

            return lambda k: lax.scan(step, k, length=3)[0]

        assert_same(descend(ops.conv), descend(plain), (k,))


@pytest.mark.parametrize("strides, padding", [(1, 0), (2, 1), (3, 0)])
def test_transpose_is_the_adjoint(strides, padding):
    with jax.enable_x64():
        x, k = operands((4, 5), 3, (4, 4), 6)
        k = k.transpose(0, 1, 3, 2)  # a convolution from 6 channels to 3
        y = ops.conv_transpose(x, k, strides=strides, padding=padding)
        assert y.shape[1] == (4 - 1) * strides - 2 * padding + 4
        z = jnp.asarray(np.random.default_rng(2).standard_normal(y.shape))
        forward = plain(z, k, strides=strides, padding=padding)
        np.testing.assert_allclose(jnp.sum(y * z), jnp.sum(forward * x), rtol=1e-10)


def test_accelerators_get_plain_lax():
    x, k = operands((8, 8), 4, (3, 3), 4, dtype=np.float32, runs=(2,))

    def text(conv, platform):
        loss = jax.vmap(jax.grad(lambda x, k: jnp.sum(jnp.sin(conv(x, k))), (0, 1)))
        traced = jax.jit(loss).trace(x, k)
        return traced.lower(lowering_platforms=(platform,)).as_text()

    for platform in ("cuda", "tpu"):
        assert "while" not in text(ops.conv, platform)
        count = text(ops.conv, platform).count("stablehlo.convolution")
        assert count == text(plain, platform).count("stablehlo.convolution")
    assert "while" in text(ops.conv, "cpu")


def test_sharded_batch():
    x, k = operands((6, 6), 3, (3, 3), 4, dtype=np.float32)
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("batch")
    sharded = jax.device_put(x, jax.sharding.NamedSharding(mesh, spec))

    def loss(k, x):
        return jnp.sum(jnp.sin(ops.conv(x, k)))

    gradient = jax.jit(jax.grad(loss))
    np.testing.assert_allclose(gradient(k, sharded), gradient(k, x), atol=1e-4)


def test_unknown_padding():
    x, k = operands((5, 5), 3, (3, 3), 4, dtype=np.float32)
    with pytest.raises(ValueError, match="found 'FULL'"):
        ops.conv(x, k, padding="FULL")
