"""How well a score ranks what is sought before the rest."""

import numpy as np


def auroc(scores: np.ndarray, sought: np.ndarray) -> float | None:
    """The chance that a sought item scores above another one, ties counting half.

    By ranks: `(R - P (P + 1) / 2) / (P N)`, where R sums the ranks (from 1, tied
    ones sharing their mean) of the P sought items, and N are the rest.

    Args:
      scores: (n,), finite.
      sought: bool (n,).

    Returns:
      0 to 1, or None where all items are sought, or none.

    References:
      Hanley and McNeil, "The meaning and use of the area under a receiver
      operating characteristic (ROC) curve", Radiology 143, 1982.
    """
    positive = int(np.sum(sought))
    negative = len(sought) - positive
    if not positive or not negative:
        return None
    _, tied, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    excess = ranks[tied][sought].sum() - positive * (positive + 1) / 2
    return float(excess / (positive * negative))


def highest_first(scores: np.ndarray) -> np.ndarray:
    """Indices by falling score; equal scores keep their order."""
    return np.argsort(-scores, kind="stable")


def precision_at(k: int, scores: np.ndarray, sought: np.ndarray) -> float | None:
    """The share of sought items among the k of `highest_first`.

    Returns:
      0 to 1, or None where k is 0 or there are fewer items than k.
    """
    if not 0 < k <= len(scores):
        return None
    return float(np.mean(sought[highest_first(scores)[:k]]))
