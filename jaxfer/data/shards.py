"""Encoded images in ArrayRecord shards, by row, and reading them fast."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxfer.data.builders.plan import shard_split
from jaxfer.data.decode import decode
from jaxfer.errors import DataError, short, storage_problem

_CHUNK = (32, 512)
"""Least and most images that a thread reads at a time; a read has a fixed cost."""


class RandomAccess(Protocol):
    """Encoded images by row."""

    def __len__(self) -> int:
        """How many rows there are."""

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Returns `{"image": bytes}`."""

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Returns several at once, which is faster."""


class Shards:
    """The ArrayRecord shards of a prepared folder, as `RandomAccess`.

    It holds the folder's name until the first read, so that it can be sent to
    worker processes.
    """

    def __init__(self, folder: Path, splits: Sequence[str], rows: np.ndarray):
        """Names the shards.

        Args:
          folder: of the prepared data set.
          splits: in the order of the table.
          rows: int64 (N,), for each row its place in all splits together.
        """
        self._folder = folder
        self._splits = tuple(splits)
        self._rows = rows
        self._opened: Any = None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        from tensorflow_datasets.proto import tf_example_pb2

        places = self._rows[np.asarray(rows, np.int64)]
        images = []
        try:
            raws = self._source().__getitems__(places.tolist())
        except (RuntimeError, OSError, IndexError) as error:
            raise damaged(self._folder, error) from error
        for raw in raws:
            features = tf_example_pb2.Example.FromString(raw).features.feature
            images.append({"image": features["image"].bytes_list.value[0]})
        return images

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _source(self) -> Any:
        if self._opened is None:
            self._opened = open_shards(self._folder, self._splits)
        return self._opened


def damaged(folder: Path, error: Exception) -> DataError:
    """Returns the error for a prepared folder that cannot be read."""
    if problem := storage_problem(error):
        return DataError(
            f"{folder} cannot be read: {problem}. What is prepared there may be whole: "
            "see to the disk, the network or the permissions, and try again."
        )
    return DataError(
        f"{folder} is damaged ({short(error)}). Prepare it again with --overwrite."
    )


def open_shards(folder: Path, splits: Sequence[str]) -> Any:
    """Returns TFDS's data source of raw records of these splits, one after another."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(folder))
    return builder.as_data_source(
        "+".join(map(shard_split, splits)),
        deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
    )


def read_rows(
    source: RandomAccess,
    rows: Sequence[int] | np.ndarray,
    size: int,
    *,
    workers: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> np.ndarray:
    """Reads and decodes images with threads (decoding runs outside the GIL).

    Args:
      source: encoded images by row.
      rows: int (n,); -1 gives a black image.
      size: pixels on each side.
      workers: threads; by default one per CPU.
      progress: called with the number of images just done.

    Returns:
      uint8 (n, size, size, 3), RGB, in the order of `rows`.

    Raises:
      DataError: an image cannot be read, or a row is out of range.
    """
    rows = np.asarray(rows, np.int64)
    if rows.size and not -1 <= rows.min() <= rows.max() < len(source):
        raise DataError(f"Rows must be within -1 to {len(source) - 1}.")
    images = np.zeros((len(rows), size, size, 3), np.uint8)
    threads = workers or os.cpu_count() or 1
    step = min(max(len(rows) // (4 * threads), _CHUNK[0]), _CHUNK[1])

    def fill(start: int) -> int:
        chunk = rows[start : start + step]
        places = start + np.flatnonzero(chunk >= 0)
        records = source.__getitems__(rows[places].tolist()) if len(places) else []
        for place, record in zip(places, records):
            try:
                images[place] = decode(record["image"], size)
            except ValueError as error:
                raise DataError(f"Row {rows[place]}: {error}") from error
        return len(chunk)

    starts = range(0, len(rows), step)
    if min(threads, len(starts)) <= 1:
        _drain(map(fill, starts), progress)
    else:
        with ThreadPoolExecutor(threads) as pool:
            _drain(pool.map(fill, starts), progress)
    return images


def _drain(done: Iterable[int], progress: Callable[[int], object] | None) -> None:
    for number in done:
        if progress is not None:
            progress(number)
