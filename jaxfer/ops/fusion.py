"""Constraint fusion: weigh two branches by their agreement with a third."""

import jax
import jax.numpy as jnp
import numpy as np

MIN_DENOMINATOR = 1e-7
"""Least denominator of a cosine, as in the released code."""

MIN_AGREEMENT = 1e-15
"""Least sum of two agreements that is divided by; its square fits in float32."""


def cosine_similarity(x: jax.Array, y: jax.Array) -> jax.Array:
    """Cosine of the angle between vectors.

    cos(x, y) = <x, y> / max(sqrt(|x|^2 |y|^2), 1e-7)

    It is 0, with finite gradients, where a vector is zero. Computed in float32 if
    the inputs are narrower.

    Args:
      x: (..., D).
      y: (..., D), the dtype of `x`.

    Returns:
      (...), at least float32.

    References:
      CFNet, Applied Soft Computing 141, 2023, constraint fusion; the least
      denominator is the released code's.
    """
    wide = np.promote_types(x.dtype, np.float32)
    x, y = x.astype(wide), y.astype(wide)
    product = jnp.sum(x * x, axis=-1) * jnp.sum(y * y, axis=-1)
    # The root's slope is infinite at 0, so the branch not taken must not see 0.
    large = product > MIN_DENOMINATOR**2
    root = jnp.sqrt(jnp.where(large, product, 1.0))
    return jnp.sum(x * y, axis=-1) / jnp.where(large, root, MIN_DENOMINATOR)


def constraint_weights(
    local: jax.Array, global_: jax.Array, fused: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Weights of the local and the global branch, by agreement with the fused one.

    a_l = tanh(cos(l, c)),  a_g = tanh(cos(g, c))
    alpha_l = a_l / (a_l + a_g),  alpha_g = a_g / (a_l + a_g)

    Args:
      local: (..., D), l.
      global_: (..., D), g.
      fused: (..., D), c.

    Returns:
      (alpha_l, alpha_g), each (...), at least float32; they sum to 1.

    References:
      CFNet, Applied Soft Computing 141, 2023, constraint fusion.

    Deviations:
      Where a_l + a_g is 0 (to 1e-15: a zero vector, or exactly opposite agreements)
      the released code divides by it; here both weights are 1/2, with zero gradients.
    """
    a_local = jnp.tanh(cosine_similarity(local, fused))
    a_global = jnp.tanh(cosine_similarity(global_, fused))
    total = a_local + a_global
    defined = jnp.abs(total) > MIN_AGREEMENT
    # Both sides of the choice stay finite, or the gradient would be 0 * inf.
    safe = jnp.where(defined, total, 1.0)
    alpha_local = jnp.where(defined, a_local / safe, 0.5)
    alpha_global = jnp.where(defined, a_global / safe, 0.5)
    return alpha_local, alpha_global


def constraint_fusion(
    local: jax.Array, global_: jax.Array, fused: jax.Array
) -> jax.Array:
    """Concatenate the two branches, each scaled by its constraint weight.

    [alpha_l l, alpha_g g], see `constraint_weights`.

    Args:
      local: (..., D), l.
      global_: (..., D), g.
      fused: (..., D), c, which only weighs.

    Returns:
      (..., 2 D), the dtype of `local`.

    References:
      CFNet, Applied Soft Computing 141, 2023, constraint fusion.
    """
    alpha_local, alpha_global = constraint_weights(local, global_, fused)
    weighted_local = alpha_local[..., None].astype(local.dtype) * local
    weighted_global = alpha_global[..., None].astype(global_.dtype) * global_
    return jnp.concatenate([weighted_local, weighted_global], axis=-1)
