import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import ops

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((7, 5)).astype(np.float32)
X[3] = X[1]
WEIGHTS = RANDOM.standard_normal((7, 7)).astype(np.float32)

squared_distances = jax.jit(ops.squared_distances)


def by_difference(x):
    x = np.asarray(x, float)
    return ((x[:, None] - x[None]) ** 2).sum(axis=2)


@pytest.mark.parametrize("offset", [0, 1000])
def test_equals_the_squares_of_the_differences_far_from_zero_too(offset):
    x = X + np.float32(offset)
    np.testing.assert_allclose(
        squared_distances(x), by_difference(x), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("offset", [0, 1e4, -1e6])
def test_never_negative_and_zero_on_the_diagonal(offset):
    distances = np.asarray(squared_distances(X + np.float32(offset)))
    assert (distances >= 0).all()
    assert not np.diagonal(distances).any()


def test_images_are_flattened():
    x = RANDOM.standard_normal((7, 5, 1, 1)).astype(np.float32)
    np.testing.assert_array_equal(
        squared_distances(x), squared_distances(x.reshape(7, 5))
    )


def test_gradients_are_those_of_the_differences_at_duplicates_too():
    def total(x):
        return jnp.sum(WEIGHTS * ops.squared_distances(x))

    skew = WEIGHTS + WEIGHTS.T
    expected = 2 * (skew.sum(axis=1, keepdims=True) * X - skew @ X)
    np.testing.assert_allclose(jax.jit(jax.grad(total))(X), expected, atol=1e-4)


def test_half_precision_gives_single_precision():
    half = jax.ShapeDtypeStruct((7, 5), jnp.bfloat16)
    assert jax.eval_shape(ops.squared_distances, half).dtype == jnp.float32
