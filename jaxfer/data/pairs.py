"""Pairs of images: a face, and another expression of the same person."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxfer.errors import ConfigError, DataError

Rows = NDArray[np.int32]
"""Rows of a data set's table, int32 (n,)."""


class Pairable(NamedTuple):
    """Which rows can be paired.

    Attributes:
      rows: of people seen with two or more expressions, in the order given.
      alone: of people seen with one expression only, which have no partner.
      subjects: who these are, sorted.
    """

    rows: Rows
    alone: Rows
    subjects: tuple[str, ...]


def pairable(
    labels: NDArray[np.int32], subjects: NDArray[np.str_], rows: Rows
) -> Pairable:
    """Finds the rows that have a partner: same subject, another expression.

    Args:
      labels: classes of the whole table, int32 (N,).
      subjects: who is seen, str (N,).
      rows: the rows to pair among themselves, int32 (n,).

    Returns:
      The rows with a partner, those without one, and whose they are.

    Raises:
      DataError: a row's subject is unknown, or no row has a partner.
    """
    rows = np.asarray(rows, np.int32)
    names, who = np.unique(subjects[rows], return_inverse=True)
    unknown = int((subjects[rows] == "").sum())
    if unknown:
        raise DataError(
            f"Pairs of one person's images need to know who is seen; {unknown} of "
            f"{rows.size} images have no subject. Use a data set with subjects, "
            "e.g. ckplus, oulu_casia, mmi or synthetic_sessions."
        )
    seen = np.unique(np.stack([who, labels[rows]]), axis=1)
    several = np.bincount(seen[0], minlength=names.size) > 1
    if not several.any():
        raise DataError(
            f"None of the {names.size} subjects is seen with more than one "
            "expression, so that there are no pairs."
        )
    kept = several[who]
    return Pairable(rows[kept], rows[~kept], tuple(names[~several].tolist()))


def pair_order(
    labels: NDArray[np.int32],
    subjects: NDArray[np.str_],
    rows: Rows,
    *,
    batch_size: int,
    rng: np.random.Generator,
) -> Rows:
    """Draws the pairs of one epoch: source rows, each before its target row.

    Every pairable row is a source once, in random order; the remainder that
    does not fill a batch is dropped. Its target is of the same subject: first
    one of the subject's other expressions, each as likely, then one of its
    images. Rows without a partner (see `pairable`) do not occur.

    Args:
      labels: classes of the whole table, int32 (N,); `rows` point into it.
      subjects: who is seen, str (N,).
      rows: the rows to draw from, int32 (n,).
      batch_size: images per step, B, two a pair.
      rng: the only source of chance; the same state gives the same order.

    Returns:
      int32 (S, B): source row, its target row, the next source row, ...

    Raises:
      ConfigError: a batch size that is not 2 or another even number.
      DataError: as in `pairable`, or fewer pairable rows than one batch.
    """
    pairs, rest = divmod(batch_size, 2)
    if pairs < 1 or rest:
        raise ConfigError(
            "A batch of pairs holds an even number of images, 2 at least; found"
            f" {batch_size}."
        )
    found = pairable(labels, subjects, rows)
    steps = found.rows.size // pairs
    if steps == 0:
        raise DataError(
            f"{found.rows.size} images have a partner ({found.alone.size} are of "
            f"people seen with one expression), fewer than one batch of "
            f"{pairs} pairs. Lower the batch size or use fewer folds."
        )
    source = rng.permutation(found.rows)[: steps * pairs]
    target = _targets(labels, subjects, found.rows, source, rng)
    return np.stack([source, target], axis=-1).reshape(steps, batch_size)


def _targets(
    labels: NDArray[np.int32],
    subjects: NDArray[np.str_],
    rows: Rows,
    source: Rows,
    rng: np.random.Generator,
) -> Rows:
    # A group is one person's images of one expression; groups are numbered
    # person by person.
    who = np.unique(subjects[rows], return_inverse=True)[1]
    keys, group, images = np.unique(
        np.stack([who, labels[rows]]), axis=1, return_inverse=True, return_counts=True
    )
    group = group.reshape(-1)
    members = rows[np.argsort(group, kind="stable")]
    first_image = images.cumsum() - images
    groups = np.bincount(keys[0])
    first_group = groups.cumsum() - groups
    group_of_row = np.full(labels.size, -1)
    group_of_row[rows] = group
    own = group_of_row[source]
    person = keys[0][own]
    # One of the person's groups but the own: numbers from the own on move up.
    other = first_group[person] + rng.integers(groups[person] - 1)
    other += other >= own
    return members[first_image[other] + rng.integers(images[other])]
