import jax
import numpy as np

from jaxfer import losses

VALUES = np.array([0, 0.1, 0.4999, 0.5, 0.51, 0.52, 0.6, 3], np.float32)

flooded = jax.jit(losses.flooding)


def test_above_the_level_it_is_the_loss_and_below_its_mirror():
    expected = np.where(VALUES >= 0.5, VALUES, 1 - VALUES)
    np.testing.assert_allclose(flooded(VALUES, 0.5), expected, rtol=1e-6)


def test_level_zero_is_the_loss():
    np.testing.assert_array_equal(flooded(VALUES, 0.0), VALUES)


def test_the_gradient_turns_round_at_the_level():
    slopes = jax.vmap(jax.grad(lambda x: losses.flooding(x, 0.505)))(VALUES)
    np.testing.assert_array_equal(slopes, [-1, -1, -1, -1, 1, 1, 1, 1])


def test_the_released_form_is_the_same_function():
    released = np.where(VALUES < 0.52, np.abs(VALUES - 0.5) + 0.5, VALUES)
    np.testing.assert_allclose(flooded(VALUES, 0.5), released, rtol=1e-6)
