"""EAC: attention that moves with the face."""

import jax
import jax.numpy as jnp

from jaxfer.losses import arrays


def attention_consistency(
    maps: jax.Array, flipped_maps: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    """Squared difference of attention maps and the mirrored maps of the mirrored view.

    1 / (K H W) sum_(k, h, w) (M - flip(M'))^2,  flip(M')_(h, w) = M'_(h, W-1-w)

    so its mean over a batch is the released loss. Computed in float32 if the maps are
    narrower.

    Args:
      maps: (B, H, W, K), M, of the images (`ops.class_activation_map`).
      flipped_maps: (B, H, W, K), M', of the mirrored images, as the network gives
        them: they are mirrored here.
      where: (B,) bool; other examples get 0 and no gradient.

    Returns:
      (B,), at least float32.

    Raises:
      ValueError: the maps differ in shape.

    References:
      Zhang et al., Learn From All: Erasing Attention Consistency for Noisy Label
      Facial Expression Recognition, ECCV 2022, consistency loss.

    Deviations:
      The released code mirrors by sampling on a grid, which differs by its rounding.
    """
    difference = arrays.difference(maps, flipped_maps[:, :, ::-1], where)
    return jnp.mean(jnp.square(difference), axis=arrays.rest(difference))
