"""Label spaces: expression names, class orders, and the vote rules of FER+."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxfer.errors import DataError

EXPRESSIONS = (
    "anger",
    "contempt",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
)
"""The names used everywhere in this project."""

AFFECTNET = (
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
)
"""AffectNet in its own order, 0 to 7; its seven classes are those before contempt."""

CKPLUS = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
"""CK+ in its own order, 1 to 7; 0 is neutral."""

FERPLUS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)
"""FER+ in the order of its vote columns; `unknown` and `NF` follow them."""

MMI = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
"""MMI's six, in its own order, 1 to 6."""

OULU_CASIA = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
"""Oulu-CASIA's six, in alphabetical order."""

RAFDB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""RAF-DB in its own order, 1 to 7."""

_ALIASES = {
    "angry": "anger",
    "contemptuous": "contempt",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "happy": "happiness",
    "joy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
}


def canonical(name: str) -> str | None:
    """Returns the project's name of an expression, or None if it is not one.

    Args:
      name: as a folder or a file calls it, e.g. `Happy`, `sad`, `Anger`.
    """
    word = name.strip().lower()
    word = _ALIASES.get(word, word)
    return word if word in EXPRESSIONS else None


class Votes(NamedTuple):
    """What a label mode makes of FER+ votes.

    Attributes:
      label: int32 (N,), the class, or -1 where the image is rejected.
      target: float32 (N, 8), the label distribution; zero where rejected.
      reason: str (N,), why an image is rejected; empty where it is kept.
    """

    label: np.ndarray
    target: np.ndarray
    reason: np.ndarray


_CLASSES = len(FERPLUS)
_NO_MAJORITY = "no emotion has more than half of the votes"
_NO_EXPRESSION = "voted unknown or not a face"


def majority_votes(votes: np.ndarray) -> Votes:
    r"""Applies the majority rule of FER+ to votes.

    With $v'_k = v_k \, [v_k > 1]$ over all ten columns, image i has label
    $k = \arg\max v'$ if $v'_k > \frac{1}{2} \sum_j v'_j$ and k is one of the
    eight expressions; otherwise it is rejected. Single votes are thus taken
    for outliers, while unknown and not-a-face count in the sum.

    Args:
      votes: (N, 10), FER+'s columns in its order.

    Returns:
      Labels, one-hot targets and the reasons of rejection.

    References:
      Barsoum et al., Training Deep Networks for Facial Expression Recognition
      with Crowd-Sourced Label Distribution, https://arxiv.org/abs/1608.01041,
      section 3; the threshold and the outlier rule are those of its released
      code, https://github.com/microsoft/FERPlus.
    """
    kept = _without_outliers(votes)
    label = kept.argmax(axis=1)
    majority = kept.max(axis=1) > 0.5 * kept.sum(axis=1)
    reason = np.where(majority, "", _NO_MAJORITY)
    reason = np.where(majority & (label >= _CLASSES), _NO_EXPRESSION, reason)
    accepted = reason == ""
    label = np.where(accepted, label, -1).astype(np.int32)
    return Votes(label, one_hot(label, _CLASSES), reason)


def soft_votes(votes: np.ndarray) -> Votes:
    r"""Turns FER+ votes into label distributions.

    With v' as in `majority_votes`, the target is $v'_k / \sum_{j<8} v'_j$ over
    the eight expressions. An image is rejected where these have no more than
    half of all votes v' (the released code's threshold for distributions).

    Deviation: the released code keeps only the top emotions, up to three, that
    make up three quarters of the votes; here every emotion with more than one
    vote stays in.

    Args:
      votes: (N, 10), FER+'s columns in its order.

    Returns:
      The distribution's largest class as label (the first in FER+'s order
      where several are equal), targets and the reasons of rejection.

    References:
      https://arxiv.org/abs/1608.01041, section 3 (cross-entropy loss).
    """
    kept = _without_outliers(votes)
    expressions = kept[:, :_CLASSES]
    share = expressions.sum(axis=1)
    accepted = share > 0.5 * kept.sum(axis=1)
    target = np.where(accepted[:, None], expressions, 0.0)
    target = target / np.maximum(share, 1.0)[:, None]
    label = np.where(accepted, expressions.argmax(axis=1), -1)
    reason = np.where(accepted, "", _NO_EXPRESSION)
    return Votes(label.astype(np.int32), target.astype(np.float32), reason)


def one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns float32 (N, num_classes) rows; a label of -1 gives a zero row."""
    return (labels[:, None] == np.arange(num_classes)[None, :]).astype(np.float32)


def _without_outliers(votes: np.ndarray) -> np.ndarray:
    votes = np.asarray(votes, np.float64)
    return np.where(votes > 1.0, votes, 0.0)


def check_classes(where: str, class_names: Sequence[str], label: Iterable[int]) -> None:
    """Refuses data of one class: there is nothing to tell apart.

    Args:
      where: where the images are, for the message.
      class_names: names of the classes.
      label: class of each image; -1, where votes decide later, is let pass.

    Raises:
      DataError: fewer than two classes have images.
    """
    found = set(label)
    if len(found) < 2 and -1 not in found:
        names = ", ".join(class_names[k] for k in found) or "none"
        raise DataError(
            f"{where}: expected usable images of at least two classes, found: "
            f"{names}. Add images of another class, and see that each class has a "
            "folder or label of its own."
        )
