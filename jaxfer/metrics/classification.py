"""Classification metrics as one mergeable state.

A state holds sums and counts only, so the state of a whole set is the sum of
the states of its parts, over batches, devices and folds alike; ratios are
taken once, at the end. Everything here is pure, and works under `jax.jit` and
`jax.vmap`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

BINS = 15
"""Confidence bins of the calibration error, of equal width over (0, 1]."""

CONFUSION_CLASSES = 256
"""Of more classes, a state holds no confusion matrix and no report lists them all.

The matrix grows with their square: of 85,000 people it would take 27 GiB.
"""


class Classification(NamedTuple):
    """Sums and counts of a set of predictions, K classes. A pytree of float32.

    Counts are exact up to 2**24 examples per cell.

    Attributes:
      hits: (K,), correct predictions by class.
      support: (K,), examples by true class.
      predicted: (K,), examples by predicted class.
      confusion: (K, K), examples by [true class, predicted class]; (0, 0) of more
        than `CONFUSION_CLASSES` classes.
      loss_sum: (), summed cross-entropy.
      count: (), examples.
      bin_count: (15,), examples by confidence.
      bin_confidence: (15,), summed confidence in each bin.
      bin_correct: (15,), correct predictions in each bin.
    """

    hits: Array
    support: Array
    predicted: Array
    confusion: Array
    loss_sum: Array
    count: Array  # type: ignore[assignment]  # hides tuple.count, unused
    bin_count: Array
    bin_confidence: Array
    bin_correct: Array


def zeros(num_classes: int) -> Classification:
    """The state of no predictions, the neutral element of `merge`."""
    scalar, bins = jnp.zeros((), jnp.float32), jnp.zeros((BINS,), jnp.float32)
    classes = jnp.zeros((num_classes,), jnp.float32)
    side = num_classes if num_classes <= CONFUSION_CLASSES else 0
    confusion = jnp.zeros((side, side), jnp.float32)
    return Classification(
        classes, classes, classes, confusion, scalar, scalar, bins, bins, bins
    )


def classification(
    logits: Array, labels: Array, where: Array | None = None
) -> Classification:
    """The state of one batch of predictions.

    The predicted class is the largest logit (the first among equals), its
    confidence the largest softmax probability.

    Args:
      logits: (B, K), any float type; judged in float32.
      labels: (B,), int, the true classes.
      where: (B,), bool, the examples that count; None counts all. What stands
        in the others has no influence, NaN included.

    Returns:
      The state, equal to that of the subset which `where` selects.
    """
    num_classes = logits.shape[-1]
    if where is None:
        where = jnp.ones(labels.shape, bool)
    where = where.astype(bool)
    logits = jnp.where(where[:, None], logits.astype(jnp.float32), 0.0)
    labels = jnp.where(where, labels, 0)
    weight = where.astype(jnp.float32)

    log_probabilities = jax.nn.log_softmax(logits)
    truth = jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
    truth = truth * weight[:, None]
    predicted = jnp.argmax(logits, axis=-1)
    prediction = jax.nn.one_hot(predicted, num_classes, dtype=jnp.float32)
    prediction = prediction * weight[:, None]

    # Bins are open below and closed above, as in the definition of the error.
    confidence = jnp.exp(jnp.max(log_probabilities, axis=-1))
    position = jnp.ceil(confidence * BINS).astype(jnp.int32) - 1
    bins = jax.nn.one_hot(jnp.clip(position, 0, BINS - 1), BINS, dtype=jnp.float32)
    bins = bins * weight[:, None]
    correct = (predicted == labels).astype(jnp.float32)

    # Zeros and ones are exact in any matmul precision; confidences are not.
    exact = jax.lax.Precision.HIGHEST
    if num_classes <= CONFUSION_CLASSES:
        confusion = jnp.matmul(truth.T, prediction, precision=exact)
    else:
        confusion = jnp.zeros((0, 0), jnp.float32)
    return Classification(
        hits=jnp.sum(truth * correct[:, None], axis=0),
        support=jnp.sum(truth, axis=0),
        predicted=jnp.sum(prediction, axis=0),
        confusion=confusion,
        loss_sum=-jnp.sum(jnp.where(truth > 0, log_probabilities, 0.0)),
        count=jnp.sum(weight),
        bin_count=jnp.sum(bins, axis=0),
        bin_confidence=jnp.matmul(confidence, bins, precision=exact),
        bin_correct=jnp.matmul(correct, bins, precision=exact),
    )


def merge(a: Classification, b: Classification) -> Classification:
    """The state of two sets together: their sum."""
    return jax.tree.map(jnp.add, a, b)


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Element-wise quotient, 0 where the denominator is 0."""
    safe = jnp.where(denominator > 0, denominator, 1.0)
    return jnp.where(denominator > 0, numerator / safe, 0.0)


def per_class(state: Classification) -> dict[str, Array]:
    """Precision, recall, F1 and support of every class, each (K,).

    An undefined ratio (a class never predicted, or without examples) is 0;
    `support`, the number of true examples, tells which classes are absent.
    """
    hits, support, predicted = state.hits, state.support, state.predicted
    return {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, support),
        "f1": _ratio(2.0 * hits, support + predicted),
        "support": support,
    }


def calibration(state: Classification) -> dict[str, Array]:
    """Mean confidence, accuracy and count of every bin, each (15,).

    An empty bin has confidence and accuracy 0.
    """
    return {
        "confidence": _ratio(state.bin_confidence, state.bin_count),
        "accuracy": _ratio(state.bin_correct, state.bin_count),
        "count": state.bin_count,
    }


def compute(state: Classification) -> dict[str, Array]:
    """The scalar metrics of a state.

    - `loss`: mean cross-entropy;
    - `accuracy`: share of correct predictions;
    - `balanced_accuracy`: mean recall over classes;
    - `macro_f1`: mean F1 over classes;
    - `ece`: expected calibration error, sum_b n_b/n |accuracy_b - confidence_b|
      over 15 bins of confidence (Guo et al., eq. 3).

    Classes without a true example are left out of the two means over classes,
    even if some example is mistaken for them. Of no examples, every metric is
    NaN.

    References:
      Guo, Pleiss, Sun, Weinberger. "On Calibration of Modern Neural Networks",
      ICML 2017.
    """
    classes = per_class(state)
    present = (classes["support"] > 0).astype(jnp.float32)
    classes_present = jnp.sum(present)
    values = {
        "loss": _ratio(state.loss_sum, state.count),
        "accuracy": _ratio(jnp.sum(state.hits), state.count),
        "balanced_accuracy": _ratio(jnp.sum(classes["recall"]), classes_present),
        "macro_f1": _ratio(jnp.sum(classes["f1"] * present), classes_present),
        "ece": _ratio(
            jnp.sum(jnp.abs(state.bin_correct - state.bin_confidence)), state.count
        ),
    }
    return {
        name: jnp.where(state.count > 0, value, jnp.nan)
        for name, value in values.items()
    }
