"""Distances between all examples of a batch."""

import jax
import jax.numpy as jnp
import numpy as np


def squared_distances(x: jax.Array) -> jax.Array:
    """Squared Euclidean distances of every two examples, by one matrix product.

    |x_i - x_j|^2 = <x_i, x_i> + <x_j, x_j> - 2 <x_i, x_j>

    The examples are first moved to their mean, which changes no distance and keeps
    the difference on the right from cancelling where they lie far from 0. Never
    negative, 0 on the diagonal, symmetric up to rounding. Computed in float32 if the
    input is narrower.

    Args:
      x: (B, ...); everything but the batch is flattened.

    Returns:
      (B, B), at least float32.
    """
    wide = np.promote_types(x.dtype, np.float32)
    flat = x.reshape(x.shape[0], -1).astype(wide)
    flat = flat - jax.lax.stop_gradient(jnp.mean(flat, axis=0, keepdims=True))
    products = jnp.matmul(flat, flat.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.diagonal(products)
    distances = squares[:, None] + squares[None, :] - 2 * products
    itself = jnp.eye(x.shape[0], dtype=bool)
    return jnp.where(itself, 0.0, jnp.maximum(distances, 0.0))
