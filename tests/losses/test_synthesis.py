import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import losses

X, Y = np.random.default_rng(0).random((2, 3, 6, 5, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ["loss", "power"],
    [
        (losses.reconstruction, 1),
        (losses.squared_reconstruction, 2),
        (losses.identity, 2),
        (losses.cycle, 2),
    ],
)
def test_is_the_mean_power_of_the_difference(loss, power):
    def total(x, y):
        values = loss(x, y)
        return jnp.sum(values), values

    run = jax.jit(jax.value_and_grad(total, has_aux=True))
    expected = (np.abs(X - Y) ** power).reshape(3, 90).mean(axis=1)
    np.testing.assert_allclose(run(X, Y)[0][1], expected, rtol=1e-5)
    for y in [X - 0.5, X + 0.5]:
        np.testing.assert_allclose(run(X, y)[0][1], np.full(3, 0.5**power), rtol=1e-6)
    (value, _), gradient = run(X, X)
    assert value == 0
    assert not np.any(gradient)


def test_features_of_any_shape():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_allclose(losses.identity(x, 2 * x), [5 / 3, 50 / 3], rtol=1e-6)
