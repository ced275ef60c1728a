"""Losses on embeddings and class centers, and softmax with a margin."""

import math

import jax
import jax.numpy as jnp

from jaxfer.losses import arrays

MIN_VARIANCE = 1e-12
"""Least variance between centers, per unit of 1 + mean square, to divide by."""


def center_loss(
    features: jax.Array,
    labels: jax.Array,
    centers: jax.Array,
    *,
    where: jax.Array | None = None,
) -> jax.Array:
    """Half the squared distance to the center of the own class.

    1/2 |x - c_y|^2

    Computed in float32 if the inputs are narrower.

    Args:
      features: (B, D), x.
      labels: (B,) integer classes, y.
      centers: (K, D), c.
      where: (B,) bool; other examples get 0 and no gradient.

    Returns:
      (B,), at least float32; NaN for a class outside 0..K-1.

    Raises:
      ValueError: shapes that do not fit.

    References:
      Wen et al., A Discriminative Feature Learning Approach for Deep Face
      Recognition, ECCV 2016, center loss.

    Deviations:
      The paper sums over the batch, and moves the centers by a rule of their own;
      here they are parameters, trained by the gradient.
    """
    arrays.check_vectors(features, labels, centers, "centers")
    features, centers = arrays.widen(features, centers)
    own = jnp.take(centers, labels, axis=0, mode="clip")
    losses = jnp.sum(jnp.square(arrays.keep(features - own, where)), axis=1) / 2
    known = (labels >= 0) & (labels < centers.shape[0])
    if where is not None:
        known |= ~where
    return jnp.where(known, losses, jnp.nan)


def affinity_loss(
    features: jax.Array,
    labels: jax.Array,
    centers: jax.Array,
    *,
    where: jax.Array | None = None,
) -> jax.Array:
    """Squared distance to the own center, relative to the spread of the centers.

    |x - c_y|^2 / S,  S = sum over the features of the centers' unbiased variance

    It does not change when features and centers are scaled or moved together.
    Computed in float32 if the inputs are narrower.

    Args:
      features: (B, D), x, pooled over the map.
      labels: (B,) integer classes, y.
      centers: (K, D), c, trained with the network.
      where: (B,) bool; other examples get 0 and no gradient.

    Returns:
      (B,), at least float32; NaN for a class outside 0..K-1.

    Raises:
      ValueError: shapes that do not fit, or fewer than two centers.

    References:
      Wen et al., Distract Your Attention: Multi-Head Cross Attention Network for
      Facial Expression Recognition, Biomimetics 8(2), 2023, affinity loss; the
      normalisation is that of its released code.

    Deviations:
      Where the centers coincide the released code divides by 0; here the loss is 0.
    """
    losses = 2 * center_loss(features, labels, centers, where=where)
    if centers.shape[0] < 2:
        raise ValueError(f"expected at least two centers, got {centers.shape[0]}")
    centers = centers.astype(losses.dtype)
    variance = jnp.sum(jnp.var(centers, axis=0, ddof=1))
    square = jnp.sum(jnp.square(centers)) / centers.shape[0]
    spread = variance > MIN_VARIANCE * (1 + square)
    return jnp.where(spread, losses / jnp.where(spread, variance, 1.0), 0.0)


def cosine_margin_logits(
    embeddings: jax.Array,
    weights: jax.Array,
    labels: jax.Array,
    margin: float = 0.35,
    scale: float = 64.0,
) -> jax.Array:
    """Scaled cosines, the own class's less a margin: CosFace, for `cross_entropy`.

    s cos(theta_k),  s (cos(theta_y) - m) for the own class

    For training; at test the scores are the cosines. Computed in float32 if the
    inputs are narrower.

    Args:
      embeddings: (B, D); their lengths do not matter.
      weights: (K, D), one vector for each class; their lengths do not matter.
      labels: (B,) integer classes, y; no class has a margin where it is outside
        0..K-1.
      margin: m.
      scale: s.

    Returns:
      (B, K), at least float32. A zero vector has cosine 0 and no gradient.

    Raises:
      ValueError: shapes that do not fit.

    References:
      Wang et al., CosFace: Large Margin Cosine Loss for Deep Face Recognition,
      CVPR 2018, LMCL.
    """
    arrays.check_vectors(embeddings, labels, weights, "weights")
    cosines = _cosines(*map(arrays.unit, arrays.widen(embeddings, weights)))
    own = jax.nn.one_hot(labels, weights.shape[0], dtype=bool)
    return scale * jnp.where(own, cosines - margin, cosines)


def angular_margin_logits(
    embeddings: jax.Array,
    weights: jax.Array,
    labels: jax.Array,
    margin: float = 0.5,
    scale: float = 64.0,
) -> jax.Array:
    """Scaled cosines, the own class's angle widened: ArcFace, for `cross_entropy`.

    s cos(theta_k),  s cos(theta_y + m) for the own class

    Beyond theta_y = pi - m, where cos(theta + m) would rise again, it is
    s (cos(theta_y) - m sin(m)), as in the released code. The sine comes from
    |u - w| |u + w| / 2 and not from the cosine, so that values stay exact and
    gradients finite where embedding and weight are parallel. For training; at test
    the scores are the cosines. Computed in float32 if the inputs are narrower.

    Args:
      embeddings: (B, D); their lengths do not matter.
      weights: (K, D), one vector for each class; their lengths do not matter.
      labels: (B,) integer classes, y; no class has a margin where it is outside
        0..K-1.
      margin: m, in radians.
      scale: s.

    Returns:
      (B, K), at least float32. A zero vector has cosine 0 and no gradient.

    Raises:
      ValueError: shapes that do not fit.

    References:
      Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition,
      CVPR 2019, additive angular margin loss.
    """
    arrays.check_vectors(embeddings, labels, weights, "weights")
    embeddings, weights = map(arrays.unit, arrays.widen(embeddings, weights))
    cosines = _cosines(embeddings, weights)
    target = jnp.take(weights, labels, axis=0, mode="clip")
    sines = arrays.norm(embeddings - target) * arrays.norm(embeddings + target) / 2
    widened = math.cos(margin) * cosines - math.sin(margin) * sines[:, None]
    beyond = cosines <= -math.cos(margin)
    widened = jnp.where(beyond, cosines - margin * math.sin(margin), widened)
    own = jax.nn.one_hot(labels, weights.shape[0], dtype=bool)
    return scale * jnp.where(own, widened, cosines)


def _cosines(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
