"""Batch norm: normalised output, derivatives as JAX derives them, accurate sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import ops


def plain(x, scale, bias, epsilon):
    axes = tuple(range(x.ndim - 1))
    mean = jnp.mean(x, axes, keepdims=True)
    var = jnp.var(x, axes, keepdims=True)
    shape = (1,) * len(axes) + (-1,)
    z = (x - mean) / jnp.sqrt(var + epsilon)
    return z * scale.reshape(shape) + bias.reshape(shape)


def arguments(shape, seed=0):
    rng = np.random.default_rng(seed)
    channels = shape[-1]
    return tuple(
        jnp.asarray(rng.standard_normal(s)) for s in (shape, (channels,), (channels,))
    )


def test_output_has_mean_bias_and_deviation_scale():
    with jax.enable_x64():
        x, scale, bias = arguments((4, 5, 6, 3))
        y, mean, var = ops.batch_norm(3 * x + 7, scale, bias, epsilon=0.0)
        np.testing.assert_allclose(y.mean((0, 1, 2)), bias, atol=1e-12)
        np.testing.assert_allclose(y.std((0, 1, 2)), np.abs(scale), atol=1e-12)
        np.testing.assert_allclose(mean, (3 * x + 7).mean((0, 1, 2)))
        np.testing.assert_allclose(var, (3 * x).var((0, 1, 2)))


@pytest.mark.parametrize("shape", [(6, 3), (3, 4, 2, 5)])
def test_derivatives(shape):
    with jax.enable_x64():
        values = arguments(shape)

        def ours(*a):
            return jnp.sum(jnp.sin(ops.batch_norm(*a, epsilon=1e-3)[0]))

        def theirs(*a):
            return jnp.sum(jnp.sin(plain(*a, 1e-3)))

        def second(f):
            def inner(*a):
                return sum(jnp.sum(jnp.cos(g)) for g in jax.grad(f, (0, 1, 2))(*a))

            return jax.jit(jax.grad(inner, (0, 1, 2)))

        for order in (lambda f: jax.jit(jax.grad(f, (0, 1, 2))), second):
            for found, expected in zip(order(ours)(*values), order(theirs)(*values)):
                np.testing.assert_allclose(found, expected, atol=1e-10)


def test_vmap_over_runs():
    with jax.enable_x64():
        runs = [
            jnp.stack(each) for each in zip(*(arguments((4, 2, 3), i) for i in (0, 1)))
        ]

        def gradient(norm):
            return jax.grad(lambda *a: jnp.sum(jnp.sin(norm(*a))), (0, 1, 2))

        def ours(*a):
            return ops.batch_norm(*a, epsilon=1e-3)[0]

        found = jax.jit(jax.vmap(gradient(ours)))(*runs)
        for i in (0, 1):
            single = gradient(lambda *a: plain(*a, 1e-3))(*(a[i] for a in runs))
            for a, b in zip(found, single, strict=True):
                np.testing.assert_allclose(a[i], b, atol=1e-10)


def test_statistics_carry_no_gradient():
    x, scale, bias = (a.astype(jnp.float32) for a in arguments((4, 3)))
    gradient = jax.grad(
        lambda x: jnp.sum(ops.batch_norm(x, scale, bias, epsilon=1e-3)[2])
    )
    np.testing.assert_array_equal(gradient(x), 0)


def test_variance_beside_a_large_mean():
    x = np.random.default_rng(0).standard_normal((8, 32, 32, 4)) + 100
    x = x.astype(np.float32)
    ones = jnp.ones(4)
    _, mean, var = ops.batch_norm(jnp.asarray(x), ones, ones, epsilon=1e-5)
    np.testing.assert_allclose(mean, x.astype(np.float64).mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(var, x.astype(np.float64).var((0, 1, 2)), rtol=1e-5)


def test_bfloat16_keeps_float32_statistics():
    x, scale, bias = arguments((8, 4, 4, 2))
    narrow = x.astype(jnp.bfloat16)
    scale, bias = scale.astype(jnp.float32), bias.astype(jnp.float32)

    def loss(x, scale, bias):
        y, mean, var = ops.batch_norm(x, scale, bias, epsilon=1e-3)
        assert (y.dtype, mean.dtype, var.dtype) == (x.dtype, "float32", "float32")
        return jnp.sum(y.astype(jnp.float32) ** 2)

    dx, dscale, _ = jax.grad(loss, (0, 1, 2))(narrow, scale, bias)
    assert (dx.dtype, dscale.dtype) == (jnp.bfloat16, jnp.float32)


def test_inference_equals_training_with_the_same_statistics():
    x, scale, bias = (a.astype(jnp.float32) for a in arguments((4, 5, 5, 3)))
    y, mean, var = ops.batch_norm(x, scale, bias, epsilon=1e-3)
    again = ops.batch_norm_inference(x, mean, var, scale, bias, epsilon=1e-3)
    np.testing.assert_allclose(again, y, atol=1e-5)
