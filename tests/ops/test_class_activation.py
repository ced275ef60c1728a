import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import ops

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.standard_normal((2, 3, 4, 5)).astype(np.float32)
KERNEL = RANDOM.standard_normal((5, 6)).astype(np.float32)

class_activation_map = jax.jit(ops.class_activation_map)


def test_its_mean_is_the_logit_without_the_bias():
    maps = np.asarray(class_activation_map(FEATURES, KERNEL))
    logits = FEATURES.mean(axis=(1, 2)) @ KERNEL
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), logits, rtol=1e-4, atol=1e-5)


def test_its_sum_is_the_logit_of_a_classifier_with_weights_by_place():
    kernel = RANDOM.standard_normal((3, 4, 5, 6)).astype(np.float32)
    maps = np.asarray(class_activation_map(FEATURES, kernel))
    logits = FEATURES.reshape(2, -1) @ kernel.reshape(-1, 6)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        maps[:, 2, 1], FEATURES[:, 2, 1] @ kernel[2, 1], rtol=1e-4, atol=1e-5
    )
    with pytest.raises(ValueError, match=r"expected a kernel \(C, K\)"):
        ops.class_activation_map(FEATURES, kernel[:2])


def test_each_place_is_classified_by_itself():
    maps = class_activation_map(FEATURES, KERNEL)
    np.testing.assert_allclose(maps, FEATURES @ KERNEL, rtol=1e-4, atol=1e-5)
    mirrored = class_activation_map(FEATURES[:, :, ::-1], KERNEL)
    np.testing.assert_allclose(mirrored, np.asarray(maps)[:, :, ::-1], rtol=1e-5)


def test_half_precision_is_computed_in_float32():
    half = jnp.asarray(FEATURES, jnp.bfloat16)
    maps = class_activation_map(half, KERNEL)
    assert maps.dtype == jnp.float32
    np.testing.assert_allclose(
        maps, np.asarray(half, np.float32) @ KERNEL, rtol=1e-4, atol=1e-5
    )


def test_a_kernel_of_another_layer():
    with pytest.raises(ValueError, match=r"expected a kernel \(C, K\)"):
        ops.class_activation_map(FEATURES, KERNEL.T)
