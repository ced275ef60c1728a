import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxfer import ops


def images(shape=(3, 6, 5, 4), seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def test_statistics_of_each_channel_of_each_image():
    y = ops.instance_norm(3 + 2 * images())
    np.testing.assert_allclose(y.mean((1, 2)), jnp.zeros((3, 4)), atol=1e-6)
    np.testing.assert_allclose(y.std((1, 2)), jnp.ones((3, 4)), rtol=1e-4)


def test_scale_and_offset_do_not_matter_without_epsilon():
    x = images()
    scale, offset = jnp.arange(1.0, 5), jnp.arange(4.0)
    moved = x * scale[None, None, None] - offset[None, None, None]
    chex.assert_trees_all_close(
        ops.instance_norm(moved, epsilon=0.0),
        ops.instance_norm(x, epsilon=0.0),
        atol=1e-5,
    )


def test_epsilon_adds_to_the_biased_variance():
    x = jnp.asarray([1.0, 3.0]).reshape(1, 2, 1, 1)
    y = ops.instance_norm(x, epsilon=3.0)
    np.testing.assert_allclose(y[0, :, 0, 0], [-0.5, 0.5], rtol=1e-6)


def test_equals_batch_norm_of_one_image():
    x = images((1, 6, 5, 4))
    expected, _, _ = ops.batch_norm(x, jnp.ones(4), jnp.zeros(4), epsilon=1e-5)
    chex.assert_trees_all_close(ops.instance_norm(x), expected, atol=1e-6)


def test_a_constant_channel_becomes_zero_and_keeps_gradients_finite():
    x = jnp.full((1, 4, 4, 2), 7.0)
    np.testing.assert_array_equal(ops.instance_norm(x), jnp.zeros_like(x))
    weights = images((1, 4, 4, 2))
    gradient = jax.grad(lambda x: jnp.sum(ops.instance_norm(x) * weights))(x)
    assert jnp.isfinite(gradient).all()


def test_a_large_mean_keeps_the_digits_of_the_variance():
    x = 1000 + images((1, 8, 8, 2))
    with jax.enable_x64():
        exact = np.asarray(ops.instance_norm(jnp.asarray(x, jnp.float64)))
    np.testing.assert_allclose(ops.instance_norm(x), exact, atol=2e-3)


def test_gradient_has_no_part_along_mean_or_scale():
    x, weights = images(), images(seed=1)
    gradient = jax.grad(lambda x: jnp.sum(ops.instance_norm(x) * weights))(x)
    assert jnp.abs(gradient).max() > 0.1
    np.testing.assert_allclose(gradient.sum((1, 2)), jnp.zeros((3, 4)), atol=1e-4)
    np.testing.assert_allclose(
        (gradient * ops.instance_norm(x)).sum((1, 2)), jnp.zeros((3, 4)), atol=1e-3
    )


def test_gradient_equals_finite_differences():
    with jax.enable_x64():
        x = jnp.asarray(images((2, 3, 3, 2)), jnp.float64)
        normalise = jax.jit(ops.instance_norm)
        jax.test_util.check_grads(normalise, (x,), order=1, modes=("rev",))


def test_half_precision_is_normalised_in_float32():
    x = (100 + images()).astype(jnp.bfloat16)
    y = ops.instance_norm(x)
    assert y.dtype == jnp.bfloat16
    exact = ops.instance_norm(x.astype(jnp.float32))
    np.testing.assert_array_equal(y, exact.astype(jnp.bfloat16))
