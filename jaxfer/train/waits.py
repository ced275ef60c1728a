"""How long a device waits for streamed images, and how many workers would end that.

The loop is not made to wait for anything: a thread sees when steps end.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from jaxfer.train.feed import Piece, Streamed
from jaxfer.train.program import Source

LIMIT = 0.05
"""Share of an epoch's training that may be spent waiting before anything is said."""

COLUMNS = SHARE, WORKERS = "input/wait", "input/workers"
"""Of the log: that share, and the workers that would keep up."""

STARTING = "the others come in time, and more workers would not help"


class Wait(NamedTuple):
    """What an epoch's training waited for, in seconds.

    Attributes:
      whole: from asking for the first images to the end of the last step.
      idle: of it, how long the loop waited for images while the device had no work.
      first: of that, for the first images of each pass, when workers start.
      step: how long a step takes whose images are there.
    """

    whole: float
    idle: float
    first: float
    step: float


class Meter:
    """A streamed feed that notes when images come, and when the steps on them end."""

    def __init__(self, feed: Streamed) -> None:
        """Measure `feed`; one stage's, of which it tells once if it is too slow."""
        self.feed = feed
        self._came: list[tuple[float, float, bool]] = []
        self._ended: list[Future[float]] = []
        self._thread = ThreadPoolExecutor(1)  # it ends with this object
        self._decode = 0.0
        self._said: set[bool] = set()

    def example(self, order: np.ndarray) -> Source:
        """See `Feed`."""
        return self.feed.example(order)

    def pieces(
        self, order: np.ndarray, start: int, stop: int, length: Callable[[], int]
    ) -> Iterator[Piece]:
        """See `Feed`; every step must be one that `watch` returned."""
        pieces, first = self.feed.pieces(order, start, stop, length), True
        while True:
            asked = time.perf_counter()
            piece = next(pieces, None)
            if piece is None:
                return
            self._came.append((asked, time.perf_counter(), first))
            first = False
            yield piece

    def watch(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The same step, whose end is noted; its last result can be waited for."""

        def watched(*args: Any) -> Any:
            results = step(*args)
            self._ended.append(self._thread.submit(_end, results[-1]))
            return results

        return watched

    def epoch(self) -> Wait | None:
        """What has been noted since the last call; None if no step was taken."""
        came, ended = self._came, [end.result() for end in self._ended]
        self._came, self._ended = [], []
        if not ended:
            return None
        idle = first = busy = 0.0
        before = came[0][0]
        for (asked, arrived, is_first), end in zip(came, ended, strict=True):
            waited = max(0.0, arrived - max(asked, before))
            idle, first = idle + waited, first + waited * is_first
            busy += end - max(arrived, before)
            before = end
        return Wait(before - came[0][0], idle, first, busy / len(ended))

    def tell(
        self, name: str, orders: Sequence[np.ndarray], say: Callable[[str], None]
    ) -> dict[str, float]:
        """The epoch's figures for the log; says so, once, where they are too high.

        Args:
          name: of the stage.
          orders: of its passes, (1, S, B) each, rows that were read.
          say: for lines that a user should see.
        """
        wait = self.epoch()
        if wait is None:
            return {}
        figures = {SHARE: wait.idle / wait.whole}
        if figures[SHARE] <= LIMIT:
            return figures
        if wait.idle - wait.first <= LIMIT * wait.whole:
            self._say(name, wait, STARTING, say)
            return figures
        if not self._decode:  # one batch is read once more, and passes may differ
            images = sum(order.size for order in orders)
            steps = sum(order.shape[1] for order in orders)
            once = self.feed.decode_seconds(orders[0])
            self._decode = once * images / (steps * orders[0].shape[2])
        workers = max(1, math.ceil(self._decode / wait.step))
        advice = (
            f"a step takes {wait.step:.2g} s and one worker reads its images in"
            f" {self._decode:.2g} s, so data.workers={workers} would keep up; it is"
            f" {self.feed.workers}"
        )
        if workers <= self.feed.workers:
            advice += ", so that CPUs or disk must be busy with something else"
        self._say(name, wait, advice, say)
        return figures | {WORKERS: workers}

    def _say(
        self, name: str, wait: Wait, advice: str, say: Callable[[str], None]
    ) -> None:
        """Say it once, for the first images alone and for all of them."""
        kind = advice == STARTING
        if kind not in self._said:
            self._said.add(kind)
            say(
                f"{name}: {wait.idle / wait.whole:.0%} of the training waits for images"
                f" ({wait.idle:.1f} of {wait.whole:.1f} s, of it {wait.first:.1f} s for"
                f" the first ones); {advice}"
            )


def _end(token: Array) -> float:
    token.block_until_ready()
    return time.perf_counter()
