"""A group of runs that are trained as one program, and how far it has come."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jax import Array
from jax.sharding import Mesh

from jaxfer.data import Dataset
from jaxfer.methods.base import Method, Stage, State
from jaxfer.train import selection
from jaxfer.train.checkpoints import Checkpoints, Position
from jaxfer.train.feed import Feed
from jaxfer.train.log import MetricsLog
from jaxfer.train.orders import Run

_START = Position(0, 0, 0)


class DoesNotFit(Exception):
    """The runs of this group need more memory together than there is."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that are trained as one program, and what they are trained with.

    Attributes:
      method: what to train.
      runs: R runs, a leading axis R in every array.
      dataset: the table that rows refer to.
      feed: where examples come from.
      mesh: where arrays live.
      image_size: pixels of an example.
      checkpoints: of this group alone.
      log: of the whole working folder.
      every_seconds: between checkpoints, which fall at the end of a dispatch.
      progress: whether to show a bar.
      fits: judges the compiled train step of the first stage, by its memory.
      say: for lines that a user should see.
      watch: called after every epoch with this group, the stage, the epoch from 0 and
        the states, which it must not keep.
    """

    method: Method
    runs: list[Run]
    dataset: Dataset
    feed: Feed
    mesh: Mesh
    image_size: int
    checkpoints: Checkpoints
    log: MetricsLog
    every_seconds: float
    progress: bool = True
    fits: Callable[[Any], bool] = lambda compiled: True
    say: Callable[[str], None] = print
    watch: Callable[["Group", Stage, int, State], None] = lambda *_: None

    @property
    def validated(self) -> bool:
        """Whether every run has validation rows to choose an epoch by."""
        return all(run.rows.validation.size for run in self.runs)


@dataclasses.dataclass
class Progress:
    """How far a group has come; what a checkpoint holds.

    Attributes:
      states: of all runs.
      tracker: what the rules remember.
      keys: uint32 (R, 2), the data of each run's key.
      position: where the next step is.
      sums: of the present epoch's metrics; None where it has not begun.
      seconds: spent in each stage, by name.
    """

    states: State
    tracker: selection.Tracker
    keys: Array
    position: Position = _START
    sums: Any = None
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
