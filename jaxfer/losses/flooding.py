"""Keep the training loss from falling to zero."""

import jax
import jax.numpy as jnp


def flooding(loss: jax.Array, level: float) -> jax.Array:
    """The loss mirrored at a level, below which the gradient climbs.

    |L - b| + b

    LFNSB's released code does this with b = 0.5 below 0.52 only, which is the same
    function: above b it is L itself.

    Args:
      loss: () for the mean of a batch, as in the paper; of (B,) each is flooded by
        itself, which is another loss.
      level: b; none is felt at 0 if the loss is not negative.

    Returns:
      The shape of `loss`.

    References:
      Ishida et al., Do We Need Zero Training Loss After Achieving Zero Training
      Error?, ICML 2020, flooding.
    """
    return jnp.abs(loss - level) + level
