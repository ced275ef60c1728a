"""How suspicious a label is, and how well that finds labels known to be wrong.

Two scores rank an image. The first, by which the list is sorted, is the
cross-entropy of the label that was given, `-log p(label)`, averaged over the
image and its mirror image: a model that learned the rule before the exceptions
disagrees with wrong labels. The second is the gap between the two views, half
of the sum of `|p_image - p_mirror|` over classes (total variation, 0 to 1): what
a model knows by heart about one image often does not hold for its mirror.

A model that has memorised its labels agrees with all of them and finds nothing;
therefore the weights are those of the best epoch on validation images, where
there are any. The average cross-entropy is the simplest of the scores of Pleiss et
al., "Identifying Mislabeled Data using the Area Under the Margin Ranking",
https://arxiv.org/abs/2001.10528, and follows Arpit et al., "A Closer Look at
Memorization in Deep Networks", https://arxiv.org/abs/1706.05394.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxfer.evaluate.ranking import auroc, highest_first, precision_at
from jaxfer.evaluate.selections import spread

TOP = 100
SCORES = ("score", "gap")


class Ranking(NamedTuple):
    """Images with the label that was given, the most suspicious first.

    Attributes:
      row: int (n,), rows of the data set's table.
      given: int (n,), the label that was trained on.
      predicted: int (n,), by the mean probabilities of both views.
      score: (n,), the mean cross-entropy of the given label.
      gap: (n,), total variation between the views' probabilities.
      probability: (n,), the mean one of the given label.
      runs: int (n,), how many runs trained on this image with this label, over
        which all of the above are averaged.
    """

    row: np.ndarray
    given: np.ndarray
    predicted: np.ndarray
    score: np.ndarray
    gap: np.ndarray
    probability: np.ndarray
    runs: np.ndarray


def view_scores(
    log_probabilities: np.ndarray, given: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The two scores of the module's text.

    Args:
      log_probabilities: (n, 2, K), of the image and its mirror image.
      given: int (n,), the labels.

    Returns:
      Mean cross-entropy (n,) and gap (n,).
    """
    told = np.take_along_axis(log_probabilities, given[:, None, None], axis=2)
    probabilities = np.exp(log_probabilities)
    gap = 0.5 * np.abs(probabilities[:, 0] - probabilities[:, 1]).sum(axis=1)
    return -told[..., 0].mean(axis=1), gap


def rank(
    rows: Sequence[np.ndarray],
    given: Sequence[np.ndarray],
    log_probabilities: Sequence[np.ndarray],
) -> Ranking:
    """Ranks the images of several runs.

    An image is one entry for each label that any run was given for it, averaged
    over the runs that trained on it so.

    Args:
      rows: for each run its training rows (n,).
      given: and their labels (n,).
      log_probabilities: and their (n, 2, K).
    """
    joined = np.concatenate(log_probabilities)
    labels = np.concatenate(given)
    classes = joined.shape[-1]
    key, entry, runs = np.unique(
        np.concatenate(rows) * classes + labels, return_inverse=True, return_counts=True
    )

    def mean(values: np.ndarray) -> np.ndarray:
        total = np.zeros((len(key), *values.shape[1:]))
        np.add.at(total, entry, values)
        return total / runs.reshape(-1, *[1] * (values.ndim - 1))

    row, label = np.divmod(key, classes)
    score, gap = map(mean, view_scores(joined, labels))
    probabilities = mean(np.exp(joined).mean(axis=1))
    ranking = Ranking(
        row=row,
        given=label,
        predicted=probabilities.argmax(axis=1),
        score=score,
        gap=gap,
        probability=probabilities[np.arange(len(key)), label],
        runs=runs,
    )
    order = highest_first(score)
    return Ranking(*(column[order] for column in ranking))


def judge(ranking: Ranking, true: np.ndarray) -> dict[str, Any]:
    """How well each score finds labels that are known to be wrong.

    Args:
      ranking: see `Ranking`.
      true: int (n,), the true labels in its order.

    Returns:
      `images`, `wrong_labels`, and for each of `SCORES` its `auroc`,
      `precision_at_wrong_labels` (as many images as there are wrong labels) and
      `precision_at_100`; None where there is nothing to judge.
    """
    wrong = true != ranking.given
    count = int(wrong.sum())
    found: dict[str, Any] = {"images": len(wrong), "wrong_labels": count}
    for name in SCORES:
        values = getattr(ranking, name)
        found[name] = {
            "auroc": auroc(values, wrong),
            "precision_at_wrong_labels": precision_at(count, values, wrong),
            "precision_at_100": precision_at(TOP, values, wrong) if count else None,
        }
    return found


def over_runs(rankings: Sequence[Ranking], labels: np.ndarray) -> dict[str, Any]:
    """`judge` of each run's own ranking, never of their mean.

    The list of all runs together ranks better than one model does, as ensembles do.

    Args:
      rankings: one a run.
      labels: int32 (N,), the true labels of the data set.

    Returns:
      `runs`, how many; and what `judge` does, `images` and `wrong_labels` being
      means over runs and the others spreads, see `selections.spread`; None where a
      run has no such value.
    """
    found = [judge(ranking, labels[ranking.row]) for ranking in rankings]
    whole: dict[str, Any] = {"runs": len(found)} | {
        name: float(np.mean([one[name] for one in found]))
        for name in ("images", "wrong_labels")
    }
    for score in SCORES:
        values = {name: [one[score][name] for one in found] for name in found[0][score]}
        whole[score] = {
            name: None if None in some else spread(some)
            for name, some in values.items()
        }
    return whole
