"""Protocols: which rows of a table train, validate and test in each fold."""

import difflib
import math
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from jaxfer.data.fold_checks import check_fold, listed
from jaxfer.errors import ConfigError, DataError

Rows = NDArray[np.int32]
"""Rows of a data set's table, int32 (n,), ascending."""

WORDS = {
    "given": "the test split that the data set's owner gives",
    "subject": "{folds} folds with disjoint subjects",
    "stratified": "{folds} folds, stratified by class",
    "file_order": "{folds} folds of consecutive images in file order",
    "holdout": "1/{folds} of every class's images, held out at random",
}
"""What each kind of protocol is, for people to read."""

KINDS = tuple(WORDS)
VALIDATION_KINDS = ("last", "random", "stratified", "subject", "given")


class Fold(NamedTuple):
    """The rows of one fold; the three parts never share a row."""

    train: Rows
    validation: Rows
    test: Rows


class Columns(Protocol):
    """The columns of a table that splitting reads, each of length N."""

    @property
    def label(self) -> NDArray[np.int32]:
        """Class of each row."""

    @property
    def split(self) -> NDArray[np.str_]:
        """The source's own part: train, validation, test or all."""

    @property
    def subject(self) -> NDArray[np.str_]:
        """Who is shown; empty where unknown."""


class Settings(Protocol):
    """What `make_folds` reads from a config's protocol."""

    @property
    def kind(self) -> str:
        """One of `KINDS`."""

    @property
    def folds(self) -> int:
        """Number of folds; ignored by kind `given`; of `holdout`, see `make_folds`."""

    @property
    def validation(self) -> float:
        """Share of the training part held out for validation."""

    @property
    def validation_kind(self) -> str:
        """One of `VALIDATION_KINDS`."""

    @property
    def train_fraction(self) -> float:
        """Share of the rest of the training part that is trained on."""

    @property
    def seed(self) -> int:
        """Seed of all that is random here."""


def make_folds(
    table: Columns, class_names: tuple[str, ...], protocol: Settings
) -> list[Fold]:
    """Splits a table by a protocol, the same way every time.

    Kinds: `given` is one fold, the source's own test part against the rest;
    `subject` keeps all images of a person on one side, with folds of nearly
    equal size and class counts; `stratified` deals each class out evenly,
    whoever is shown; `file_order` cuts the table into consecutive blocks of
    floor(N / k) rows, the last block taking the remainder; `holdout` is one fold,
    which tests a k-th of every class, the first of k stratified folds. There may be
    fewer than k images of a class then: some such classes are not tested, and each
    keeps an image to train on, also from validation.

    Validation comes out of the training part: its `last` rows in table order,
    `random` rows, a `stratified` share of every class, whole people
    (`subject`), or the source's own validation part (`given`, which ignores
    the share). Under kind `given` with another validation kind, the source's
    validation rows belong to the training part. Of what is left to train on,
    `train_fraction` is drawn, the same share of every class; a smaller share's rows
    are among a greater one's.

    Args:
      table: columns `label`, `split` and `subject`, each of length N.
      class_names: names of the classes, for messages.
      protocol: `kind`, `folds`, `validation`, `validation_kind`, `train_fraction`
        and `seed`.

    Returns:
      One `Fold` of ascending int32 rows per fold.

    Raises:
      ConfigError: an unknown kind, or a number out of its range.
      DataError: the table cannot be split that way, or a fold tests a class that
        it does not train, or validates on one class; the message says why.
    """
    _check(protocol)
    if protocol.kind == "given":
        tests = [_given_test(table)]
    elif protocol.kind == "holdout":
        tests = [_holdout_test(table, protocol)]
    else:
        fold_of_row = {
            "subject": _by_subject,
            "stratified": _stratified,
            "file_order": _file_order,
        }[protocol.kind](table, class_names, protocol)
        tests = [np.flatnonzero(fold_of_row == i) for i in range(protocol.folds)]
    everything = np.arange(len(table.label))
    folds = []
    for number, test in enumerate(tests):
        rest = np.setdiff1d(everything, test, assume_unique=True)
        validation = _validation(table, rest, protocol, number)
        if protocol.kind == "holdout":
            validation = _sparing(table, rest, validation)
        train = np.setdiff1d(rest, validation, assume_unique=True)
        if protocol.train_fraction < 1.0:
            rng = np.random.default_rng([protocol.seed, 4, number])
            count = max(1, round(protocol.train_fraction * train.size))
            train = np.sort(_evenly(table, rng.permutation(train))[:count])
        fold = Fold(*(rows.astype(np.int32) for rows in (train, validation, test)))
        check_fold(table, class_names, protocol, number, fold)
        folds.append(fold)
    return folds


def _check(protocol: Settings) -> None:
    for field, value, known in (
        ("kind", protocol.kind, KINDS),
        ("validation_kind", protocol.validation_kind, VALIDATION_KINDS),
    ):
        if value not in known:
            near = difflib.get_close_matches(str(value), known, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"protocol.{field} is {value!r}; expected one of {list(known)}. "
                f"Did you mean {near!r}?"
            )
    if protocol.kind != "given" and protocol.folds < 2:
        raise ConfigError(
            f"protocol.folds is {protocol.folds}; kind {protocol.kind!r} needs at "
            "least 2. For a single test part use kind 'given'."
        )
    if not 0.0 <= protocol.validation < 1.0:
        raise ConfigError(
            f"protocol.validation is {protocol.validation}; expected a share of the "
            "training part, at least 0 and below 1."
        )
    if not 0.0 < protocol.train_fraction <= 1.0:
        raise ConfigError(
            f"protocol.train_fraction is {protocol.train_fraction}; expected a share "
            "of the images left to train on, above 0 and at most 1."
        )
    if protocol.validation_kind == "given" and protocol.kind != "given":
        raise ConfigError(
            "protocol.validation_kind 'given' uses the source's own validation part "
            f"and needs protocol.kind 'given', found {protocol.kind!r}. Choose "
            "'last', 'random', 'stratified' or 'subject'."
        )


def _given_test(table: Columns) -> NDArray[np.intp]:
    present = sorted(set(table.split.tolist()))
    if not {"train", "test"} <= set(present) or "all" in present:
        raise DataError(
            "protocol.kind 'given' needs the source's own 'train' and 'test' parts; "
            f"found {present}. Use kind 'subject' or 'stratified' instead."
        )
    return np.flatnonzero(table.split == "test")


def _file_order(
    table: Columns, class_names: tuple[str, ...], protocol: Settings
) -> NDArray[np.intp]:
    del class_names
    n, k = len(table.label), protocol.folds
    if k > n:
        raise DataError(f"{k} folds need at least {k} images, found {n}.")
    return np.minimum(np.arange(n) // (n // k), k - 1)


def _stratified(
    table: Columns, class_names: tuple[str, ...], protocol: Settings
) -> NDArray[np.intp]:
    label, k = table.label, protocol.folds
    counts = np.bincount(label, minlength=len(class_names))
    few = [
        f"{name}: {count}" for name, count in zip(class_names, counts) if 0 < count < k
    ]
    if few:
        raise DataError(
            f"{k} stratified folds need at least {k} images of every class; found "
            f"{listed(few)}. Use fewer folds, or add images, or leave these "
            "classes out."
        )
    return _dealt(table, protocol)


def _dealt(table: Columns, protocol: Settings) -> NDArray[np.intp]:
    """Fold of each row, every class dealt out evenly."""
    label, k = table.label, protocol.folds
    rng = np.random.default_rng([protocol.seed, 1])
    shuffled = rng.permutation(len(label))
    by_class = shuffled[np.argsort(label[shuffled], kind="stable")]
    # Dealt in one round over all classes, so that sizes differ by one at most.
    fold_of_row = np.empty(len(label), np.intp)
    fold_of_row[by_class] = np.arange(len(label)) % k
    return fold_of_row


def _holdout_test(table: Columns, protocol: Settings) -> NDArray[np.intp]:
    # Of two images of a class or more, no fold takes all.
    alone = np.bincount(table.label)[table.label] == 1
    return np.flatnonzero((_dealt(table, protocol) == 0) & ~alone)


def _sparing(
    table: Columns, rest: NDArray[np.intp], validation: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Validation rows but the first of each class that it would take whole."""
    counts, taken = (np.bincount(table.label[rows]) for rows in (rest, validation))
    whole = np.flatnonzero(taken == counts[: taken.size])
    classes, first = np.unique(table.label[validation], return_index=True)
    return np.delete(validation, first[np.isin(classes, whole)])


def _by_subject(
    table: Columns, class_names: tuple[str, ...], protocol: Settings
) -> NDArray[np.intp]:
    subjects, subject_of_row = _subjects(table, np.arange(len(table.label)))
    k = protocol.folds
    if k > len(subjects):
        raise DataError(
            f"{k} folds by subject need at least {k} subjects, found "
            f"{len(subjects)}. Use at most {len(subjects)} folds."
        )
    counts = np.zeros((len(subjects), len(class_names)))
    np.add.at(counts, (subject_of_row, table.label), 1.0)
    counts = np.append(counts, counts.sum(1, keepdims=True), axis=1)
    # Squared counts relative to the column's total, so that rare classes weigh
    # as much as common ones; the last column, a fold's size, weighs as much as
    # all classes together and makes an empty fold the first choice.
    weights = 1.0 / np.maximum(counts.sum(0), 1.0)
    weights[-1] *= len(class_names)
    rng = np.random.default_rng([protocol.seed, 2])
    order = rng.permutation(len(subjects))
    order = order[np.argsort(-counts[order, -1], kind="stable")]
    totals = np.zeros((k, counts.shape[1]))
    fold_of_subject = np.empty(len(subjects), np.intp)
    for subject in order:
        added = (weights * counts[subject] * (2 * totals + counts[subject])).sum(1)
        fold = int(np.argmin(added))
        fold_of_subject[subject] = fold
        totals[fold] += counts[subject]
    return fold_of_subject[subject_of_row]


def _validation(
    table: Columns, rest: NDArray[np.intp], protocol: Settings, fold: int
) -> NDArray[np.intp]:
    kind = protocol.validation_kind
    if kind == "given":
        rows = rest[table.split[rest] == "validation"]
        if rows.size == 0:
            raise DataError(
                "protocol.validation_kind 'given' needs the source's own 'validation' "
                "part, which this data set lacks. Choose 'stratified', 'random', "
                "'last' or 'subject'."
            )
        return rows
    if protocol.validation == 0.0:
        return rest[:0]
    # Keras' validation_split rounds the same way: the training part rounds down.
    held_out = max(1, rest.size - math.floor(rest.size * (1.0 - protocol.validation)))
    if kind == "last":
        return rest[rest.size - held_out :]
    rng = np.random.default_rng([protocol.seed, 3, fold])
    if kind == "subject":
        return _some_subjects(table, rest, held_out, rng)
    shuffled = rng.permutation(rest)
    if kind == "stratified":
        shuffled = _evenly(table, shuffled)
    return np.sort(shuffled[:held_out])


def _evenly(table: Columns, shuffled: NDArray[np.intp]) -> NDArray[np.intp]:
    """Reorder rows so that each beginning has the same share of every class."""
    # A row's place within its class, as a fraction: the rows below any
    # threshold are the same share of every class, to within one row.
    label = table.label[shuffled]
    counts = np.bincount(label)
    first = np.cumsum(counts) - counts
    by_class = np.argsort(label, kind="stable")
    of_class = label[by_class]
    place = np.empty(shuffled.size)
    place[by_class] = (np.arange(label.size) - first[of_class] + 0.5) / counts[of_class]
    return shuffled[np.argsort(place, kind="stable")]


def _some_subjects(
    table: Columns, rest: NDArray[np.intp], held_out: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    subjects, subject_of_row = _subjects(table, rest)
    if len(subjects) < 2:
        raise DataError(
            "Validation by subject needs at least 2 subjects in the training part, "
            f"found {len(subjects)}. Choose another protocol.validation_kind."
        )
    order = rng.permutation(len(subjects))
    reached = np.cumsum(np.bincount(subject_of_row)[order])[:-1]
    chosen = order[: 1 + int(np.argmin(np.abs(reached - held_out)))]
    return rest[np.isin(subject_of_row, chosen)]


def _subjects(
    table: Columns, rows: NDArray[np.intp]
) -> tuple[NDArray[np.str_], NDArray[np.intp]]:
    names = table.subject[rows]
    unknown = int((names == "").sum())
    if unknown:
        raise DataError(
            f"Splitting by subject needs to know who is shown; {unknown} of "
            f"{rows.size} images have no subject. Use protocol.kind 'stratified' or "
            "'given' (and another validation_kind than 'subject')."
        )
    subjects, subject_of_row = np.unique(names, return_inverse=True)
    return subjects, subject_of_row
