"""Whether pictures of one class look alike, whoever is seen in them.

Squared distances of all pairs follow from sums alone: those of n vectors x have
the sum `n sum |x|^2 - |sum x|^2`, each pair counted once. Sums of batches add up, so
that no more than one picture for each class and person is held.
"""

from typing import NamedTuple

import numpy as np


class Sums(NamedTuple):
    """Sums of vectors by group; those of parts add up to those of the whole.

    Attributes:
      number: (G,), vectors in each group.
      total: (G, D), their sum.
      square: (G,), the sum of their squared norms.
    """

    number: np.ndarray
    total: np.ndarray
    square: np.ndarray


def sums(vectors: np.ndarray, group: np.ndarray, groups: int) -> Sums:
    """The sums of (n, ...) vectors, each in one of G groups; float64."""
    flat = vectors.reshape(len(vectors), -1).astype(np.float64)
    order = np.argsort(group, kind="stable")
    present, first = np.unique(group[order], return_index=True)
    total = np.zeros((groups, flat.shape[1]))
    total[present] = np.add.reduceat(flat[order], first)
    number = np.bincount(group, minlength=groups).astype(np.float64)
    norms = np.einsum("nd,nd->n", flat, flat)
    return Sums(number, total, np.bincount(group, norms, minlength=groups))


def add(one: Sums, other: Sums) -> Sums:
    """The sums of both parts together."""
    return Sums(*(a + b for a, b in zip(one, other)))


def _pairs(part: Sums, label: np.ndarray) -> np.ndarray:
    """Number of pairs with equal labels, and the sum of their squared distances.

    A label below 0 is no label: its groups are left out.
    """
    pairs = excess = 0.0
    for value in np.unique(label[label >= 0]):
        mine = label == value
        count, total = part.number[mine].sum(), part.total[mine].sum(axis=0)
        pairs += count * (count - 1) / 2
        excess += count * part.square[mine].sum() - total @ total
    return np.array([pairs, excess])


def distances(part: Sums, label: np.ndarray, subject: np.ndarray) -> dict[str, float]:
    """Mean squared distances of pairs of vectors, per element.

    Args:
      part: the sums of G groups, each of one class and subject.
      label: int (G,), the groups' classes.
      subject: int (G,), their subjects, below 0 where unknown.

    Returns:
      `within_class`: pairs of a class. `within_class_across_identities`: of these,
      those of different known subjects. `between_classes`: pairs of different
      classes. `between_classes_same_identity`: of these, those of one known subject.
      `ratio`: between_classes by within_class. `ratio_across_identities`:
      between_classes_same_identity by within_class_across_identities; above 1 the
      expression tells more than the person. NaN where there is no such pair.
    """
    known = part._replace(
        number=part.number * (subject >= 0),
        total=part.total * (subject >= 0)[:, None],
        square=part.square * (subject >= 0),
    )
    every = _pairs(part, np.zeros_like(label))
    of_class = _pairs(part, label)
    both = np.where(subject >= 0, label * (subject.max(initial=-1) + 1) + subject, -1)
    of_both = _pairs(part, both)
    pairs = {
        "within_class": of_class,
        "within_class_across_identities": _pairs(known, label) - of_both,
        "between_classes": every - of_class,
        "between_classes_same_identity": _pairs(part, subject) - of_both,
    }
    size = part.total.shape[1]
    found = {name: _mean(values, size) for name, values in pairs.items()}
    found["ratio"] = _ratio(found["between_classes"], found["within_class"])
    found["ratio_across_identities"] = _ratio(
        found["between_classes_same_identity"], found["within_class_across_identities"]
    )
    return found


def _mean(pairs: np.ndarray, size: int) -> float:
    number, total = pairs.tolist()
    return max(total, 0.0) / (number * size) if number >= 1 else float("nan")


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else float("nan")


def class_means(part: Sums, label: np.ndarray, classes: int) -> np.ndarray:
    """The mean vector of each class, (K, D); NaN of a class without any.

    Args:
      part: the sums of G groups.
      label: int (G,), their classes.
      classes: K.
    """
    member = (np.arange(classes)[:, None] == label[None]).astype(np.float64)
    count = member @ part.number
    means = member @ part.total / np.maximum(count, 1)[:, None]
    return np.where(count[:, None] > 0, means, np.nan)


def nearest(vectors: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The class whose mean is nearest to each vector, by Euclidean distance.

    Args:
      vectors: (n, ...).
      means: (K, D); a class with NaN is never chosen.

    Returns:
      int (n,); of equally near classes the first.
    """
    flat = vectors.reshape(len(vectors), -1).astype(np.float64)
    absent = np.isnan(means).any(axis=1)
    filled = np.where(absent[:, None], 0.0, means)
    apart = np.square(filled).sum(axis=1)[None] - 2 * flat @ filled.T
    return np.where(absent[None], np.inf, apart).argmin(axis=1)


def principal_plane(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors seen along the two directions in which they vary most.

    Each direction's sign makes the coordinate of largest size positive, so that the
    picture does not depend on the library's choice.

    Args:
      vectors: (n, D), n and D at least 2.

    Returns:
      Coordinates (n, 2), and the directions' shares of the variance (2,).

    References:
      Pearson, On lines and planes of closest fit to systems of points in space,
      Philosophical Magazine 2, 1901: principal component analysis.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    flat = left[:, :2] * singular[:2]
    largest = flat[np.abs(flat).argmax(axis=0), np.arange(2)]
    variance = np.square(singular)
    share = variance[:2] / max(variance.sum(), np.finfo(np.float64).tiny)
    return flat * np.where(largest < 0, -1.0, 1.0), share
