"""Pooling over windows and over whole images, channels last."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxfer.ops.geometry import Padding, explicit_padding, pair


def max_pool(
    x: jax.Array,
    window: int | Sequence[int],
    *,
    strides: int | Sequence[int],
    padding: Padding = "SAME",
) -> jax.Array:
    """Largest value of each window; the gradient goes to the first of equal ones.

    Args:
      x: (B, H, W, C), floating.
      window: one number or (height, width).
      strides: one number or (vertical, horizontal).
      padding: "SAME", "VALID", a number or ((lo, hi), (lo, hi)); pads with -inf.

    Returns:
      (B, H', W', C).
    """
    window, strides = pair(window), pair(strides)
    pads = explicit_padding(padding, x.shape[1:3], window, strides)
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0))
    )


def avg_pool(
    x: jax.Array,
    window: int | Sequence[int],
    *,
    strides: int | Sequence[int],
    padding: Padding = "SAME",
) -> jax.Array:
    """Mean of each window, padding counted as zeros.

    Args:
      x: (B, H, W, C), floating.
      window: one number or (height, width).
      strides: one number or (vertical, horizontal).
      padding: "SAME", "VALID", a number or ((lo, hi), (lo, hi)).

    Returns:
      (B, H', W', C).
    """
    window, strides = pair(window), pair(strides)
    pads = explicit_padding(padding, x.shape[1:3], window, strides)
    total = lax.reduce_window(
        x, 0.0, lax.add, (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0))
    )
    return total / (window[0] * window[1])


def global_avg_pool(x: jax.Array) -> jax.Array:
    """Mean over the image: (B, H, W, C) to (B, C)."""
    return jnp.mean(x, axis=(1, 2))
