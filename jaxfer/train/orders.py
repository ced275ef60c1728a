"""Runs, and the rows that each of them reads, step by step."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxfer.data.dataset import Table
from jaxfer.data.samplers import epoch_order
from jaxfer.data.splits import Fold
from jaxfer.methods.base import Stage


class Run(NamedTuple):
    """One training.

    Attributes:
      seed: of everything random but the split.
      fold: its number within the protocol.
      rows: of its three parts.
      folder: where its results go.
      given: int32 (N,), the labels that it is trained on where these are not the
        table's; only rows of the training part differ.
      noise: the share of wrong labels among `given`, as asked for.
    """

    seed: int
    fold: int
    rows: Fold
    folder: Path
    given: np.ndarray | None = None
    noise: float = 0.0


def key_data(runs: list[Run]) -> np.ndarray:
    """Each run's key as uint32 (R, 2), from its seed and fold alone."""
    keys = [jax.random.fold_in(jax.random.key(run.seed), run.fold) for run in runs]
    return np.stack([np.asarray(jax.random.key_data(key)) for key in keys])


def train_order(
    stage: Stage, index: int, epoch: int, runs: list[Run], table: Table
) -> list[np.ndarray]:
    """The rows (R, S, B) of an epoch's passes; shorter runs end in rows of -1.

    They depend on the run, the stage's index and the pass alone, so that a
    continued run, alone or among others, reads the same images.
    """
    made = epoch * len(stage.passes)
    return [
        _stack(
            [
                epoch_order(
                    one.sampler,
                    table.label if run.given is None else run.given,
                    run.rows.train,
                    batch_size=one.batch_size,
                    rng=np.random.default_rng([run.seed, run.fold, index, number]),
                    subjects=table.subject,
                )
                for run in runs
            ]
        )
        for number, one in enumerate(stage.passes, start=made)
    ]


def sequential_order(parts: list[np.ndarray], batch_size: int) -> np.ndarray:
    """All rows of each run's part, in table order, padded to (R, S, B)."""
    return _stack(
        [
            epoch_order(
                "sequential",
                np.zeros(0, np.int32),
                rows,
                batch_size=batch_size,
                rng=np.random.default_rng(0),  # this sampler draws nothing
                subjects=np.zeros(0, np.str_),
            )
            for rows in parts
        ]
    )


def _stack(orders: list[np.ndarray]) -> np.ndarray:
    steps = max(len(order) for order in orders)
    return np.stack(
        [np.pad(o, ((0, steps - len(o)), (0, 0)), constant_values=-1) for o in orders]
    ).astype(np.int32)
