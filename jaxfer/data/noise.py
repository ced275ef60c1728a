"""Wrong labels on purpose."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxfer.errors import ConfigError, DataError

KINDS = ("symmetric", "pair")


def corrupt_labels(
    labels: NDArray[np.int32],
    *,
    num_classes: int,
    kind: str = "symmetric",
    rate: float,
    rng: np.random.Generator,
    confusion: ArrayLike | None = None,
) -> NDArray[np.int32]:
    """Replaces a share of labels by other classes.

    Exactly `round(rate * n)` labels change, drawn without regard to class.
    `symmetric` gives each of them any other class with the same chance. `pair`
    gives class k the class j with the chance `confusion[k, j]`, the diagonal
    being left out. From generators in the same state, a smaller rate changes a
    subset of what a greater rate changes, to the same classes, so that rates
    compare on the same mistakes.

    Args:
      labels: true classes, int32 (n,); normally of training rows alone.
      num_classes: K.
      kind: one of `KINDS`.
      rate: share of the labels that change, 0 to 1.
      rng: the only source of chance.
      confusion: for `pair`, (K, K), not negative; rows are true classes and
        need not sum to 1. By default every class turns into the next one and
        the last into the first.

    Returns:
      int32 (n,), a new array.

    Raises:
      ConfigError: an unknown kind, a rate out of range, fewer than two classes,
        or a confusion matrix of another shape, with negative or infinite
        entries, or with a row that names no other class.
      DataError: labels outside 0 to K - 1.

    References:
      Zhang et al., "Learn From All: Erasing Attention Consistency for Noisy
      Label Facial Expression Recognition", https://arxiv.org/abs/2207.10299
      (symmetric noise); Han et al., "Co-teaching",
      https://arxiv.org/abs/1804.06872 (pair flips).
    """
    if kind not in KINDS:
        raise ConfigError(f"noise kind is {kind!r}; expected one of {list(KINDS)}.")
    if not 0.0 <= rate <= 1.0:
        raise ConfigError(f"noise rate is {rate}; expected a share, 0 to 1.")
    if num_classes < 2:
        raise ConfigError(f"Wrong labels need at least 2 classes, found {num_classes}.")
    labels = np.asarray(labels, np.int32)
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise DataError(
            f"Labels must be within 0 to {num_classes - 1}; found {labels.min()} to "
            f"{labels.max()}."
        )
    if kind == "symmetric":
        if confusion is not None:
            raise ConfigError("A confusion matrix belongs to noise kind 'pair'.")
        chances = 1.0 - np.eye(num_classes)
    else:
        chances = _chances(confusion, num_classes)
    # All rows draw, so that what one of them becomes does not hang on the rate.
    first = rng.permutation(labels.size)[: round(rate * labels.size)]
    upper = chances.cumsum(axis=1)
    drawn = rng.random(labels.size) * upper[labels, -1]
    wrong = (drawn[:, None] >= upper[labels]).sum(axis=1)
    corrupted = labels.copy()
    corrupted[first] = wrong[first]
    return corrupted


def read_confusion(path: str | Path, num_classes: int) -> NDArray[np.float64]:
    """Reads the confusion matrix of `corrupt_labels`.

    Args:
      path: a CSV file without a header, K rows of K numbers; rows are true classes.
      num_classes: K.

    Returns:
      (K, K).

    Raises:
      ConfigError: the file cannot be read, has other rows, or no chances in them;
        the message gives the first row that is wrong.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            lines = [row for row in csv.reader(file) if "".join(row).strip()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"Cannot read the confusion matrix {path}: {error}."
        ) from error
    expected = f"expected {num_classes} rows of {num_classes} numbers, one a class"
    if len(lines) != num_classes:
        raise ConfigError(f"{path}: {expected}; found {len(lines)} rows.")
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append([float(text) for text in line])
        except ValueError as error:
            raise ConfigError(f"{path}: {expected}; row {number}: {error}.") from error
        if len(line) != num_classes:
            raise ConfigError(
                f"{path}: {expected}; row {number} has {len(line)}: {','.join(line)}."
            )
    try:
        _chances(rows, num_classes)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return np.array(rows)


def _chances(confusion: ArrayLike | None, num_classes: int) -> NDArray[np.float64]:
    """Chances without the diagonal; the default is the next class."""
    if confusion is None:
        return np.roll(np.eye(num_classes), 1, axis=1)
    matrix = np.array(confusion, np.float64)
    if matrix.shape != (num_classes, num_classes):
        raise ConfigError(
            f"The confusion matrix has the shape {matrix.shape}; expected "
            f"({num_classes}, {num_classes}), rows being true classes."
        )
    odd = np.flatnonzero(~(np.isfinite(matrix) & (matrix >= 0)).all(axis=1))
    if odd.size:
        raise ConfigError(
            "The confusion matrix has negative or infinite entries, first in row"
            f" {odd[0] + 1}: {matrix[odd[0]].tolist()}."
        )
    np.fill_diagonal(matrix, 0.0)
    empty = np.flatnonzero(matrix.sum(axis=1) == 0)
    if empty.size:
        raise ConfigError(
            f"Row {empty[0] + 1} of the confusion matrix is zero off its diagonal; say "
            "which other classes this class is taken for."
        )
    return matrix
