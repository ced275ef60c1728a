"""Batches of images from disk, in a given order, through Grain."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from jaxfer.data.dataset import Dataset
from jaxfer.data.shards import read_rows
from jaxfer.errors import DataError


def batches(
    dataset: Dataset,
    order: np.ndarray,
    *,
    size: int,
    start: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    prefetch: int = 2,
) -> Iterator[dict[str, np.ndarray]]:
    """Streams batches in a given order.

    The order is drawn beforehand, so the stream is the same whatever the
    workers, and a run that stopped at step s goes on with `start=s`.

    Args:
      dataset: where images and labels are from.
      order: int (S, B), the rows of each step; -1 pads.
      size: pixels on each side of an image.
      start: the first step to yield.
      process_index: which of `process_count` processes this is; it gets the
        contiguous slice of that number of every batch.
      process_count: how many processes share a batch.
      workers: processes that read and decode; 0 does so in threads.
      prefetch: batches that are made ahead (of each worker).

    Yields:
      For each step a dict: `image` uint8 (b, size, size, 3), `label` int32
      (b,), `index` int32 (b,), and `target` float32 (b, K) where the table has
      label distributions, with b = B / process_count. Where `index` is -1 the
      rest is zero.

    Raises:
      DataError: the order does not fit the data set or the processes.
    """
    order = np.asarray(order)
    if order.ndim != 2 or order.shape[1] % process_count:
        raise DataError(
            f"The order must be (steps, batch) with a batch that {process_count} "
            f"processes can share; found {order.shape}."
        )
    if not 0 <= process_index < process_count:
        raise DataError(f"process_index {process_index} of {process_count} processes.")
    if not 0 <= start <= len(order):
        raise DataError(f"Cannot start at step {start} of {len(order)}.")
    share = order.shape[1] // process_count
    here = order[start:, process_index * share : (process_index + 1) * share]
    return _stream(dataset, here.astype(np.int32), size, workers, prefetch)


def _stream(
    dataset: Dataset, order: np.ndarray, size: int, workers: int, prefetch: int
) -> Iterator[dict[str, np.ndarray]]:
    if not len(order):
        return
    import grain

    read = partial(_read, dataset.source, size, 1 if workers else None)
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=max(prefetch, 1))
    steps = grain.MapDataset.source(order).map(read)
    stream: Any = steps.to_iter_dataset(options)
    if workers:
        _parse_flags()
        stream = stream.mp_prefetch(
            grain.MultiprocessingOptions(
                num_workers=workers, per_worker_buffer_size=max(prefetch, 1)
            )
        )
    images = iter(stream)
    table = dataset.table
    try:
        for index, image in zip(order, images, strict=True):
            real = index >= 0
            label = np.where(real, table.label[index], 0).astype(np.int32)
            batch = {"label": label, "index": index}
            if table.target is not None:
                batch["target"] = table.target[index] * real[:, None].astype(np.float32)
            # A copy: workers' arrays are shared memory that goes with the object.
            yield batch | {"image": np.array(image, subok=False)}
    finally:
        images.close()


def _read(source: Any, size: int, threads: int | None, rows: np.ndarray) -> np.ndarray:
    return read_rows(source, rows, size, workers=threads)


def _parse_flags() -> None:
    """Grain reads absl's flags before it starts workers; a library has none."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
