"""What `jaxfer prepare` says: counts beside the published ones, and skips."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxfer.data.builders.plan import SPLITS, Published, Skip

REJECTED = "(no majority)"
"""Stands for the class of images that a majority vote gives none."""

_FILES_SHOWN = 3
_CLASSES_SHOWN = 20
"""Of more classes than twice as many, the report shows so many and sums the rest."""


@dataclass(frozen=True)
class PrepareReport:
    """What was prepared.

    Attributes:
      name: to load it by.
      path: the folder with shards, table.npz, skipped.csv and prepared.json.
      layout: what the source was recognised as.
      class_names: in the data set's order.
      counts: split -> class -> images.
      subjects: how many people, 0 where unknown.
      published: what to compare with, or None.
      skips: every file left out, with its reason.
      bytes: size on disk.
      seconds: time taken.
    """

    name: str
    path: Path
    layout: str
    class_names: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    subjects: int
    published: Published | None
    skips: tuple[Skip, ...]
    bytes: int
    seconds: float

    @property
    def images(self) -> int:
        """How many images are prepared."""
        return sum(sum(split.values()) for split in self.counts.values())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should look at: differing counts, tiny classes, skips."""
        return (*self._mismatches(), *self._tiny(), *self._skipped())

    def __str__(self) -> str:
        """Returns the report as text."""
        head = (
            f"{self.name}: {self.layout}\n{self.images:,} images in {self.path} "
            f"({self.bytes / 1e6:,.1f} MB, {self.seconds:,.1f} s)"
        )
        notes = "\n".join(f"- {warning}" for warning in self.warnings)
        parts = [head, _align(self._table()), notes]
        if self.published is not None:
            parts.insert(2, f"published: {self.published.source}")
        return "\n\n".join(part for part in parts if part)

    def _table(self) -> list[list[str]]:
        splits = [split for split in SPLITS if split in self._splits()]
        head = ["class"]
        for split in splits:
            head += [split] + ["published"] * self._is_published(split)
        rows = [head]
        names = list(self.class_names)
        if any(REJECTED in split for split in self.counts.values()):
            names.append(REJECTED)
        groups = [(name, [name]) for name in names]
        if len(names) > 2 * _CLASSES_SHOWN:
            rest = names[_CLASSES_SHOWN:]
            groups[_CLASSES_SHOWN:] = [(f"({len(rest):,} more classes)", rest)]
        for title, members in [*groups, ("total", [""])]:
            row = [title]
            for split in splits:
                row.append(f"{sum(self._found(split, name) for name in members):,}")
                if self._is_published(split):
                    numbers = [self._expected(split, name) for name in members]
                    known = [number for number in numbers if number is not None]
                    row.append(f"{sum(known):,}" if known else "")
            rows.append(row)
        expected = self.published.subjects if self.published else None
        if self.subjects or expected:
            row = ["subjects", str(self.subjects)]
            rows.append(row + ([str(expected)] if expected else []))
        return rows

    def _splits(self) -> set[str]:
        return set(self.counts) | set(self.published.counts if self.published else ())

    def _is_published(self, split: str) -> bool:
        return self.published is not None and split in self.published.counts

    def _found(self, split: str, name: str) -> int:
        counts = self.counts.get(split, {})
        return counts.get(name, 0) if name else sum(counts.values())

    def _expected(self, split: str, name: str) -> int | None:
        assert self.published is not None
        counts = self.published.counts[split]
        if name or "" in counts:
            return counts.get(name)
        return sum(counts.values())

    def _mismatches(self) -> list[str]:
        if self.published is None:
            return []
        wrong = []
        for split in self.published.counts:
            for name in (*self.class_names, ""):
                expected = self._expected(split, name)
                found = self._found(split, name)
                if expected is not None and expected != found:
                    what = f"{split}, {name or 'total'}"
                    wrong.append(f"{what}: {found:,} images, published {expected:,}")
        subjects = self.published.subjects
        if subjects is not None and subjects != self.subjects:
            wrong.append(f"{self.subjects} subjects, published {subjects}")
        return wrong

    def _tiny(self) -> list[str]:
        by_size: dict[str, list[str]] = {"no image": [], "one image": []}
        for name in self.class_names:
            total = sum(split.get(name, 0) for split in self.counts.values())
            if total < 2:
                by_size["one image" if total else "no image"].append(name)
        wrong = []
        for images, names in by_size.items():
            if len(names) > _FILES_SHOWN:
                shown = ", ".join(names[:_FILES_SHOWN])
                wrong.append(
                    f"{len(names):,} classes have {images}: they cannot be trained and"
                    f" tested ({shown}, ...)"
                )
            else:
                wrong += [
                    f"class {name} has {images}: it cannot be trained and tested"
                    for name in names
                ]
        return wrong

    def _skipped(self) -> list[str]:
        by_reason: dict[str, list[str]] = {}
        for skip in self.skips:
            by_reason.setdefault(skip.reason, []).append(skip.file)
        lines = []
        for reason, files in sorted(by_reason.items(), key=lambda r: -len(r[1])):
            shown = ", ".join(files[:_FILES_SHOWN])
            more = ", ..." if len(files) > _FILES_SHOWN else ""
            lines.append(f"skipped {len(files):,}: {reason} ({shown}{more})")
        if lines:
            lines.append(f"all skipped files are listed in {self.path / 'skipped.csv'}")
        return lines


def count(rows: Sequence[Any], class_names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Counts prepared rows: split -> class -> images; empty classes are 0."""
    tally = Counter((row.split, row.label) for row in rows)
    counts: dict[str, dict[str, int]] = {}
    for split in (s for s in SPLITS if any(row.split == s for row in rows)):
        counts[split] = {name: tally[split, k] for k, name in enumerate(class_names)}
        if tally[split, -1]:
            counts[split][REJECTED] = tally[split, -1]
    return counts


def _align(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in _columns(rows)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _columns(rows: list[list[str]]) -> list[list[str]]:
    longest = max(map(len, rows))
    padded = [row + [""] * (longest - len(row)) for row in rows]
    return [list(column) for column in zip(*padded)]
