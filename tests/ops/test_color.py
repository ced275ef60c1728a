import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import ops

X = np.random.default_rng(0).random((2, 3, 4, 3)).astype(np.float32)

grayscale = jax.jit(ops.grayscale, static_argnames="order")


def test_grey_stays_grey():
    x = np.repeat(X[..., :1], 3, axis=3)
    np.testing.assert_allclose(grayscale(x), 0.9999 * X[..., :1], rtol=1e-5)


def test_green_is_brightest_and_blue_darkest():
    red, green, blue = grayscale(np.eye(3, dtype=np.float32))[:, 0]
    assert green > red > blue


def test_the_order_of_channels():
    np.testing.assert_allclose(
        grayscale(X, order="bgr"), grayscale(X[..., ::-1]), rtol=1e-6
    )


def test_equals_the_released_code():
    golden, index = golden_rule.load("losses")
    rule = index["grayscale"]
    images = golden_rule.uniform(rule["seed"], rule["shape"]).astype(np.float64)
    with jax.enable_x64():
        gray = grayscale(images, order="bgr")
        kept, expected = golden_rule.sample(gray, golden, index, "grayscale")
    np.testing.assert_allclose(kept, expected, rtol=1e-10)


@pytest.mark.parametrize("x", [jnp.zeros((2, 2, 1)), jnp.zeros((2, 2, 3), jnp.uint8)])
def test_what_is_no_colour_image(x):
    with pytest.raises(ValueError, match="expected floating images"):
        ops.grayscale(x)
