"""Where any differentiable classifier looks."""

import jax
import jax.numpy as jnp
import numpy as np


def grad_cam(features: jax.Array, gradients: jax.Array) -> jax.Array:
    """Places whose features raise a class score.

    alpha_c = mean over the places of dy / dF_c(h, w)
    L(h, w) = ReLU(sum_c alpha_c F_c(h, w))

    For a linear classifier on pooled features it is the positive part of the class
    activation map, divided by the number of places. Computed in float32 if the
    inputs are narrower.

    Args:
      features: (B, H, W, C), F, a feature map.
      gradients: (B, H, W, C), of the class score y of each image.

    Returns:
      (B, H, W), at least 0, at least float32.

    Raises:
      ValueError: the inputs differ in shape.

    References:
      Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via
      Gradient-based Localization, ICCV 2017, https://arxiv.org/abs/1610.02391,
      equations 1 and 2.
    """
    if features.ndim != 4 or features.shape != gradients.shape:
        raise ValueError(
            "expected features and gradients (B, H, W, C), got "
            f"{features.shape} and {gradients.shape}"
        )
    wide = np.result_type(np.float32, features.dtype)
    alpha = jnp.mean(gradients.astype(wide), axis=(1, 2))
    return jax.nn.relu(jnp.einsum("bhwc,bc->bhw", features.astype(wide), alpha))
