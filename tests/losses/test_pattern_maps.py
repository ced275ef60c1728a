import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import losses

X, Y = np.random.default_rng(0).random((2, 3, 7, 5, 1)).astype(np.float32)


@pytest.mark.parametrize(
    "loss", [losses.mask_refinement, losses.pattern_reconstruction]
)
def test_is_the_sum_over_the_places_and_leads_from_one_to_the_other(loss):
    def total(x, y):
        values = loss(x, y)
        return jnp.sum(values), values

    run = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
    (_, values), (to_x, to_y) = run(X, Y)
    expected = ((X - Y) ** 2).reshape(3, 35).sum(axis=1)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    np.testing.assert_allclose(X - to_x / 2, Y, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(to_x, -np.asarray(to_y))
    assert run(X, X)[0][0] == 0
