"""Triplet losses: an example nearer to its own class than to the others."""

import jax
import jax.numpy as jnp

from jaxfer import ops
from jaxfer.losses import arrays


def _pairs(
    embeddings: jax.Array, labels: jax.Array, where: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Vectors (B, D), and which pairs (B, B) share a class or not; none if masked."""
    if labels.shape != embeddings.shape[:1] or not jnp.issubdtype(
        labels.dtype, jnp.integer
    ):
        raise ValueError(
            "expected integer labels (B,) for embeddings (B, ...), got "
            f"{labels.dtype} labels {labels.shape} for embeddings {embeddings.shape}"
        )
    (vectors,) = arrays.widen(embeddings.reshape(embeddings.shape[0], -1))
    same = labels[:, None] == labels[None, :]
    if where is None:
        return vectors, same, ~same
    both = where[:, None] & where[None, :]
    return arrays.keep(vectors, where), same & both, ~same & both


def _without_self(same: jax.Array) -> jax.Array:
    """Pairs (B, B) of two examples."""
    return same & ~jnp.eye(same.shape[0], dtype=bool)


def _mean(hinges: jax.Array, chosen: jax.Array) -> jax.Array:
    """Each anchor's mean (B,) of what is chosen of its hinges (B, ...), 0 of none."""
    axes = tuple(range(1, hinges.ndim))
    count = jnp.maximum(jnp.sum(chosen, axis=axes), 1).astype(hinges.dtype)
    return jnp.sum(hinges, axis=axes, where=chosen) / count


def batch_hard_triplet(
    embeddings: jax.Array,
    labels: jax.Array,
    margin: float = 0.2,
    *,
    where: jax.Array | None = None,
) -> jax.Array:
    """Farthest of the own class against nearest of the others, by squared distances.

    [max_(p: y_p = y_a) |x_a - x_p|^2 - min_(n: y_n != y_a) |x_a - x_n|^2 + m]_+

    for every example a as anchor, itself among the positives; 0 where the batch
    holds no other class. The mean over the batch is the paper's loss, whose divisor
    is the batch's size however many anchors count. One matrix product finds the two
    examples, their distances are then taken by subtraction, so that equal examples
    are at distance 0 exactly; of several at one distance the first is taken. Computed
    in float32 if the embeddings are narrower.

    Args:
      embeddings: (B, ...): vectors, or images, whose distance is the sum over pixels.
      labels: (B,) integer classes.
      margin: m; 0.2 in the paper.
      where: (B,) bool; other examples are neither anchors nor compared with, and get
        0 and no gradient.

    Returns:
      (B,), at least float32.

    Raises:
      ValueError: the shapes do not fit.

    References:
      Zhang and Yu, Improving the Facial Expression Recognition and Its
      Interpretability via Generating Expression Pattern-map, vector and image triplet
      losses. Mining: Hermans, Beyer and Leibe, In Defense of the Triplet Loss for
      Person Re-Identification, 2017, batch hard; there the distances are not squared.
    """
    vectors, same, other = _pairs(embeddings, labels, where)
    distances = jax.lax.stop_gradient(ops.squared_distances(vectors))
    positive = jnp.argmax(jnp.where(same, distances, -jnp.inf), axis=1)
    negative = jnp.argmin(jnp.where(other, distances, jnp.inf), axis=1)
    to_positive = jnp.sum(jnp.square(vectors - vectors[positive]), axis=1)
    to_negative = jnp.sum(jnp.square(vectors - vectors[negative]), axis=1)
    losses = jax.nn.relu(to_positive - to_negative + margin)
    return jnp.where(jnp.any(other, axis=1), losses, 0.0)


def semi_hard_triplet(
    embeddings: jax.Array,
    labels: jax.Array,
    margin: float = 0.2,
    *,
    where: jax.Array | None = None,
) -> jax.Array:
    """Each of the own class against the nearest of the others that is farther away.

    mean over p of [d_ap - d_an + m]_+,  n the nearest with d_an > d_ap

    with squared distances d; p runs over the examples of the anchor's class without
    itself. Where no other class is farther than p, n is the farthest. An anchor
    without positives or without negatives gets 0. Takes B^3 comparisons. Computed in
    float32 if the embeddings are narrower.

    Args:
      embeddings: (B, ...): vectors, or images.
      labels: (B,) integer classes.
      margin: m.
      where: (B,) bool; other examples are neither anchors nor compared with, and get
        0 and no gradient.

    Returns:
      (B,), at least float32.

    Raises:
      ValueError: the shapes do not fit.

    References:
      Schroff, Kalenichenko and Philbin, FaceNet: A Unified Embedding for Face
      Recognition and Clustering, CVPR 2015, semi-hard negatives. The farthest as a
      substitute is what TensorFlow Addons does.
    """
    vectors, same, other = _pairs(embeddings, labels, where)
    distances = ops.squared_distances(vectors)
    found = jax.lax.stop_gradient(distances)
    farther = other[:, None, :] & (found[:, None, :] > found[:, :, None])
    nearest = jnp.argmin(jnp.where(farther, found[:, None, :], jnp.inf), axis=2)
    farthest = jnp.argmax(jnp.where(other, found, -jnp.inf), axis=1)
    negative = jnp.where(farther.any(axis=2), nearest, farthest[:, None])
    to_negative = jnp.take_along_axis(distances, negative, axis=1)
    hinges = jax.nn.relu(distances - to_negative + margin)
    positive = _without_self(same)
    return jnp.where(jnp.any(other, axis=1), _mean(hinges, positive), 0.0)


def batch_all_triplet(
    embeddings: jax.Array,
    labels: jax.Array,
    margin: float = 0.2,
    *,
    where: jax.Array | None = None,
) -> jax.Array:
    """Every triplet of the batch: the triplet loss without mining.

    mean over p and n of [d_ap - d_an + m]_+

    with squared distances d; p runs over the examples of the anchor's class without
    itself, n over the other classes. An anchor without either gets 0. Takes B^3
    terms. Computed in float32 if the embeddings are narrower.

    Args:
      embeddings: (B, ...): vectors, or images.
      labels: (B,) integer classes.
      margin: m.
      where: (B,) bool; other examples are neither anchors nor compared with, and get
        0 and no gradient.

    Returns:
      (B,), at least float32.

    Raises:
      ValueError: the shapes do not fit.

    References:
      Hermans, Beyer and Leibe, In Defense of the Triplet Loss for Person
      Re-Identification, 2017, batch all; there the sum over all triplets.
    """
    vectors, same, other = _pairs(embeddings, labels, where)
    distances = ops.squared_distances(vectors)
    positive = _without_self(same)
    triplets = positive[:, :, None] & other[:, None, :]
    hinges = jax.nn.relu(distances[:, :, None] - distances[:, None, :] + margin)
    return _mean(hinges, triplets)
