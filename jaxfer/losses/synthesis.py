"""FERSNet: what a synthesised face must keep of the real ones."""

import jax
import jax.numpy as jnp

from jaxfer.losses import arrays


def reconstruction(
    images: jax.Array, targets: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    """Mean absolute difference of a synthesised image and the real one.

    mean |G - I|

    Computed in float32 if the images are narrower.

    Args:
      images: (B, H, W, C), synthesised, G; grey (`ops.grayscale`) as released.
      targets: (B, H, W, C), I, the same person with the target expression.
      where: (B,) bool; other examples get 0 and no gradient.

    Returns:
      (B,), at least float32.

    Raises:
      ValueError: the images differ in shape.

    References:
      Zhao et al., Deep Multi-task Learning for Facial Expression Recognition and
      Synthesis Based on Selective Feature Sharing, ICPR 2020, reconstruction loss.

    Deviations:
      The slides print the squared distance (`squared_reconstruction`); this is the
      released code's.
    """
    difference = arrays.difference(images, targets, where)
    # Not jnp.abs: its gradient at 0 is 1, which would pull at equal pixels.
    magnitude = difference * jnp.sign(difference)
    return jnp.mean(magnitude, axis=arrays.rest(difference))


def squared_reconstruction(
    images: jax.Array, targets: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    """Mean squared difference of a synthesised image and the real one.

    mean (G - I)^2

    Computed in float32 if the images are narrower.

    Args:
      images: (B, H, W, C), synthesised, G.
      targets: (B, H, W, C), I, the same person with the target expression.
      where: (B,) bool; other examples get 0 and no gradient.

    Returns:
      (B,), at least float32.

    Raises:
      ValueError: the images differ in shape.

    References:
      Zhao et al., Deep Multi-task Learning for Facial Expression Recognition and
      Synthesis Based on Selective Feature Sharing, ICPR 2020, reconstruction loss.

    Deviations:
      The slides print the sum of the squares, ||G - I||^2; this is their mean, as the
      released code takes means of all other terms, so that a weight does not depend on
      the image's size.
    """
    return _mean_square(images, targets, where)


def identity(
    features: jax.Array, target_features: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    """Mean squared difference of a face recogniser's features of two images.

    mean (f(G) - f(I))^2

    Computed in float32 if the features are narrower.

    Args:
      features: (B, ...), f(G), of the synthesised image; f is frozen, and its
        weights get no gradient from the caller.
      target_features: (B, ...), f(I), of the real image with the target expression.
      where: (B,) bool; other examples get 0 and no gradient.

    Returns:
      (B,), at least float32. The released weight of 0.05 is the caller's.

    Raises:
      ValueError: the features differ in shape.

    References:
      Zhao et al., Deep Multi-task Learning for Facial Expression Recognition and
      Synthesis Based on Selective Feature Sharing, ICPR 2020, identity loss, with the
      mean of the released code.
    """
    return _mean_square(features, target_features, where)


def cycle(
    images: jax.Array, returned: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    """Mean squared difference of an image and its way there and back.

    mean (I - G(z, G(z', I)))^2, z the expression of I and z' another

    Computed in float32 if the images are narrower.

    Args:
      images: (B, H, W, C), I.
      returned: (B, H, W, C), synthesised with z from what was synthesised with z'.
      where: (B,) bool; other examples get 0 and no gradient.

    Returns:
      (B,), at least float32.

    Raises:
      ValueError: the images differ in shape.

    References:
      Zhao et al., Deep Multi-task Learning for Facial Expression Recognition and
      Synthesis Based on Selective Feature Sharing, ICPR 2020, cycle-consistency loss,
      with the mean of the released code.
    """
    return _mean_square(images, returned, where)


def _mean_square(x: jax.Array, y: jax.Array, where: jax.Array | None) -> jax.Array:
    difference = arrays.difference(x, y, where)
    return jnp.mean(jnp.square(difference), axis=arrays.rest(difference))
