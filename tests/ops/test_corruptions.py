"""Corruptions against OpenCV and their laws."""

import chex
import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.ops import corruptions

KEY = jax.random.key(0)


def images(shape=(2, 24, 30, 3), dtype=np.uint8):
    values = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    return (
        values if dtype == np.uint8 else values.astype(dtype) / np.asarray(255, dtype)
    )


def opencv(batch, size, sigma=0.0):
    border = cv2.BORDER_REFLECT_101
    return np.stack(
        [
            cv2.GaussianBlur(x, (size, size), sigma, borderType=border).reshape(x.shape)
            for x in batch
        ]
    )


@pytest.mark.parametrize("size", [1, 3, 5, 7, 9, 11, 15, 23, 31])
def test_blur_is_opencvs(size):
    floats = images(dtype=np.float32)
    np.testing.assert_allclose(
        corruptions.gaussian_blur(jnp.asarray(floats), size),
        opencv(floats, size),
        atol=2e-6,
    )
    blurred = np.asarray(corruptions.gaussian_blur(jnp.asarray(images()), size))
    assert blurred.dtype == np.uint8
    difference = blurred.astype(int) - opencv(images(), size).astype(int)
    assert abs(difference).max() <= 1
    assert np.mean(difference != 0) < 0.01  # other versions of OpenCV may round so


def test_blur_takes_a_sigma():
    floats = images(dtype=np.float32)
    np.testing.assert_allclose(
        corruptions.gaussian_blur(jnp.asarray(floats), 7, 3.0),
        opencv(floats, 7, 3.0),
        atol=2e-6,
    )


@pytest.mark.parametrize("shape", [(1, 5, 3, 1), (1, 2, 9, 3), (1, 1, 8, 3)])
def test_kernel_may_exceed_the_image(shape):
    floats = images(shape, np.float32)
    np.testing.assert_allclose(
        corruptions.gaussian_blur(jnp.asarray(floats), 15),
        opencv(floats, 15),
        atol=2e-6,
    )


def test_sigma_follows_the_kernel_size():
    assert corruptions.default_sigma(15) == pytest.approx(2.6)
    kernel = corruptions.gaussian_kernel(15)
    offset = np.arange(-7, 8)
    weights = np.exp(-(offset**2) / (2 * 2.6**2))
    np.testing.assert_allclose(kernel, weights / weights.sum())


def test_blur_keeps_constants_and_is_linear():
    flat = jnp.full((1, 12, 12, 3), 0.25)
    chex.assert_trees_all_close(corruptions.gaussian_blur(flat, 15), flat, atol=1e-6)
    bright = jnp.full((1, 12, 12, 3), 255, jnp.uint8)
    chex.assert_trees_all_equal(corruptions.gaussian_blur(bright, 15), bright)
    a, b = (jax.random.uniform(k, (1, 12, 12, 1)) for k in jax.random.split(KEY))
    chex.assert_trees_all_close(
        corruptions.gaussian_blur(a + b, 5),
        corruptions.gaussian_blur(a, 5) + corruptions.gaussian_blur(b, 5),
        atol=1e-6,
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float16])
@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_keeps_shape_and_dtype_under_jit(name, dtype):
    batch = jnp.asarray(images(dtype=dtype))
    out = jax.jit(lambda x: corruptions.corrupt(x, name, key=KEY, kernel_size=5))(batch)
    chex.assert_equal_shape([out, batch])
    assert out.dtype == batch.dtype
    assert not np.array_equal(out, batch)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_noise_has_its_variance(dtype):
    grey = np.full((4, 64, 64, 3), 0.5)
    grey = (grey * 255).astype(dtype) if dtype == np.uint8 else grey.astype(dtype)
    noisy = np.asarray(corruptions.gaussian_noise(KEY, jnp.asarray(grey), 0.01), float)
    if dtype == np.uint8:
        noisy = noisy / 255
    assert noisy.mean() == pytest.approx(0.5, abs=0.005)
    assert noisy.var() == pytest.approx(0.01, rel=0.03)


def test_noise_is_clipped_keyed_and_vanishes_at_zero():
    batch = jnp.asarray(images(dtype=np.float32))
    noisy = corruptions.gaussian_noise(KEY, batch, 0.5)
    assert noisy.min() == 0.0 and noisy.max() == 1.0
    chex.assert_trees_all_equal(noisy, corruptions.gaussian_noise(KEY, batch, 0.5))
    other = corruptions.gaussian_noise(jax.random.key(1), batch, 0.5)
    assert not np.array_equal(noisy, other)
    chex.assert_trees_all_equal(corruptions.gaussian_noise(KEY, batch, 0.0), batch)
    whole = jnp.asarray(images())
    chex.assert_trees_all_equal(corruptions.gaussian_noise(KEY, whole, 0.0), whole)


def test_wrong_parameters_are_named():
    batch = jnp.asarray(images())
    for size in (0, -3, 4):
        with pytest.raises(ValueError, match=rf"odd, positive.*{size}"):
            corruptions.gaussian_blur(batch, size)
    with pytest.raises(ValueError, match="sigma > 0"):
        corruptions.gaussian_blur(batch, 3, -1.0)
    with pytest.raises(ValueError, match="variance >= 0"):
        corruptions.gaussian_noise(KEY, batch, -0.1)
    with pytest.raises(ValueError, match=r"gaussian_blur.*'fog'"):
        corruptions.corrupt(batch, "fog", key=KEY)
