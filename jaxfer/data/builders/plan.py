"""What a builder finds in a source, before any image is read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

SPLITS = ("train", "validation", "test", "all")
"""Splits in the order of a table's rows; "all" where the source has no split."""


def shard_split(split: str) -> str:
    """Returns a split's name in TFDS, which reserves "all" for itself."""
    return "whole" if split == "all" else split


@dataclass(frozen=True)
class Skip:
    """A file or sequence of the source that is left out, and why."""

    file: str
    reason: str


class SkipError(Exception):
    """Raised by `Example.read` where a file turns out to be unusable."""


@dataclass(frozen=True, slots=True)
class Example:
    """One image to be prepared.

    Attributes:
      file: its name relative to the source.
      split: one of `SPLITS`.
      label: index into the plan's class names; -1 where votes give no label.
      read: returns the encoded image.
      subject: who is seen, or "".
      sequence: which recording it is from, or "".
      votes: FER+'s ten votes, or None.
      affect: valence and arousal, each NaN where unknown, or None where the
        data set has neither.
    """

    file: str
    split: str
    label: int
    read: Callable[[], bytes]
    subject: str = ""
    sequence: str = ""
    votes: Sequence[float] | None = None
    affect: tuple[float, float] | None = None


@dataclass(frozen=True)
class Published:
    """Counts that the owners or the literature state.

    Attributes:
      counts: split -> class -> images; "" for all classes together.
      subjects: how many people, or None.
      source: where the numbers are from.
    """

    counts: Mapping[str, Mapping[str, int]]
    subjects: int | None = None
    source: str = ""


@dataclass
class Plan:
    """All that a builder found.

    Attributes:
      class_names: in the data set's own order.
      examples: in the order of the table, split by split.
      skips: what is left out.
      published: to compare with, or None.
      layout: the layout that was recognised, in words.
      bytes: what the source's images take on disk, about.
    """

    class_names: tuple[str, ...]
    examples: list[Example]
    skips: list[Skip] = field(default_factory=list)
    published: Published | None = None
    layout: str = ""
    bytes: int = 0
