"""EPM: attention masks refined, and pictures of an expression."""

import jax
import jax.numpy as jnp

from jaxfer.losses import arrays


def mask_refinement(
    mask: jax.Array, refined: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    """Squared difference of an attention mask and its refined form.

    sum over the positions of (M - M')^2

    Both get gradients. Computed in float32 if the masks are narrower.

    Args:
      mask: (B, H, W, 1), M.
      refined: (B, H, W, 1), M'.
      where: (B,) bool; other examples get 0 and no gradient.

    Returns:
      (B,), at least float32.

    Raises:
      ValueError: the masks differ in shape.

    References:
      Zhang and Yu, Improving the Facial Expression Recognition and Its
      Interpretability via Generating Expression Pattern-map, mask loss.
    """
    difference = arrays.difference(mask, refined, where)
    return jnp.sum(jnp.square(difference), axis=arrays.rest(difference))


def pattern_reconstruction(
    patterns: jax.Array, gray_images: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    """Squared difference of a pattern map and the grey image.

    sum over the pixels of (P - grey(I))^2

    Computed in float32 if the images are narrower.

    Args:
      patterns: (B, H, W, 1), P, in [0, 1].
      gray_images: (B, H, W, 1) in [0, 1] (`ops.grayscale`).
      where: (B,) bool; other examples get 0 and no gradient.

    Returns:
      (B,), at least float32.

    Raises:
      ValueError: the images differ in shape.

    References:
      Zhang and Yu, Improving the Facial Expression Recognition and Its
      Interpretability via Generating Expression Pattern-map, pattern loss.
    """
    difference = arrays.difference(patterns, gray_images, where)
    return jnp.sum(jnp.square(difference), axis=arrays.rest(difference))
