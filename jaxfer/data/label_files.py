"""Lists of labels as text files, in RAF-DB's format."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jaxfer.errors import DataError, first_of
from jaxfer.files import write_atomically

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


def label_files(value: str | Sequence[str]) -> tuple[Path, ...]:
    """The paths in a config's list of files, one string with commas or several."""
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(Path(part.strip()) for part in parts if part.strip())


def read_label_file(
    path: str | Path,
    table: Named,
    class_names: Sequence[str],
    *,
    needed: NDArray[np.integer] | None = None,
) -> NDArray[np.int32]:
    """Reads a list of labels in RAF-DB's format, for any data set.

    Each line names an image and its class, counted from 1 in the data set's own
    order: `train_00001.jpg 5`. An image is named by its whole name in the table
    or, where no other image has the same, by the name without folders and
    without RAF-DB's `_aligned`. Parts of the data set that the file does not
    name at all keep the table's labels; a part that it names must be whole, or have
    all of the rows that are needed.

    Args:
      path: the file.
      table: columns `file`, `label` and `split`, each of length N.
      class_names: K names, in the order of the labels.
      needed: rows (n,) of which the file must name some, and all of a part that it
        names; by default all rows.

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
    rows_needed = np.arange(len(named)) if needed is None else needed
    if not named[rows_needed].any():
        which = " that is asked for" if named.any() else ""
        raise DataError(f"{path} names no image{which}; expected lines of {classes}.")
    partly = np.isin(table.split, np.unique(table.split[named])) & ~named
    partly &= np.isin(np.arange(len(named)), rows_needed)
    missing = [repr(str(name)) for name in table.file[partly]]
    _refuse(path, missing, "no label, though others of the same part have one")
    return np.where(named, labels, table.label).astype(np.int32)


def write_label_file(
    path: str | Path,
    table: Named,
    labels: NDArray[np.int32],
    rows: NDArray[np.integer] | None = None,
) -> None:
    """Writes labels as `read_label_file` reads them.

    Images get their short names (`train_00001.jpg`) where these tell all images
    of the table apart, else their whole ones. The file appears whole or not at
    all.

    Args:
      path: the file.
      table: column `file`, of length N.
      labels: classes from 0, int32 (N,).
      rows: which rows to write, (n,); by default all.
    """
    path = Path(path)
    names = [_short(str(file)) for file in table.file]
    if len(set(names)) < len(names):
        names = [str(file) for file in table.file]
    chosen = np.arange(len(names)) if rows is None else rows
    lines = (f"{names[row]} {labels[row] + 1}\n" for row in chosen)
    write_atomically(path, "".join(lines))


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
        raise DataError(f"{path}: {what}: {first_of(entries, _SHOWN)}.")
