"""Wrong labels on purpose, and lists of labels as text files."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxfer.errors import ConfigError, DataError

KINDS = ("symmetric", "pair")

_SHOWN = 3
"""How many offending entries an error shows."""

_ALIGNED = "_aligned"
"""RAF-DB's lists say train_00001.jpg for the image train_00001_aligned.jpg."""


class Named(Protocol):
    """The columns of a table that label files need, each of length N."""

    @property
    def file(self) -> NDArray[np.str_]:
        """Name relative to the source."""

    @property
    def label(self) -> NDArray[np.int32]:
        """Class of each row."""

    @property
    def split(self) -> NDArray[np.str_]:
        """The source's own part: train, validation, test or all."""


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


def read_label_file(
    path: str | Path, table: Named, class_names: Sequence[str]
) -> NDArray[np.int32]:
    """Reads a list of labels in RAF-DB's format, for any data set.

    Each line names an image and its class, counted from 1 in the data set's own
    order: `train_00001.jpg 5`. An image is named by its whole name in the table
    or, where no other image has the same, by the name without folders and
    without RAF-DB's `_aligned`. Parts of the data set that the file does not
    name at all keep the table's labels; a part that it names must be whole.

    Args:
      path: the file.
      table: columns `file`, `label` and `split`, each of length N.
      class_names: K names, in the order of the labels.

    Returns:
      int32 (N,). Test rows are as the file has them: take the training rows of
      it where the test labels must stay clean.

    Raises:
      DataError: the file cannot be read, or names images that the table lacks,
        an image twice, classes that are not 1 to K, or a part incompletely; the
        message gives the first offending entries.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the label file {path}: {error}.") from error
    rows = _rows_by_name(table.file)
    labels = np.full(len(table.label), -1, np.int32)
    unknown, wrong, twice = [], [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        *names, text = line.rsplit(maxsplit=1)  # names may hold spaces
        name = names[0].strip() if names else ""
        entry = f"line {number}: {line.strip()!r}"
        row = rows.get(name, -1)
        known = text.isascii() and text.isdigit() and len(text) < 9
        if not name or not known or not 1 <= int(text) <= len(class_names):
            wrong.append(entry)
        elif row < 0:
            unknown.append(entry)
        elif labels[row] >= 0:
            twice.append(entry)
        else:
            labels[row] = int(text) - 1
    classes = f"an image and a class from 1 to {len(class_names)}"
    _refuse(path, wrong, f"expected {classes} ({', '.join(class_names)})")
    _refuse(path, unknown, "the data set has no such image, or several")
    _refuse(path, twice, "the image was named before")
    named = labels >= 0
    if not named.any():
        raise DataError(f"{path} names no image; expected lines of {classes}.")
    partly = np.isin(table.split, np.unique(table.split[named])) & ~named
    missing = [repr(str(name)) for name in table.file[partly]]
    _refuse(path, missing, "no label, though others of the same part have one")
    return np.where(named, labels, table.label).astype(np.int32)


def write_label_file(
    path: str | Path,
    table: Named,
    labels: NDArray[np.int32],
    rows: NDArray[np.int32] | None = None,
) -> None:
    """Writes labels as `read_label_file` reads them.

    Images get their short names (`train_00001.jpg`) where these tell all images
    of the table apart, else their whole ones. The file appears whole or not at
    all.

    Args:
      path: the file.
      table: column `file`, of length N.
      labels: classes from 0, int32 (N,).
      rows: which rows to write, int32 (n,); by default all.
    """
    path = Path(path)
    names = [_short(str(file)) for file in table.file]
    if len(set(names)) < len(names):
        names = [str(file) for file in table.file]
    chosen = np.arange(len(names)) if rows is None else rows
    draft = path.with_name(path.name + ".part")
    with draft.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{names[row]} {labels[row] + 1}\n" for row in chosen)
    draft.replace(path)


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
    if not np.isfinite(matrix).all() or (matrix < 0).any():
        raise ConfigError("The confusion matrix has negative or infinite entries.")
    np.fill_diagonal(matrix, 0.0)
    empty = np.flatnonzero(matrix.sum(axis=1) == 0)
    if empty.size:
        raise ConfigError(
            f"Row {empty[0]} of the confusion matrix is zero off its diagonal; say "
            "which other classes this class is taken for."
        )
    return matrix


def _rows_by_name(files: NDArray[np.str_]) -> dict[str, int]:
    """Every name by which a label file may call a row; ambiguous ones are -1."""
    rows: dict[str, int] = {}
    for row, file in enumerate(files.tolist()):
        rows[_short(file)] = -1 if _short(file) in rows else row
    return rows | {file: row for row, file in enumerate(files.tolist())}


def _short(file: str) -> str:
    path = PurePosixPath(file)
    return path.stem.removesuffix(_ALIGNED) + path.suffix


def _refuse(path: Path, entries: list[str], what: str) -> None:
    if entries:
        shown = "; ".join(entries[:_SHOWN])
        more = f"; and {len(entries) - _SHOWN:,} more" if entries[_SHOWN:] else ""
        raise DataError(f"{path}: {what}: {shown}{more}.")
