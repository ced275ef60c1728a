"""How an epoch's batches are drawn: rows of the table, one line per step."""

import difflib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jaxfer.data.pairs import pair_order
from jaxfer.errors import ConfigError, DataError

Rows = NDArray[np.int32]
"""Rows of a data set's table, int32 (n,)."""

PADDING = -1
"""Stands where a batch has no further row; such places carry no weight."""


def _shuffle(
    labels: NDArray[np.int32], rows: Rows, batch_size: int, rng: np.random.Generator
) -> Rows:
    del labels  # every row is as likely as any other
    steps = _full_batches(rows, batch_size)
    return rng.permutation(rows)[: steps * batch_size].reshape(steps, batch_size)


def _sequential(
    labels: NDArray[np.int32], rows: Rows, batch_size: int, rng: np.random.Generator
) -> Rows:
    del labels, rng  # the order is the table's
    steps = -(-rows.size // batch_size)
    order = np.full(steps * batch_size, PADDING, np.int32)
    order[: rows.size] = rows
    return order.reshape(steps, batch_size)


def _balanced(
    labels: NDArray[np.int32], rows: Rows, batch_size: int, rng: np.random.Generator
) -> Rows:
    shape = (_full_batches(rows, batch_size), batch_size)
    members = _by_class(labels, rows)
    counts = np.array([len(of_class) for of_class in members])
    drawn = rng.integers(len(members), size=shape)
    places = (counts.cumsum() - counts)[drawn] + rng.integers(counts[drawn])
    return np.concatenate(members)[places]


def _triplet(
    labels: NDArray[np.int32], rows: Rows, batch_size: int, rng: np.random.Generator
) -> Rows:
    members = _by_class(labels, rows)
    if len(members) < 2:
        raise DataError(
            f"Triplet batches need images of at least 2 classes; the {rows.size} "
            f"training images are of {len(members)}."
        )
    t, rest = divmod(batch_size, len(members))
    if rest:
        raise DataError(
            f"A triplet batch holds equally many images of each of the "
            f"{len(members)} classes, so its size is a multiple of {len(members)}; "
            f"found {batch_size}. Use {max(t, 1) * len(members)} or "
            f"{(max(t, 1) + 1) * len(members)}."
        )
    steps = max(1, rows.size // batch_size)
    columns = [_take_turns(of_class, t, steps, rng) for of_class in members]
    # Mixed, so that devices that share a batch see all classes alike.
    return rng.permuted(np.concatenate(columns, axis=1), axis=1)


def _take_turns(members: Rows, t: int, steps: int, rng: np.random.Generator) -> Rows:
    """Draws (steps, t) of a class's rows, all of them about equally often.

    No line repeats a row, unless the class has fewer than t; then each line
    holds all of them, and none more than once oftener than another.
    """
    if members.size < t:
        rounds = -(-t // members.size)
        lines = np.tile(members, (steps * rounds, 1))
        return rng.permuted(lines, axis=1).reshape(steps, -1)[:, :t]
    usable = members.size // t * t
    passes = -(-steps * t // usable)
    drawn = np.concatenate([rng.permutation(members)[:usable] for _ in range(passes)])
    return drawn[: steps * t].reshape(steps, t)


def _by_class(labels: NDArray[np.int32], rows: Rows) -> list[Rows]:
    """The rows of each class that has any, in order of classes."""
    of_row = labels[rows]
    ordered = rows[np.argsort(of_row, kind="stable")]
    counts = np.unique(of_row, return_counts=True)[1]
    return np.split(ordered, counts.cumsum()[:-1])


def _full_batches(rows: Rows, batch_size: int) -> int:
    steps = rows.size // batch_size
    if steps == 0:
        raise DataError(
            f"The training part has {rows.size} images, fewer than one batch of "
            f"{batch_size}. Lower the batch size or use fewer folds or less "
            "validation data."
        )
    return steps


_Sampler = Callable[[NDArray[np.int32], Rows, int, np.random.Generator], Rows]

PAIRS = "pairs"
"""The sampler that needs to know who is seen."""

TRIPLET = "triplet"
"""The sampler whose batches have as many images of each class."""

SAMPLERS: dict[str, _Sampler] = {
    "shuffle": _shuffle,
    "sequential": _sequential,
    "balanced": _balanced,
    TRIPLET: _triplet,
}
"""The other samplers by the name that a method gives."""


def epoch_order(
    name: str,
    labels: NDArray[np.int32],
    rows: Rows,
    *,
    batch_size: int,
    rng: np.random.Generator,
    subjects: NDArray[np.str_],
) -> Rows:
    """Draws the batches of one epoch.

    `shuffle` takes a fresh permutation and drops the remainder, so every batch
    is full; `sequential` keeps the order of `rows` and fills the last batch
    with `PADDING`. `balanced` draws with replacement, every class being as
    likely as any other, as many steps as `shuffle`. `triplet` puts equally many
    images of each class into every batch, none twice unless a class has too
    few; as many steps as `shuffle`, and at least one. Classes are those that
    `rows` have, not all of the data set. `pairs` is `jaxfer.data.pairs.pair_order`.

    Args:
      name: a key of `SAMPLERS`, or `PAIRS`.
      labels: classes of the whole table, int32 (N,); `rows` point into it.
      rows: the rows to draw from, int32 (n,).
      batch_size: rows per step, B.
      rng: the only source of chance; the same state gives the same order.
      subjects: who is seen, str (N,), "" where unknown; read by `pairs` alone.

    Returns:
      int32 (S, B), one line per step.

    Raises:
      ConfigError: an unknown sampler, a batch size below 1, or an odd one for pairs.
      DataError: `shuffle` or `balanced` with fewer rows than one batch;
        `triplet` with a batch size that is not a multiple of the number of
        classes, or with one class alone; `pairs` without subjects or partners.
    """
    known = [*SAMPLERS, PAIRS]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"Unknown sampler {name!r}; expected one of {sorted(known)}. "
            f"Did you mean {near!r}?"
        )
    if batch_size < 1:
        raise ConfigError(f"The batch size must be at least 1, found {batch_size}.")
    if name == PAIRS:
        return pair_order(labels, subjects, rows, batch_size=batch_size, rng=rng)
    return SAMPLERS[name](labels, np.asarray(rows, np.int32), batch_size, rng)
