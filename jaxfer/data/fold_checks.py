"""What a fold must hold before anything is trained on it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxfer.errors import DataError

if TYPE_CHECKING:
    from jaxfer.data.splits import Columns, Fold, Settings

_FEW = 5
"""Fewer validation images than this may be of one class by chance."""

_SHOWN = 10
"""Names that a message shows of a long list."""


def check_fold(
    table: "Columns",
    class_names: tuple[str, ...],
    protocol: "Settings",
    number: int,
    fold: "Fold",
) -> None:
    """Refuses a fold that cannot be trained, tested or validated on.

    Args:
      table: columns `label`, `split` and `subject`, each of length N.
      class_names: names of the classes, for messages.
      protocol: the fold's protocol, for messages.
      number: which fold it is, from 0.
      fold: its rows.

    Raises:
      DataError: no training or test images; a class that is tested but never
        trained; five or more validation images that are all of one class,
        though several are trained.
    """
    for part in ("train", "test"):
        if getattr(fold, part).size == 0:
            raise DataError(
                f"Fold {number} has no {part} images ({len(table.label)} images "
                f"in all, protocol {protocol.kind!r}, {protocol.folds} folds, "
                f"validation share {protocol.validation}). Use fewer folds or "
                "a smaller validation share."
            )
    trained, validated, tested = (
        np.unique(table.label[rows])
        for rows in (fold.train, fold.validation, fold.test)
    )
    unseen = [class_names[k] for k in np.setdiff1d(tested, trained)]
    if unseen:
        raise DataError(
            f"Fold {number} tests classes that its training part lacks: "
            f"{listed(unseen)} (protocol {protocol.kind!r}, validation "
            f"{protocol.validation_kind!r}). Use protocol.kind 'stratified' or "
            "'subject' with protocol.validation_kind 'stratified', or leave these "
            "classes out."
        )
    if fold.validation.size >= _FEW and validated.size == 1 and trained.size > 1:
        raise DataError(
            f"Fold {number}'s {fold.validation.size} validation images are all of "
            f"the class {class_names[validated[0]]}, though {trained.size} classes "
            f"are trained (validation {protocol.validation_kind!r}, share "
            f"{protocol.validation}). Use protocol.validation_kind 'stratified'."
        )
    if protocol.kind == "subject":
        training = np.concatenate([fold.train, fold.validation])
        shared = np.intersect1d(table.subject[training], table.subject[fold.test])
        if shared.size:
            raise AssertionError(f"subjects on both sides of a fold: {shared.tolist()}")


def listed(names: Sequence[str]) -> str:
    """Joins names for a message; of many, the first few and how many more."""
    shown = ", ".join(names[:_SHOWN])
    return shown + f" and {len(names) - _SHOWN:,} more" * (len(names) > _SHOWN)
