"""How an epoch's batches are drawn: rows of the table, one line per step."""

import difflib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jaxfer.errors import ConfigError, DataError

Rows = NDArray[np.int32]
"""Rows of a data set's table, int32 (n,)."""

PADDING = -1
"""Stands where a batch has no further row; such places carry no weight."""


def _shuffle(
    labels: NDArray[np.int32], rows: Rows, batch_size: int, rng: np.random.Generator
) -> Rows:
    del labels  # every row is as likely as any other
    steps = rows.size // batch_size
    if steps == 0:
        raise DataError(
            f"The training part has {rows.size} images, fewer than one batch of "
            f"{batch_size}. Lower the batch size or use fewer folds or less "
            "validation data."
        )
    return rng.permutation(rows)[: steps * batch_size].reshape(steps, batch_size)


def _sequential(
    labels: NDArray[np.int32], rows: Rows, batch_size: int, rng: np.random.Generator
) -> Rows:
    del labels, rng  # the order is the table's
    steps = -(-rows.size // batch_size)
    order = np.full(steps * batch_size, PADDING, np.int32)
    order[: rows.size] = rows
    return order.reshape(steps, batch_size)


_Sampler = Callable[[NDArray[np.int32], Rows, int, np.random.Generator], Rows]

SAMPLERS: dict[str, _Sampler] = {"shuffle": _shuffle, "sequential": _sequential}
"""Samplers by the name that a stage gives."""


def epoch_order(
    name: str,
    labels: NDArray[np.int32],
    rows: Rows,
    *,
    batch_size: int,
    rng: np.random.Generator,
) -> Rows:
    """Draws the batches of one epoch.

    `shuffle` takes a fresh permutation and drops the remainder, so every batch
    is full; `sequential` keeps the order of `rows` and fills the last batch
    with `PADDING`.

    Args:
      name: a key of `SAMPLERS`.
      labels: classes of the whole table, int32 (N,); `rows` point into it.
      rows: the rows to draw from, int32 (n,).
      batch_size: rows per step, B.
      rng: the only source of chance; the same state gives the same order.

    Returns:
      int32 (S, B), one line per step.

    Raises:
      ConfigError: an unknown sampler or a batch size below 1.
      DataError: `shuffle` with fewer rows than one batch.
    """
    if name not in SAMPLERS:
        near = difflib.get_close_matches(name, SAMPLERS, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"Unknown sampler {name!r}; expected one of {sorted(SAMPLERS)}. "
            f"Did you mean {near!r}?"
        )
    if batch_size < 1:
        raise ConfigError(f"The batch size must be at least 1, found {batch_size}.")
    return SAMPLERS[name](labels, np.asarray(rows, np.int32), batch_size, rng)
