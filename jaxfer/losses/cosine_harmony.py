"""LFNSB: classes drawn together by adjusted cosine distances."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxfer.losses import arrays

Variant = Literal["released", "printed", "separating"]

MIN_VARIANCE = 1e-12
"""Least variance, per unit of 1 + mean square, that is divided by."""


def cosine_harmony(
    features: jax.Array,
    labels: jax.Array,
    centers: jax.Array,
    alpha: float = 0.1,
    variant: Variant = "released",
    *,
    where: jax.Array | None = None,
) -> jax.Array:
    """Cosine distances to the class centers: one number for a batch.

    alpha intra / V + (1 - alpha) inter

    d(x, c) = 1 - cos(x - mean(x), c - mean(c)), means over the D features,
    intra = 1/N sum_i d(x_i, c_(y_i)),
    V = sum over the features of their unbiased variance in the batch.

    The paper and its code disagree on inter, and neither does what the text sets out
    to do, to push classes apart; hence three variants:

    - "released": intra / (K - 1). The code uses the mask of the own class twice.
    - "printed": 1/(N (K-1)) sum_i sum_(j != y_i) d(x_i, c_j). Minimising it pulls
      examples towards the centers of the other classes.
    - "separating": minus the printed one, which is the stated aim.

    It is no mean over examples, for V belongs to the batch. Computed in float32 if
    the inputs are narrower.

    Args:
      features: (B, D), x, pooled over the map.
      labels: (B,) integer classes, y.
      centers: (K, D), c, trained with the network; drawn from N(0, 1) as released.
      alpha: share of the first term; 0.1 in the paper.
      variant: "released", "printed" or "separating".
      where: (B,) bool; the loss is that of the batch without the other examples.

    Returns:
      (), at least float32; 0 if no example counts, NaN for a class outside 0..K-1.

    Raises:
      ValueError: shapes that do not fit, fewer than two centers, another variant.

    References:
      A Lightweight Model Enhancing Facial Expression Recognition with Spatial Bias
      and Cosine-Harmony Loss, 2024, section Cosine-Harmony Loss.

    Deviations:
      The printed variance divides by N, the released one and this by N - 1. Where V
      is 0 (one example, equal features) the released code divides by it; here the
      first term is 0, with zero gradients.
    """
    arrays.check_vectors(features, labels, centers, "centers")
    if variant not in get_args(Variant):
        raise ValueError(f"expected a variant of {get_args(Variant)}, got {variant!r}")
    classes = centers.shape[0]
    if classes < 2:
        raise ValueError(f"expected at least two centers, got {classes}")
    features, centers = arrays.widen(features, centers)
    features = arrays.keep(features, where)
    counts = jnp.ones(labels.shape, bool) if where is None else where
    own = jax.nn.one_hot(labels, classes, dtype=bool)
    known = own.any(axis=1)

    number = jnp.maximum(jnp.sum(counts), 1).astype(features.dtype)
    distances = 1 - jnp.matmul(
        arrays.unit(features - jnp.mean(features, axis=1, keepdims=True)),
        arrays.unit(centers - jnp.mean(centers, axis=1, keepdims=True)).T,
        precision=jax.lax.Precision.HIGHEST,
    )
    intra = jnp.sum(distances, where=own & counts[:, None]) / number
    if variant == "released":
        inter = intra / (classes - 1)
    else:
        others = jnp.sum(distances, where=~own & counts[:, None])
        inter = others / (number * (classes - 1))
        inter = -inter if variant == "separating" else inter

    mean = jnp.sum(features, axis=0, keepdims=True) / number
    deviations = arrays.keep(features - mean, where)
    variance = jnp.sum(jnp.square(deviations)) / jnp.maximum(number - 1, 1)
    square = jnp.sum(jnp.square(features)) / number
    spread = variance > MIN_VARIANCE * (1 + square)
    harmony = jnp.where(spread, intra / jnp.where(spread, variance, 1.0), 0.0)

    loss = alpha * harmony + (1 - alpha) * inter
    return jnp.where(jnp.all(known | ~counts), loss, jnp.nan)
