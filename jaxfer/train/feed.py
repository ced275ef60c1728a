"""How a program gets its examples: resident on the device, or streamed.

Both follow the same orders (rows of the data set's table) and return the same
results; an order is int32 (R, S, B), for R runs, S steps of B images, -1 being
padding.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from jaxfer.data import Dataset
from jaxfer.methods.base import Batch, State, Variables
from jaxfer.train import sharding
from jaxfer.train.program import Data, Program, gather, loops

Tick = Callable[[int, State, Any], None]
"""Called with (next step, states, sums) after every dispatch."""

DISPATCH_SECONDS = 1.0
"""Steps go to the device in chunks of about this long, so that progress shows
and a checkpoint can fall between them; the number changes no result."""


class Feed(Protocol):
    """What the loop needs of either kind."""

    def example(self, order: np.ndarray) -> Any:
        """Shapes of one batch (R, B, ...)."""

    def compile(
        self, program: Program, states: State, sums: Any, order: np.ndarray, keys: Array
    ) -> Any:
        """Compile the train step for these shapes; `train` then uses it."""

    def train(
        self,
        states: State,
        sums: Any,
        order: np.ndarray,
        keys: Array,
        start: int,
        tick: Tick,
    ) -> tuple[State, Any]:
        """The steps of an epoch from `start` on."""

    def judge(
        self, program: Program, variables: Variables, totals: Any, order: np.ndarray
    ) -> Any:
        """`totals` plus the examples of the order."""

    def outputs(
        self, program: Program, variables: Variables, order: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Outputs of the examples of the order, padding included: (R, S * B, ...)."""

    def features(self, program: Program, variables: Variables, batch: int) -> Any:
        """The stage's features of all N examples, leading axes R, N."""


def used_steps(order: np.ndarray) -> int:
    """Steps before those that are padding in every run."""
    return int((order >= 0).any(axis=(0, 2)).sum())


def table_arrays(dataset: Dataset) -> dict[str, np.ndarray]:
    """Labels (N,), target distributions (N, K) and row numbers (N,)."""
    table, classes = dataset.table, len(dataset.class_names)
    target = table.target
    if target is None:
        target = np.eye(classes, dtype=np.float32)[table.label]
    rows = np.arange(len(table.label), dtype=np.int32)
    return {"label": table.label, "target": target, "index": rows}


class Resident:
    """All examples on the device, read there by row number."""

    def __init__(self, data: Data, mesh: Mesh) -> None:
        """Keep `data`, which is already on the devices of `mesh`."""
        self.data = data
        self.mesh = mesh
        self._train: Any = None
        self._chunk = 1
        self._loops = loops(mesh)

    def example(self, order: np.ndarray) -> Any:
        """See `Feed`."""
        rows = jax.ShapeDtypeStruct((order.shape[0], order.shape[2]), np.int32)
        return jax.eval_shape(gather, self.data, rows)

    def _put(self, order: np.ndarray) -> Array:
        return sharding.put(order, sharding.orders(self.mesh))

    def compile(
        self, program: Program, states: State, sums: Any, order: np.ndarray, keys: Array
    ) -> Any:
        """See `Feed`."""
        zero = np.zeros((), np.int32)
        self._train = program.train.lower(
            states, sums, self.data, self._put(order), keys, zero, zero
        ).compile()
        self._chunk = 1
        return self._train

    def train(
        self,
        states: State,
        sums: Any,
        order: np.ndarray,
        keys: Array,
        start: int,
        tick: Tick,
    ) -> tuple[State, Any]:
        """See `Feed`."""
        steps, placed = order.shape[1], self._put(order)
        previous, done, began = None, 0, time.perf_counter()
        while start < steps:
            stop = min(start + self._chunk, steps)
            states, sums, token = self._train(
                states, sums, self.data, placed, keys, np.int32(start), np.int32(stop)
            )
            # Waiting for the chunk before keeps the device busy and the host
            # at most one chunk ahead.
            if previous is not None:
                previous.block_until_ready()
                now = time.perf_counter()
                rate = (now - began) / max(1, done)
                if self._loops:
                    self._chunk = max(1, int(DISPATCH_SECONDS / max(rate, 1e-9)))
                began = now
            previous, done, start = token, stop - start, stop
            tick(start, states, sums)
        return states, sums

    def judge(
        self, program: Program, variables: Variables, totals: Any, order: np.ndarray
    ) -> Any:
        """See `Feed`."""
        placed, steps = self._put(order), used_steps(order)
        chunk = steps if self._loops else 1
        for start in range(0, steps, chunk):
            between = np.int32(start), np.int32(start + chunk)
            totals = program.judge(variables, totals, self.data, placed, *between)
        return totals

    def outputs(
        self, program: Program, variables: Variables, order: np.ndarray
    ) -> dict[str, np.ndarray]:
        """See `Feed`."""
        placed = sharding.batches(self.mesh)
        parts = [
            program.outputs(variables, self.data, sharding.put(order[:, step], placed))
            for step in range(order.shape[1])
        ]
        return _concatenate(parts)

    def features(self, program: Program, variables: Variables, batch: int) -> Any:
        """See `Feed`."""
        images = self.data["image"]
        return _features(
            program, variables, len(images), batch, lambda rows: images[rows]
        )


class Streamed:
    """Examples read, decoded and sent batch by batch; one run at a time."""

    def __init__(
        self,
        dataset: Dataset,
        mesh: Mesh,
        *,
        size: int,
        workers: int,
        change: Callable[[Array, Array], Array] | None,
    ) -> None:
        """Stream `dataset` at `size` pixels; `change(images, rows)` is applied."""
        self.dataset = dataset
        self.mesh = mesh
        self.size = size
        self.workers = workers
        self.change = change
        self._train: Any = None

    def _batches(self, order: np.ndarray, start: int = 0) -> Iterator[Batch]:
        from jaxfer.data import streaming

        ahead: list[Batch] = []
        for batch in streaming.batches(
            self.dataset,
            order[0],
            size=self.size,
            start=start,
            workers=self.workers,
        ):
            local = {name: np.asarray(a)[None] for name, a in batch.items()}
            placed = sharding.put(local, sharding.batches(self.mesh))
            if self.change is not None:
                placed["image"] = self.change(placed["image"], placed["index"])
            ahead.append(placed)
            if len(ahead) > 1:  # one batch travels while another is computed
                yield ahead.pop(0)
        yield from ahead

    def example(self, order: np.ndarray) -> Any:
        """See `Feed`."""
        shape = (order.shape[0], order.shape[2])
        classes = len(self.dataset.class_names)
        return {
            "image": jax.ShapeDtypeStruct((*shape, self.size, self.size, 3), np.uint8),
            "label": jax.ShapeDtypeStruct(shape, np.int32),
            "target": jax.ShapeDtypeStruct((*shape, classes), np.float32),
            "index": jax.ShapeDtypeStruct(shape, np.int32),
        }

    def compile(
        self, program: Program, states: State, sums: Any, order: np.ndarray, keys: Array
    ) -> Any:
        """See `Feed`."""
        spread = sharding.batches(self.mesh)
        batch = {
            name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=spread)
            for name, a in self.example(order).items()
        }
        valid = np.ones(order.shape[0], bool)
        self._train = program.train_batch.lower(
            states, sums, batch, keys, valid
        ).compile()
        return self._train

    def train(
        self,
        states: State,
        sums: Any,
        order: np.ndarray,
        keys: Array,
        start: int,
        tick: Tick,
    ) -> tuple[State, Any]:
        """See `Feed`."""
        valid, previous = np.ones(order.shape[0], bool), None
        for batch in self._batches(order, start):
            states, sums, token = self._train(states, sums, batch, keys, valid)
            if previous is not None:
                previous.block_until_ready()
            previous, start = token, start + 1
            tick(start, states, sums)
        return states, sums

    def judge(
        self, program: Program, variables: Variables, totals: Any, order: np.ndarray
    ) -> Any:
        """See `Feed`."""
        for batch in self._batches(order[:, : used_steps(order)]):
            totals = program.judge_batch(variables, totals, _masked(batch))
        return totals

    def outputs(
        self, program: Program, variables: Variables, order: np.ndarray
    ) -> dict[str, np.ndarray]:
        """See `Feed`."""
        return _concatenate(
            [program.outputs_batch(variables, b) for b in self._batches(order)]
        )

    def features(self, program: Program, variables: Variables, batch: int) -> Any:
        """See `Feed`."""
        count = len(self.dataset.table.label)
        steps = -(-count // batch)
        order = np.full(steps * batch, -1, np.int32)
        order[:count] = np.arange(count)
        stream = self._batches(order.reshape(1, steps, batch))
        return _features(
            program, variables, count, batch, lambda rows: next(stream)["image"][0]
        )


def _masked(batch: Batch) -> Batch:
    return batch | {"where": batch["index"] >= 0}


def _concatenate(parts: list[dict[str, Array]]) -> dict[str, np.ndarray]:
    host = jax.device_get(parts)
    return {
        name: np.concatenate([part[name] for part in host], axis=1) for name in host[0]
    }


def _features(
    program: Program,
    variables: Variables,
    count: int,
    batch: int,
    images_of: Callable[[np.ndarray], Array],
) -> Any:
    parts = []
    for first in range(0, count, batch):
        # The last batch repeats its last image, so that one shape is compiled.
        rows = np.minimum(np.arange(first, first + batch), count - 1)
        assert program.features is not None
        parts.append(program.features(variables, images_of(rows)))
    return jax.tree.map(
        lambda *arrays: jnp.concatenate(arrays, axis=1)[:, :count], *parts
    )
