"""The record that every data set is prepared into, and the TFDS builder for it.

Importing this module imports TFDS (never TensorFlow); import it late.
"""

import hashlib
import os
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from jaxfer.data.builders.plan import (
    SPLITS,
    Example,
    Plan,
    Skip,
    SkipError,
    shard_split,
)
from jaxfer.data.decode import problem
from jaxfer.errors import DataError

VERSION = "1.0.0"


class Row(NamedTuple):
    """What a table keeps of one prepared image."""

    file: str
    split: str
    label: int
    subject: str
    sequence: str
    sha256: str
    votes: tuple[float, ...]
    affect: tuple[float, ...]


class FaceBuilder(
    tfds.core.GeneratorBasedBuilder,
    skip_registration=True,  # type: ignore[call-arg]
):
    """Writes the examples of a plan as ArrayRecord shards, in the plan's order.

    A data set's own builder adds `layout`, `where`, `needs_source` and `scan`.

    Attributes:
      layout: the layouts that `scan` understands, in words.
      where: where the data can be had.
      needs_source: False for data that is drawn.
      scan: `(source, **options) -> Plan`, finds the examples in a source
        without reading any image.
      rows: of the images written, after `download_and_prepare`.
      skips: of images that could not be read, likewise.
    """

    VERSION = tfds.core.Version(VERSION)

    layout: ClassVar[str]
    where: ClassVar[str]
    needs_source: ClassVar[bool] = True
    scan: ClassVar[Callable[..., Plan]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # TFDS's registry is for builders that it can construct by name alone.
        super().__init_subclass__(skip_registration=True, **kwargs)

    def __init__(
        self,
        plan: Plan,
        *,
        data_dir: str | os.PathLike[str],
        workers: int,
        advance: Callable[[], object] = lambda: None,
        notes: str = "",
    ):
        """Prepares a builder.

        Args:
          plan: what `scan` found.
          data_dir: where TFDS makes the folder `<name>/<version>`.
          workers: threads that read and check images.
          advance: called once per image, for a progress bar.
          notes: where given, the images are read and written by an Apache Beam
            pipeline, which leaves its rows and skips in files that begin like
            this; see `jaxfer.data.beam`.
        """
        self.plan = plan
        self.rows: list[Row] = []
        self.skips: list[Skip] = []
        self._workers = workers
        self._advance = advance
        self._notes = notes
        super().__init__(data_dir=os.fspath(data_dir), file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        features: dict[str, Any] = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=list(self.plan.class_names)),
            "file": tfds.features.Text(),
            "subject": tfds.features.Text(),
            "sequence": tfds.features.Text(),
            "sha256": tfds.features.Text(),
        }
        if any(e.votes is not None for e in self.plan.examples):
            features["votes"] = tfds.features.Tensor(shape=(10,), dtype=np.float32)
        if any(e.affect is not None for e in self.plan.examples):
            features["valence"] = tfds.features.Scalar(np.float32)
            features["arousal"] = tfds.features.Scalar(np.float32)
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.plan.layout,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Any]:
        del dl_manager  # nothing is downloaded
        present = {e.split for e in self.plan.examples}
        return {
            shard_split(split): self._generate_examples(split)
            for split in SPLITS
            if split in present
        }

    def _generate_examples(self, split: str) -> Any:
        """(Number, record) of each image: an iterator, or a Beam transform."""
        examples = [e for e in self.plan.examples if e.split == split]
        if self._notes:
            from jaxfer.data import beam

            return beam.records(examples, f"{self._notes}-{split}")
        return self._records(split, examples)

    def _records(
        self, split: str, examples: list[Example]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        written = 0
        for example, read in ordered_map(read_image, examples, self._workers):
            self._advance()
            if isinstance(read, Skip):
                self.skips.append(read)
                continue
            row, record = describe(example, read)
            self.rows.append(row)
            yield written, record
            written += 1
        if not written:
            raise DataError(
                f"None of the {len(examples)} images of the split {split!r} can be "
                f"read; the first: {self.skips[-len(examples)].file}: "
                f"{self.skips[-len(examples)].reason}."
            )


def describe(example: Example, image: bytes) -> tuple[Row, dict[str, Any]]:
    """Returns what the table keeps of an image, and what its shard keeps."""
    sha256 = hashlib.sha256(image).hexdigest()
    row = Row(
        example.file,
        example.split,
        example.label,
        example.subject,
        example.sequence,
        sha256,
        tuple(example.votes or ()),
        tuple(example.affect or ()),
    )
    record: dict[str, Any] = {
        "image": image,
        "label": example.label,
        "file": example.file,
        "subject": example.subject,
        "sequence": example.sequence,
        "sha256": sha256,
    }
    if example.votes is not None:
        record["votes"] = np.asarray(example.votes, np.float32)
    if example.affect is not None:
        record |= dict(zip(("valence", "arousal"), map(np.float32, example.affect)))
    return row, record


def ordered_map(
    function: Callable[[Any], Any], items: Iterable[Any], workers: int
) -> Iterator[tuple[Any, Any]]:
    """Yields (item, function(item)) in order, computed by threads ahead."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[Any, Future[Any]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) >= 8 * workers:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def read_image(example: Example) -> bytes | Skip:
    """Returns the image's bytes, or why it is skipped."""
    try:
        data = example.read()
    except SkipError as error:
        return Skip(example.file, str(error))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        return Skip(example.file, f"damaged in the zip: {error}")
    except OSError as error:
        return Skip(example.file, f"unreadable: {error.strerror or error}")
    reason = problem(data)
    return data if reason is None else Skip(example.file, reason)
