"""Shared layers: parameter names and shapes, running statistics, dtypes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.models.layers import BatchNorm, Conv

KEY = jax.random.key(0)


def test_conv_parameters_and_bias():
    x = jax.random.normal(KEY, (2, 8, 8, 4))
    layer = Conv(6, (3, 3), strides=2, groups=2)
    variables = layer.init(KEY, x)
    chex.assert_shape(variables["params"]["kernel"], (3, 3, 2, 6))
    chex.assert_shape(variables["params"]["bias"], (6,))
    y = layer.apply(variables, x)
    chex.assert_shape(y, (2, 4, 4, 6))
    shifted = jax.tree.map(lambda a: a, variables)
    shifted["params"]["bias"] = shifted["params"]["bias"] + 1
    np.testing.assert_allclose(layer.apply(shifted, x), y + 1, atol=1e-6)
    assert "bias" not in Conv(6, (1, 1), use_bias=False).init(KEY, x)["params"]


def test_conv_computes_in_its_dtype():
    x = jnp.ones((1, 4, 4, 3))
    layer = Conv(2, (3, 3), dtype=jnp.bfloat16)
    variables = layer.init(KEY, x)
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert layer.apply(variables, x).dtype == jnp.bfloat16


@pytest.mark.parametrize("unbiased", [True, False])
def test_running_statistics(unbiased):
    x = 2 * jax.random.normal(KEY, (5, 3)) + 1
    layer = BatchNorm(momentum=0.75, unbiased_running_variance=unbiased)
    variables = layer.init(KEY, x)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], 0)
    np.testing.assert_array_equal(variables["batch_stats"]["var"], 1)
    y, updated = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)
    stats = updated["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.25 * x.mean(0), rtol=1e-5)
    var = np.asarray(x).var(0, ddof=int(unbiased))
    np.testing.assert_allclose(stats["var"], 0.75 + 0.25 * var, rtol=1e-5)


def test_inference_uses_running_statistics():
    x = jax.random.normal(KEY, (2, 4, 4, 3))
    layer = BatchNorm(use_scale=False, use_bias=False, epsilon=0.0)
    variables = layer.init(KEY, x)
    assert "params" not in variables
    variables["batch_stats"] = {"mean": jnp.ones(3), "var": jnp.full(3, 4.0)}
    np.testing.assert_allclose(layer.apply(variables, x), (x - 1) / 2, atol=1e-6)


def test_statistics_stay_float32_in_bfloat16():
    x = jnp.ones((4, 3), jnp.bfloat16)
    layer = BatchNorm()
    variables = layer.init(KEY, x)
    y, updated = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    assert updated["batch_stats"]["var"].dtype == jnp.float32
