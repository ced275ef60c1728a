"""Colour."""

from typing import Literal

import jax
import jax.numpy as jnp

LUMA = (0.2989, 0.5870, 0.1140)
"""Weights of red, green and blue, as in FERSNet's released code."""


def grayscale(images: jax.Array, order: Literal["rgb", "bgr"] = "rgb") -> jax.Array:
    """Brightness of colour images.

    0.2989 R + 0.5870 G + 0.1140 B

    Args:
      images: (..., 3), floating.
      order: of the channels; FERSNet's released code and weights take "bgr".

    Returns:
      (..., 1), the dtype of `images`.

    Raises:
      ValueError: not three channels, or integers.

    References:
      ITU-R BT.601, luma, to four digits.
    """
    if images.shape[-1] != 3 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"expected floating images (..., 3), got {images.dtype} {images.shape}"
        )
    weights = jnp.asarray(LUMA if order == "rgb" else LUMA[::-1], images.dtype)
    weights = weights.reshape([1] * (images.ndim - 1) + [3])
    return jnp.sum(images * weights, axis=-1, keepdims=True)
