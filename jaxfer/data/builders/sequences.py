"""Frames chosen from sequences: a sequence is prepared whole, or left out."""

import os
from functools import partial

from jaxfer.data.builders.plan import Example, Skip
from jaxfer.data.builders.source import Source, size_problem
from jaxfer.data.records import ordered_map, read_image
from jaxfer.errors import DataError


def all_names(source: Source) -> list[str]:
    """Names of all files, also of those that cannot be opened.

    Frames are chosen by their numbers among these: a broken frame that were left
    out beforehand would silently be replaced by its neighbour.
    """
    return sorted({*source.sizes, *(skip.file for skip in source.skips)})


def keep_whole(
    source: Source, examples: list[Example]
) -> tuple[list[Example], list[Skip]]:
    """Leaves out each sequence of which a chosen frame cannot be used.

    The frames are read, which is the only way to know; sequences are few.

    Args:
      source: where the examples are from.
      examples: the chosen frames, `sequence` saying which belong together.

    Returns:
      The examples of whole sequences, in the same order, and the frames that
      cannot be used, with what is wrong with them.

    Raises:
      DataError: no sequence is whole.
    """
    broken: set[str] = set()
    skips = []
    check = partial(_problem, source)
    for example, reason in ordered_map(check, examples, os.cpu_count() or 1):
        if reason is not None:
            broken.add(example.sequence)
            skips.append(Skip(example.file, f"{reason}; its sequence is left out"))
    whole = [e for e in examples if e.sequence not in broken]
    if skips and not whole:
        raise DataError(
            f"None of the {len(broken)} sequences in {source.path} can be read whole; "
            f"the first: {skips[0].file}: {skips[0].reason}."
        )
    return whole, skips


def _problem(source: Source, example: Example) -> str | None:
    # The size first: a file that is too large is not read at all.
    known = example.file in source.sizes
    if known and (reason := size_problem(source, example.file)):
        return reason
    read = read_image(example)
    return read.reason if isinstance(read, Skip) else None
