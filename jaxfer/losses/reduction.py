"""From one value per example to one for the batch."""

import jax
import jax.numpy as jnp


def mean(losses: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """Mean of a batch's losses over the examples that count.

    Args:
      losses: (B,).
      where: (B,) bool, the examples that count; None counts all.

    Returns:
      (), 0 if no example counts.
    """
    if where is None:
        return jnp.mean(losses)
    count = jnp.maximum(jnp.sum(where), 1).astype(losses.dtype)
    return jnp.sum(losses, where=where) / count
