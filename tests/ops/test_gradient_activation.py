import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import ops


def test_a_linear_head_on_pooled_features_gives_its_class_activation_map():
    keys = jax.random.split(jax.random.key(0))
    features = jax.random.normal(keys[0], (2, 3, 5, 4))
    kernel = jax.random.normal(keys[1], (4, 6))
    maps = ops.class_activation_map(features, kernel)

    def score(features, k):
        return jnp.sum((jnp.mean(features, axis=(1, 2)) @ kernel)[:, k])

    @jax.jit
    @jax.vmap
    def found(k):
        return ops.grad_cam(features, jax.grad(score)(features, k))

    expected = jax.nn.relu(jnp.moveaxis(maps, -1, 0)) / 15
    assert expected.max() > 0
    chex.assert_trees_all_close(found(jnp.arange(6)), expected, rtol=1e-5, atol=1e-6)


def test_narrow_inputs_are_summed_wide_and_wrong_ones_refused():
    ones = jnp.ones((1, 2, 2, 300), jnp.bfloat16)
    found = ops.grad_cam(ones, ones)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, 300)  # bfloat16 would give 300 as 300±2
    np.testing.assert_array_equal(ops.grad_cam(ones, -ones), 0)
    with pytest.raises(ValueError, match="expected features and gradients"):
        ops.grad_cam(ones, ones[..., :2])
