"""Losses of class scores against labels."""

import jax
import jax.numpy as jnp
import numpy as np


def cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    label_smoothing: float = 0.0,
    where: jax.Array | None = None,
) -> jax.Array:
    """Cross-entropy of the softmax of the logits against classes or distributions.

    -sum_k q_k log softmax(logits)_k,  q = (1 - e) p + e / K

    with p the one-hot class or the given distribution and e the smoothing. Computed
    in float32 if the logits are narrower.

    Args:
      logits: (B, K).
      labels: (B,) integer classes, or (B, K) distributions that sum to 1.
      label_smoothing: e, from 0 (none) to 1 (uniform targets).
      where: (B,) bool; other examples get loss 0 and no gradient, whatever their
        logits and labels hold.

    Returns:
      (B,), at least float32; NaN for a class outside 0..K-1.

    Raises:
      ValueError: the shapes or types of logits and labels do not belong together.

    References:
      Label smoothing: Szegedy et al., Rethinking the Inception Architecture for
      Computer Vision, CVPR 2016, section 7.
    """
    classes = logits.shape[-1]
    hard = jnp.issubdtype(labels.dtype, jnp.integer)
    if labels.shape != (logits.shape[:-1] if hard else logits.shape):
        raise ValueError(
            "expected integer labels (B,) or distributions (B, K) for logits (B, K), "
            f"got {labels.dtype} labels {labels.shape} for logits {logits.shape}"
        )
    wide = np.promote_types(logits.dtype, np.float32)
    logits = logits.astype(wide)
    if where is not None:
        logits = jnp.where(where[:, None], logits, 0.0)
    if hard:
        targets = jax.nn.one_hot(labels, classes, dtype=wide)
    else:
        targets = labels.astype(wide)
    targets = (1 - label_smoothing) * targets + label_smoothing / classes
    losses = -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)
    if hard:
        losses = jnp.where((labels >= 0) & (labels < classes), losses, jnp.nan)
    return losses if where is None else jnp.where(where, losses, 0.0)
