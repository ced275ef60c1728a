"""How a program gets its examples: resident on the device, or streamed.

Both follow the same orders (rows of the data set's table) and give the same
batches; an order is int32 (R, S, B), for R runs, S steps of B images, -1 being
padding.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from jaxfer.data import Dataset, read_images, streaming
from jaxfer.train import sharding
from jaxfer.train.orders import Run
from jaxfer.train.program import Data, OneHot, Source

Piece = tuple[Source, int, int]
"""A source, the first of its steps that are meant, and the one after the last."""


class Feed(Protocol):
    """What the passes over the examples need of either kind."""

    def example(self, order: np.ndarray) -> Source:
        """A source of the shapes that an order of this shape is fed in."""

    def pieces(
        self, order: np.ndarray, start: int, stop: int, length: Callable[[], int]
    ) -> Iterator[Piece]:
        """The steps start..stop of an order, at most `length()` at a time."""


def table_arrays(dataset: Dataset) -> Data:
    """Labels (N,), target distributions (N, K) and row numbers (N,).

    The targets of hard labels are a `OneHot`.
    """
    table = dataset.table
    target: Any = table.target
    if target is None:
        target = OneHot(table.label, len(dataset.class_names))
    rows = np.arange(len(table.label), dtype=np.int32)
    return {"label": table.label, "target": target, "index": rows}


def given_arrays(runs: Sequence[Run], arrays: Data) -> dict[str, np.ndarray]:
    """What training is told instead of the table's labels, (R, N).

    Empty where no run has labels of its own.
    """
    if all(run.given is None for run in runs):
        return {}
    label = arrays["label"]
    labels = np.stack([label if r.given is None else r.given for r in runs])
    return {"given_label": labels}


def place(runs: Sequence[Run], arrays: Data, mesh: Mesh) -> Data:
    """Arrays of all examples on the devices, with what each run is told instead."""
    given = sharding.put(given_arrays(runs, arrays), sharding.by_run(mesh))
    return sharding.put(arrays, sharding.replicated(mesh)) | given


class Resident:
    """All examples on the device, read there by row number."""

    def __init__(self, data: Data, mesh: Mesh) -> None:
        """Keep `data`, which is already on the devices of `mesh`."""
        self.data = data
        self.mesh = mesh

    def example(self, order: np.ndarray) -> Source:
        """See `Feed`."""
        placed = sharding.orders(self.mesh, len(order))
        like = jax.ShapeDtypeStruct(order.shape, np.int32, sharding=placed)
        return Source(self.data, like)

    def pieces(
        self, order: np.ndarray, start: int, stop: int, length: Callable[[], int]
    ) -> Iterator[Piece]:
        """See `Feed`; the order goes to the device whole."""
        placed = sharding.put(order, sharding.orders(self.mesh, len(order)))
        while start < stop:
            last = min(start + length(), stop)
            yield Source(self.data, placed), start, last
            start = last


class Streamed:
    """Examples read, decoded and sent batch by batch; one run at a time.

    Each process reads its slice of every batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        mesh: Mesh,
        *,
        size: int,
        workers: int,
        change: Callable[[Array, Array], Array] | None,
        given: dict[str, np.ndarray],
    ) -> None:
        """Stream `dataset` at `size` pixels; `change(images, rows)` is applied.

        `given` is `given_arrays` of the one run.
        """
        self.dataset = dataset
        self.mesh = mesh
        self.size = size
        self.workers = workers
        self.change = change
        self.given = {name: array[0] for name, array in given.items()}

    def example(self, order: np.ndarray) -> Source:
        """See `Feed`."""
        lead = (1, order.shape[2])
        shapes = {
            "image": ((*lead, self.size, self.size, 3), np.uint8),
            "label": (lead, np.int32),
            "target": ((*lead, len(self.dataset.class_names)), np.float32),
            "index": (lead, np.int32),
        }
        for name, array in self.given.items():
            shapes[name] = ((*lead, *array.shape[1:]), array.dtype.type)
        spread = sharding.batches(self.mesh)
        data: Data = {
            name: jax.ShapeDtypeStruct(shape, dtype, sharding=spread)
            for name, (shape, dtype) in shapes.items()
        }
        return Source(self._lean(data))

    def _lean(self, data: dict[str, Any]) -> Data:
        """The same, with a `OneHot` where labels tell the targets."""
        if self.dataset.table.target is not None:
            return data
        return data | {"target": OneHot(data["label"], len(self.dataset.class_names))}

    def pieces(
        self, order: np.ndarray, start: int, stop: int, length: Callable[[], int]
    ) -> Iterator[Piece]:
        """See `Feed`; one step at a time, whatever the length."""
        stream = streaming.batches(
            self.dataset,
            order[0, :stop],
            size=self.size,
            start=start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            workers=self.workers,
        )
        spread, ahead = sharding.batches(self.mesh), []
        for batch in stream:
            mine = {name: array[None] for name, array in batch.items()}
            for name, array in self.given.items():
                mine[name] = array[np.maximum(batch["index"], 0)][None]
            placed = sharding.put_slice(self._lean(mine), spread, (1, order.shape[2]))
            if self.change is not None:
                placed["image"] = self.change(placed["image"], placed["index"])
            ahead.append((Source(placed), 0, 1))
            if len(ahead) > 1:  # one batch travels while another is computed
                yield ahead.pop(0)
        yield from ahead

    def decode_seconds(self, order: np.ndarray) -> float:
        """How long one worker takes to read this process' images of a step.

        Args:
          order: (1, S, B); its first step is read.
        """
        share = order.shape[2] // jax.process_count()
        began = time.perf_counter()
        read_images(self.dataset, order[0, 0, :share], self.size, workers=1)
        return time.perf_counter() - began
