"""Preparing a data set by an Apache Beam pipeline, on many machines.

Apache Beam is imported late and is no dependency of this package; see
docs/affectnet_on_a_cluster.md.
"""

import importlib
import json
import pickle
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxfer.data.builders.plan import SPLITS, Example, Skip
from jaxfer.data.builders.source import Source
from jaxfer.errors import ConfigError, DataError

_CHUNK = 256
"""Examples that travel to a worker at a time."""


def check_beam(source: Source | None) -> None:
    """Refuses what a pipeline could not do, before anything is read.

    Raises:
      ConfigError: Apache Beam is not installed.
      DataError: the source is a zip file, which only one machine can read.
    """
    _beam()
    if source is not None and not source.path.is_dir():
        raise DataError(
            f"{source.path} is a zip file; the workers of a pipeline need a folder. "
            "Unpack it, or leave beam out."
        )


def download_config(options: str) -> Any:
    """Returns TFDS's settings for a pipeline with these command-line options."""
    import tensorflow_datasets as tfds

    _beam()
    pipeline = importlib.import_module("apache_beam.options.pipeline_options")
    return tfds.download.DownloadConfig(
        beam_options=pipeline.PipelineOptions(shlex.split(options))
    )


def records(examples: list[Example], notes: str) -> Any:
    """Returns the transform that reads images: (number, record) of each.

    The examples go through a file, since pipelines have a limited size. Rows and
    skips are written as lines of JSON, for `read_notes`.

    Args:
      examples: of one split.
      notes: how the names of the files begin; a folder that all workers share.
    """
    beam = _beam()
    chunks = f"{notes}.examples"
    with Path(chunks).open("wb") as file:
        for start in range(0, len(examples), _CHUNK):
            pickle.dump((start, examples[start : start + _CHUNK]), file)

    def expand(pipeline: Any) -> Any:
        done = (
            pipeline
            | "File" >> beam.Create([chunks])
            | "Chunks" >> beam.FlatMap(_chunks)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.FlatMap(_read).with_outputs("notes", main="records")
        )
        _ = done["notes"] | "Notes" >> beam.io.WriteToText(notes, ".jsonl")
        return done["records"]

    return beam.ptransform_fn(expand)()


def read_notes(notes: str) -> tuple[list[Any], list[Skip]]:
    """Returns the rows and skips that a pipeline left, in the order of the plan."""
    from jaxfer.data.records import Row

    rows, skips = [], []
    for split in SPLITS:
        lines = []
        for path in Path(notes).parent.glob(f"{Path(notes).name}-{split}-*.jsonl"):
            lines += [json.loads(line) for line in path.read_text().splitlines()]
        for _, row, skip in sorted(lines, key=lambda line: line[0]):
            if row is None:
                skips.append(Skip(*skip))
            else:
                row |= {name: tuple(row[name]) for name in ("votes", "affect")}
                rows.append(Row(**row))
    return rows, skips


def _chunks(path: str) -> Iterator[bytes]:
    # Bytes, so that what the examples share is encoded once a chunk.
    with Path(path).open("rb") as file:
        while file.peek(1):
            yield pickle.dumps(pickle.load(file))


def _read(chunk: bytes) -> Iterator[Any]:
    from jaxfer.data.records import describe, read_image

    tagged = _beam().pvalue.TaggedOutput
    start, examples = pickle.loads(chunk)
    for number, example in enumerate(examples, start):
        image = read_image(example)
        if isinstance(image, Skip):
            skip = (image.file, image.reason)
            yield tagged("notes", json.dumps((number, None, skip)))
        else:
            row, record = describe(example, image)
            yield tagged("notes", json.dumps((number, row._asdict(), None)))
            yield number, record


def _beam() -> Any:
    try:
        return importlib.import_module("apache_beam")
    except ImportError as error:
        raise ConfigError(
            "Apache Beam is not installed here. It needs an environment of its own: "
            "see docs/affectnet_on_a_cluster.md. Without beam, images are read by "
            "the threads of this machine."
        ) from error
