"""Pooling: equal to lax to the bit, ties included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxfer import ops
from jaxfer.ops.geometry import explicit_padding, pair

adaptive = jax.jit(ops.adaptive_avg_pool, static_argnums=1)


def plain(x, window, strides, padding):
    window, strides = pair(window), pair(strides)
    pads = explicit_padding(padding, x.shape[1:3], window, strides)
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0))
    )


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(5, 8), st.integers(5, 8)),
    window=st.sampled_from([2, 3, (2, 3), 5]),
    strides=st.sampled_from([1, 2, 3, (1, 2)]),
    padding=st.sampled_from(["SAME", "VALID", 1, ((0, 1), (1, 0))]),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 9),
)
def test_max_pool_with_ties(size, window, strides, padding, dtype, seed):
    rng = np.random.default_rng(seed)
    with jax.enable_x64(dtype == np.float64):
        x = jnp.asarray(rng.integers(0, 3, (2, *size, 2)), dtype)
        shape = jax.eval_shape(lambda x: plain(x, window, strides, padding), x).shape
        weights = jnp.asarray(rng.integers(-9, 9, shape), dtype)

        @jax.jit
        def compare(x):
            def ours(x):
                return ops.max_pool(x, window, strides=strides, padding=padding)

            def theirs(x):
                return plain(x, window, strides, padding)

            return [
                (f(x), y, pullback(weights)[0])
                for f in (ours, theirs)
                for y, pullback in [jax.vjp(f, x)]
            ]

        for found, expected in zip(*compare(x), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_ties_go_to_the_first():
    gradient = jax.grad(lambda x: jnp.sum(ops.max_pool(x, 2, strides=2)))
    expected = np.zeros((1, 4, 4, 1))
    expected[0, ::2, ::2] = 1
    np.testing.assert_array_equal(gradient(jnp.zeros((1, 4, 4, 1))), expected)


def test_nan_is_not_hidden():
    x = jnp.zeros((1, 4, 4, 1)).at[0, 1, 1].set(jnp.nan)
    y, _ = jax.vjp(lambda x: ops.max_pool(x, 2, strides=2), x)
    assert np.isnan(y[0, 0, 0, 0]) and np.isfinite(y[0, 1:]).all()
    np.testing.assert_array_equal(y, ops.max_pool(x, 2, strides=2))


@pytest.mark.parametrize("window, strides", [(3, 2), (2, 1)])
def test_max_pool_second_derivatives_and_vmap(window, strides):
    rng = np.random.default_rng(0)
    with jax.enable_x64():
        x = jnp.asarray(rng.permutation(2 * 2 * 30), jnp.float64).reshape(2, 2, 5, 6, 1)

        def second(pool):
            def inner(x):
                gradient = jax.grad(lambda x: jnp.sum(pool(x) ** 3))
                return jnp.sum(jnp.sin(gradient(x)))

            return jax.jit(jax.vmap(jax.grad(inner)))

        ours = second(lambda x: ops.max_pool(x, window, strides=strides))(x)
        theirs = second(lambda x: plain(x, window, strides, "SAME"))(x)
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_accelerators_get_plain_lax():
    def text(platform):
        loss = jax.grad(lambda x: jnp.sum(ops.max_pool(x, 3, strides=2)))
        traced = jax.jit(loss).trace(jnp.zeros((1, 8, 8, 2)))
        return traced.lower(lowering_platforms=(platform,)).as_text()

    assert "select_and_scatter" in text("cuda")
    assert "select_and_scatter" not in text("cpu")


def test_wide_window_falls_back():
    x = jnp.arange(300.0).reshape(1, 1, 300, 1)
    assert ops.max_pool(x, (1, 300), strides=1, padding="VALID").item() == 299


def test_avg_pool():
    x = jnp.arange(32.0).reshape(1, 4, 4, 2)
    pooled = ops.avg_pool(x, 2, strides=2)
    expected = np.asarray(x).reshape(1, 2, 2, 2, 2, 2).mean((2, 4))
    np.testing.assert_allclose(pooled, expected)
    np.testing.assert_allclose(
        ops.avg_pool(x, 4, strides=4)[:, 0, 0], ops.global_avg_pool(x)
    )
    padded = ops.avg_pool(jnp.ones((1, 2, 2, 1)), 3, strides=2, padding=1)
    np.testing.assert_allclose(padded, 4 / 9, rtol=1e-6)


@pytest.mark.parametrize(("height", "width", "size"), [(7, 7, 2), (3, 5, 3), (2, 6, 4)])
def test_adaptive_pooling_covers_the_image(height, width, size):
    x = np.random.default_rng(0).standard_normal((2, height, width, 3))
    y = adaptive(jnp.asarray(x, jnp.float32), size)
    for i in range(size):
        rows = slice(i * height // size, -(-(i + 1) * height // size))
        for j in range(size):
            columns = slice(j * width // size, -(-(j + 1) * width // size))
            expected = x[:, rows, columns].mean((1, 2))
            np.testing.assert_allclose(y[:, i, j], expected, atol=1e-6)


def test_adaptive_pooling_to_the_same_size_changes_nothing():
    x = jax.random.normal(jax.random.key(0), (1, 5, 5, 2))
    np.testing.assert_array_equal(adaptive(x, 5), x)
