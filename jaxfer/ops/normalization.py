"""Batch normalisation over all axes but the last."""

import jax
import jax.numpy as jnp
from jax import lax


def statistics_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """Float32 for narrower types, otherwise the type itself."""
    return jnp.dtype(jnp.float32) if dtype.itemsize < 4 else dtype


def batch_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, *, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalise by the batch's own statistics, y = scale (x - mean) / std + bias.

    Args:
      x: (..., C).
      scale: (C,).
      bias: (C,).
      epsilon: added to the variance.

    Returns:
      y like `x`; mean and biased variance (C,), at least float32, which carry no
      gradient.

    References:
      Ioffe and Szegedy, Batch Normalization, 2015, algorithm 1.
    """
    wide = statistics_dtype(x.dtype)
    wide_x = x.astype(wide)
    axes = tuple(range(x.ndim - 1))
    mean = jnp.mean(wide_x, axis=axes)
    centred = wide_x - lax.expand_dims(mean, axes)
    var = jnp.mean(jnp.square(centred), axis=axes)
    factor = scale.astype(wide) * lax.rsqrt(var + epsilon)
    y = centred * lax.expand_dims(factor, axes)
    y = y + lax.expand_dims(bias.astype(wide), axes)
    return y.astype(x.dtype), lax.stop_gradient(mean), lax.stop_gradient(var)


def batch_norm_inference(
    x: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    *,
    epsilon: float,
) -> jax.Array:
    """Normalise by given statistics, as one multiply and one add per value.

    Args:
      x: (..., C).
      mean: (C,).
      var: (C,).
      scale: (C,).
      bias: (C,).
      epsilon: added to the variance.

    Returns:
      Like `x`.
    """
    wide = statistics_dtype(x.dtype)
    axes = tuple(range(x.ndim - 1))
    factor = scale.astype(wide) * lax.rsqrt(var.astype(wide) + epsilon)
    offset = bias.astype(wide) - mean.astype(wide) * factor
    y = x.astype(wide) * lax.expand_dims(factor, axes)
    return (y + lax.expand_dims(offset, axes)).astype(x.dtype)
