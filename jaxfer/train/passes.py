"""Passes over the examples of an order: to train, judge, predict, or keep features.

Within a pass the host waits for nothing but the dispatch before the last, and
reads nothing back; results stay on the device until the pass has ended.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxfer.methods.base import State, Variables
from jaxfer.train import processes, sharding
from jaxfer.train.feed import Feed
from jaxfer.train.program import Program

DISPATCH_SECONDS = 5.0
"""Steps are counted in chunks of about this long, between which progress shows and
a checkpoint can fall; where the examples are resident, a chunk is one dispatch.
Handing over the thousands of arrays of a deep network's state takes some 50 ms.
The number changes no result."""


class Pace:
    """How many steps take about `DISPATCH_SECONDS`, by the first process' clock."""

    def __init__(self) -> None:
        """Begin with single steps."""
        self.chunk = 1

    def measure(self, steps: int, seconds: float) -> None:
        """Set the chunk by the time that so many steps took; none leave it."""
        if steps:
            self.chunk = max(1, int(DISPATCH_SECONDS * steps / max(seconds, 1e-9)))
        self.chunk = processes.agree(self.chunk)


def train(
    step: Callable[..., tuple[State, Any, Array]],
    feed: Feed,
    states: State,
    sums: Any,
    order: np.ndarray,
    keys: Array,
    start: int,
    pace: Pace,
    tick: Callable[[int, State, Any], None],
) -> tuple[State, Any]:
    """The steps of an epoch from `start` on.

    Args:
      step: `Program.train`, compiled for these shapes.
      feed: where examples come from.
      states: donated.
      sums: donated.
      order: (R, S, B), the epoch's rows.
      keys: typed, (R,).
      start: the first step.
      pace: how long a chunk is; it is measured here.
      tick: called with (next step, states, sums) after every chunk.

    Returns:
      (states, sums).
    """
    steps = order.shape[1]
    done, look, began = start, start + pace.chunk, time.perf_counter()
    running: list[tuple[Any, int]] = []
    finished = 0
    for source, first, last in feed.pieces(order, start, steps, lambda: pace.chunk):
        states, sums, token = step(
            states, sums, source, keys, np.int32(first), np.int32(last)
        )
        done += last - first
        running.append((token, last - first))
        # Waiting for the dispatch before keeps the device busy and the host at
        # most one dispatch ahead. A CPU may be ready when a dispatch returns.
        while running and (len(running) > 1 or running[0][0].is_ready()):
            token, count = running.pop(0)
            token.block_until_ready()
            finished += count
        if done >= min(look, steps):
            now = time.perf_counter()
            pace.measure(finished, now - began)
            finished, began, look = 0, now, done + pace.chunk
            tick(done, states, sums)
    return states, sums


def judge(
    program: Program, feed: Feed, variables: Variables, totals: Any, order: np.ndarray
) -> Any:
    """`totals` plus the examples of the order."""
    # Steps that are padding in every run come last, and are left out.
    used = int((order >= 0).any(axis=(0, 2)).sum())
    for source, first, last in feed.pieces(order, 0, used, lambda: used):
        before = totals
        totals = program.judge(
            variables, totals, source, np.int32(first), np.int32(last)
        )
        jax.block_until_ready(before)
    return totals


def outputs(
    program: Program, feed: Feed, variables: Variables, order: np.ndarray
) -> dict[str, np.ndarray]:
    """Outputs of the examples of the order, padding included: (R, S * B, ...)."""
    parts = _steps(program.outputs, feed, variables, order)
    host = sharding.fetch(parts)
    return {
        name: np.concatenate([part[name] for part in host], axis=1) for name in host[0]
    }


def features(
    program: Program, feed: Feed, variables: Variables, count: int, batch: int
) -> Any:
    """The stage's features of all `count` examples, leading axes R, N."""
    steps = -(-count // batch)
    rows = np.full(steps * batch, -1, np.int32)
    rows[:count] = np.arange(count)
    order = rows.reshape(1, steps, batch)
    return _join(_steps(program.features, feed, variables, order), count)


def _steps(fn: Any, feed: Feed, variables: Variables, order: np.ndarray) -> list[Any]:
    """`fn(variables, source, step)` of every step of the order."""
    parts: list[Any] = []
    for source, first, _ in feed.pieces(order, 0, order.shape[1], lambda: 1):
        parts.append(fn(variables, source, np.int32(first)))
        jax.block_until_ready(parts[-2:-1])
    return parts


@functools.partial(jax.jit, static_argnums=1)
def _join(parts: list[Any], count: int) -> Any:
    return jax.tree.map(
        lambda *arrays: jnp.concatenate(arrays, axis=1)[:, :count], *parts
    )
