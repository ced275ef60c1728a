"""Adversarial losses on a discriminator's scores, in least squares and in logs."""

import jax
import jax.numpy as jnp

from jaxfer.losses import arrays


def least_squares_discriminator(
    real: jax.Array, fake: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    """Least squares that tell real images by 1 and synthesised ones by 0.

    ((D(real) - 1)^2 + D(fake)^2) / 2, mean over the patches

    Computed in float32 if the scores are narrower.

    Args:
      real: (B, ...), scores of real images, one for each patch.
      fake: (B, ...), scores of as many synthesised ones.
      where: (B,) bool; other examples get 0 and no gradient.

    Returns:
      (B,), at least float32.

    Raises:
      ValueError: the scores differ in shape.

    References:
      Mao et al., Least Squares Generative Adversarial Networks, ICCV 2017; the
      half is FERSNet's released code's.
    """
    real, fake = _scores(where, real, fake)
    return _mean(jnp.square(real - 1) + jnp.square(fake), where) / 2


def least_squares_generator(
    fake: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    """Least squares that draw the scores of synthesised images to 1.

    (D(fake) - 1)^2, mean over the patches

    Computed in float32 if the scores are narrower.

    Args:
      fake: (B, ...), scores of synthesised images, one for each patch.
      where: (B,) bool; other examples get 0 and no gradient.

    Returns:
      (B,), at least float32.

    References:
      Mao et al., Least Squares Generative Adversarial Networks, ICCV 2017; as in
      FERSNet's released code, without a half.
    """
    (fake,) = _scores(where, fake)
    return _mean(jnp.square(fake - 1), where)


def log_adversarial_discriminator(
    real: jax.Array, fake: jax.Array, *, where: jax.Array | None = None
) -> jax.Array:
    """Cross-entropy that tells real images from synthesised ones.

    -(log s(D(real)) + log(1 - s(D(fake)))) / 2, s the sigmoid, mean over the patches

    Computed in float32 if the scores are narrower.

    Args:
      real: (B, ...), scores of real images, before a sigmoid, one for each patch.
      fake: (B, ...), scores of as many synthesised ones.
      where: (B,) bool; other examples get 0 and no gradient.

    Returns:
      (B,), at least float32.

    Raises:
      ValueError: the scores differ in shape.

    References:
      Goodfellow et al., Generative Adversarial Nets, NIPS 2014, the value function;
      the log form of FERSNet's slides. Halved as the least squares are, so that one
      can take the other's place.
    """
    real, fake = _scores(where, real, fake)
    return _mean(jax.nn.softplus(-real) + jax.nn.softplus(fake), where) / 2


def log_adversarial_generator(
    fake: jax.Array, *, saturating: bool = False, where: jax.Array | None = None
) -> jax.Array:
    """Log loss of synthesised images that a discriminator tells as such.

    -log s(D(fake)), or if saturating log(1 - s(D(fake))), mean over the patches

    with s the sigmoid. Both have the same goal; the saturating one, which FERSNet's
    slides print, has hardly a gradient while the discriminator is right, and no lower
    bound. Computed in float32 if the scores are narrower.

    Args:
      fake: (B, ...), scores of synthesised images, before a sigmoid.
      saturating: the printed form.
      where: (B,) bool; other examples get 0 and no gradient.

    Returns:
      (B,), at least float32.

    References:
      Goodfellow et al., Generative Adversarial Nets, NIPS 2014, section 3.
    """
    (fake,) = _scores(where, fake)
    losses = -jax.nn.softplus(fake) if saturating else jax.nn.softplus(-fake)
    return _mean(losses, where)


def _scores(where: jax.Array | None, *scores: jax.Array) -> tuple[jax.Array, ...]:
    if len({x.shape for x in scores}) > 1:
        raise ValueError(
            "expected as many scores of real as of synthesised images, got "
            + " and ".join(str(x.shape) for x in scores)
        )
    return tuple(arrays.keep(x, where) for x in arrays.widen(*scores))


def _mean(losses: jax.Array, where: jax.Array | None) -> jax.Array:
    return arrays.keep(jnp.mean(losses, axis=arrays.rest(losses)), where)
