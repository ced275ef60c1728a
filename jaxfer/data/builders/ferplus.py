"""FER+ (Barsoum et al., ICMI 2016): FER2013's images with ten votes each."""

import csv
import io
import re
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from jaxfer.data import labels
from jaxfer.data.builders.plan import Example, Plan, Published, Skip
from jaxfer.data.builders.source import Source, is_image, layout_error, size_problem
from jaxfer.data.decode import encode_png
from jaxfer.data.records import FaceBuilder
from jaxfer.errors import DataError

_LABELS = re.compile(r"(?:^|.*/)FER2013(Train|Valid|Test)/label\.csv$", re.IGNORECASE)
_SPLIT = {"train": "train", "valid": "validation", "test": "test"}
_USAGE = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
_VOTES = 10
_SIDE = 48

_PUBLISHED = Published(
    {
        "train": {"": 28558},
        "validation": {"": 3579},
        "test": {"": 3573},
    },
    None,
    "rows of the owner's label.csv files",
)


class Ferplus(FaceBuilder):
    """FER+: 35,710 faces of 48x48 with ten votes over ten columns each.

    All images are prepared with their votes; `load` applies a label mode to
    them. The stored label is that of the majority rule, -1 where it has none.
    """

    layout = """
        FER2013Train/, FER2013Valid/, FER2013Test/, each with label.csv and its
        fer0000000.png files; or the two tables fer2013.csv and fer2013new.csv;
        either in a folder or in a zip
    """
    where = """
        votes: https://github.com/microsoft/FERPlus (fer2013new.csv); images:
        fer2013.csv of https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge
    """

    @staticmethod
    def scan(source: Source | None) -> Plan:
        """Finds images and votes.

        Args:
          source: the three folders, or the two tables.

        Returns:
          The plan, in the order of the tables.
        """
        assert source is not None
        tables = {n: m for n in source.sizes if (m := _LABELS.match(n))}
        by_name = {PurePosixPath(n).name.lower(): n for n in source.sizes}
        if tables:
            examples, skips = _folders(source, tables)
            layout = "FER+, image folders"
        elif "fer2013new.csv" in by_name and "fer2013.csv" in by_name:
            examples, skips = _tables(
                source, by_name["fer2013.csv"], by_name["fer2013new.csv"]
            )
            layout = "FER+, tables"
        else:
            raise layout_error(source, "FER+", Ferplus.layout, Ferplus.where)
        if not examples:
            raise DataError(
                f"{source.path}: FER+ labels were found but no image has usable "
                f"votes; the first problem: {skips[0].file}: {skips[0].reason}."
            )
        votes = np.asarray([e.votes for e in examples])
        examples = [
            Example(e.file, e.split, int(k), e.read, votes=e.votes)
            for e, k in zip(examples, labels.majority_votes(votes).label)
        ]
        total = sum(source.sizes.get(e.file, _SIDE * _SIDE) for e in examples)
        return Plan(labels.FERPLUS, examples, skips, _PUBLISHED, layout, total)


def _folders(
    source: Source, tables: dict[str, re.Match[str]]
) -> tuple[list[Example], list[Skip]]:
    examples, skips = [], list(source.skips)
    used = set(tables)
    for table, match in tables.items():
        folder = table.rpartition("/")[0] + "/"
        split = _SPLIT[match[1].lower()]
        for line, row in enumerate(csv.reader(io.StringIO(source.text(table))), 1):
            if not row or (line == 1 and not _numbers(row[-_VOTES:])):
                continue  # a blank line or a heading
            file = folder + row[0].strip()
            votes = _numbers(row[-_VOTES:]) if len(row) > _VOTES else None
            if votes is None:
                skips.append(
                    Skip(f"{table}:{line}", f"expected a name and {_VOTES} votes")
                )
            elif file not in source.sizes:
                skips.append(Skip(file, f"named in line {line} of {table}, not there"))
            elif file in used:
                skips.append(Skip(file, f"duplicate name: again in line {line}"))
            elif problem := size_problem(source, file) or _vote_problem(votes):
                skips.append(Skip(file, problem))
            else:
                read = partial(source.read, file)
                examples.append(Example(file, split, -1, read, votes=votes))
            used.add(file)
    for name in source.sizes:
        if name not in used:
            reason = "no row in label.csv" if is_image(name) else "not an image file"
            skips.append(Skip(name, reason))
    return examples, skips


def _tables(
    source: Source, pixels_name: str, votes_name: str
) -> tuple[list[Example], list[Skip]]:
    pixels = csv.reader(io.StringIO(source.text(pixels_name)))
    votes = csv.reader(io.StringIO(source.text(votes_name)))
    next(pixels, None), next(votes, None)  # headings
    examples, skips = [], list(source.skips)
    seen: set[str] = set()
    try:
        for line, (face, row) in enumerate(zip(pixels, votes, strict=True), 2):
            at = f"{votes_name}:{line}"
            name = row[1].strip() if len(row) == _VOTES + 2 else ""
            counts = _numbers(row[-_VOTES:]) if len(row) == _VOTES + 2 else None
            image = _pixels(face[1]) if len(face) == 3 else None
            if counts is None:
                skips.append(Skip(at, f"expected usage, a name and {_VOTES} votes"))
            elif not name:
                skips.append(Skip(at, "FER+ names no image here"))
            elif image is None or face[2] not in _USAGE:
                skips.append(
                    Skip(f"{pixels_name}:{line}", f"not {_SIDE * _SIDE} pixels, usage")
                )
            elif name in seen:
                skips.append(Skip(name, f"duplicate name: again in {at}"))
            elif problem := _vote_problem(counts):
                skips.append(Skip(name, problem))
            else:
                read = partial(encode_png, image)
                split = _USAGE[face[2]]
                examples.append(Example(name, split, -1, read, votes=counts))
            seen.add(name)
    except ValueError as error:
        raise DataError(
            f"{pixels_name} and {votes_name} differ in their number of rows; each "
            "row of one must belong to the same row of the other."
        ) from error
    return examples, skips


def _numbers(cells: list[str]) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(cell) for cell in cells)
    except ValueError:
        return None
    return numbers if len(numbers) == _VOTES else None


def _vote_problem(votes: tuple[float, ...]) -> str | None:
    if not all(0 <= v < float("inf") for v in votes):
        return "votes must be counts"
    return None if any(votes) else "no votes"


def _pixels(text: str) -> np.ndarray | None:
    try:
        values = np.array(text.split(), np.uint8)
    except (ValueError, OverflowError):
        return None
    return values.reshape(_SIDE, _SIDE) if values.size == _SIDE**2 else None
