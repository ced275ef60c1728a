"""A prepared data set: its table, its images, and reading them fast."""

import csv
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxfer.data import labels
from jaxfer.data.builders.plan import Skip
from jaxfer.data.prepare import data_folder, prepare
from jaxfer.data.replace import put_back
from jaxfer.data.shards import RandomAccess, Shards, damaged, open_shards, read_rows
from jaxfer.errors import ConfigError, DataError

LABEL_MODES = ("majority", "soft")


@dataclass(frozen=True)
class Table:
    """One row per image, over all splits.

    Attributes:
      file: str (N,), names relative to the source.
      split: str (N,), "train", "validation", "test", or "all" where the
        source has no splits.
      label: int32 (N,), index into the data set's class names.
      subject: str (N,), who is seen; "" where unknown.
      sequence: str (N,), which recording; "" where unknown.
      sha256: str (N,), of the encoded image.
      target: float32 (N, K), label distributions, or None for hard labels.
      valence: float32 (N,), -1 to 1, NaN where unknown; None where the data set
        has none.
      arousal: likewise.
    """

    file: np.ndarray
    split: np.ndarray
    label: np.ndarray
    subject: np.ndarray
    sequence: np.ndarray
    sha256: np.ndarray
    target: np.ndarray | None = None
    valence: np.ndarray | None = None
    arousal: np.ndarray | None = None

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.label)


@dataclass(frozen=True)
class Dataset:
    """A prepared data set.

    Attributes:
      name: as it was loaded.
      class_names: in the data set's own order.
      table: see `Table`.
      source: encoded images by row of the table.
      dropped: why rows are not in the table under this label mode -> how many.
      skips: files of the owner's source that were not prepared, and why.
    """

    name: str
    class_names: tuple[str, ...]
    table: Table
    source: RandomAccess
    dropped: dict[str, int] = field(default_factory=dict)
    skips: tuple[Skip, ...] = ()


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    label_mode: str = "majority",
) -> Dataset:
    """Opens a prepared data set.

    Drawn faces are drawn on the spot where they are not prepared yet.

    Args:
      name: as in `prepare`, or as it was saved.
      data_dir: where it was prepared; see `jaxfer.data.prepare.data_folder`.
      label_mode: for data with votes (FER+): "majority" gives hard labels by
        `jaxfer.data.labels.majority_votes`; "soft" gives the train split label
        distributions by `soft_votes`, while validation and test stay with the
        majority, as in the FER+ paper, so that accuracies compare. Images that
        a mode rejects are left out and counted in `dropped`.

    Raises:
      DataError: not prepared (the message says how), damaged, of fewer than two
        classes, or soft labels of data without votes.
    """
    if label_mode not in LABEL_MODES:
        raise ConfigError(
            f"label_mode must be one of {', '.join(LABEL_MODES)}, found {label_mode!r}."
        )
    folder = data_folder(data_dir) / name
    put_back(folder)
    if not (folder / "prepared.json").exists():
        if not _is_drawn(name):
            raise DataError(_not_prepared(name, folder))
        try:
            prepare(name, data_dir=data_dir, progress=False)
        except DataError:  # another process was faster
            if not (folder / "prepared.json").exists():
                raise
    try:
        facts = json.loads((folder / "prepared.json").read_text())
        with np.load(folder / "table.npz") as arrays:
            columns = {key: arrays[key] for key in arrays.files}
        columns["file"] = columns.pop("name")
        splits = tuple(dict.fromkeys(columns["split"].tolist()))
        found = len(open_shards(folder, splits))
        if not found == len(columns["label"]) == facts["images"]:
            raise ValueError(f"{found} images, {len(columns['label'])} rows")
        for file, size in facts["shards"].items():
            if (folder / file).stat().st_size != size:
                raise ValueError(f"{file} does not have {size:,} bytes")
    except Exception as error:
        raise damaged(folder, error) from error
    votes = columns.pop("votes")
    affect = columns.pop("affect", None)
    if affect is not None and affect.shape[-1]:
        columns["valence"], columns["arousal"] = affect.T
    class_names = tuple(facts["class_names"])
    keep, target = np.ones(found, bool), None
    dropped: dict[str, int] = {}
    if votes.shape[-1]:
        keep, label, target, dropped = _apply(label_mode, votes, columns["split"])
        columns["label"] = label
    elif label_mode == "soft":
        raise DataError(f"{name} has no votes; soft labels are for ferplus.")
    rows = np.flatnonzero(keep)
    table = Table(
        **{key: column[rows] for key, column in columns.items()},
        target=None if target is None else target[rows],
    )
    labels.check_classes(str(folder), class_names, table.label.tolist())
    return Dataset(
        name,
        class_names,
        table,
        Shards(folder, splits, rows),
        dropped,
        _read_skips(folder / "skipped.csv"),
    )


def read_images(
    dataset: Dataset,
    rows: Sequence[int] | np.ndarray,
    size: int,
    *,
    workers: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> np.ndarray:
    """Reads and decodes images with threads (decoding runs outside the GIL).

    Args:
      dataset: where from.
      rows: int (n,), rows of the table; -1 gives a black image.
      size: pixels on each side.
      workers: threads; by default one per CPU.
      progress: called with the number of images just done.

    Returns:
      uint8 (n, size, size, 3), RGB, in the order of `rows`.

    Raises:
      DataError: an image cannot be read, or a row is out of range.
    """
    return read_rows(dataset.source, rows, size, workers=workers, progress=progress)


def _apply(
    label_mode: str, votes: np.ndarray, split: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, int]]:
    """Rows to keep, labels, targets, and the numbers of rows dropped."""
    label, target, reason = labels.majority_votes(votes)
    if label_mode == "soft":
        soft = labels.soft_votes(votes)
        train = split == "train"
        label = np.where(train, soft.label, label)
        target = np.where(train[:, None], soft.target, target)
        reason = np.where(train, soft.reason, reason)
    dropped: dict[str, int] = {}
    for where, why in zip(split.tolist(), reason.tolist()):
        if why:
            dropped[f"{where}: {why}"] = dropped.get(f"{where}: {why}", 0) + 1
    return label >= 0, label, target, dropped


def _read_skips(path: Path) -> tuple[Skip, ...]:
    with path.open(newline="") as file:
        return tuple(Skip(*row) for row in list(csv.reader(file))[1:])


def _is_drawn(name: str) -> bool:
    from jaxfer.data.builders import BUILDERS, find

    return name in BUILDERS and not find(name).needs_source


def _not_prepared(name: str, folder: Path) -> str:
    from jaxfer.data.builders import BUILDERS, find

    if name in BUILDERS:
        builder = find(name)
        layout = " ".join(builder.layout.split())
        where = " ".join(builder.where.split())
        how = (
            f"Prepare it with: jaxfer prepare {name} --source DIR\n"
            f"DIR is a folder or a zip with {layout}.\nWhere to get it: {where}."
        )
    else:
        prepared = sorted(
            p.parent.name
            for p in folder.parent.glob("*/prepared.json")
            if not p.parent.name.startswith(".")
        )
        kin = max(filter(name.startswith, BUILDERS), key=len, default="image_folder")
        whose = "your own folders" if kin == "image_folder" else f"another {kin}"
        how = (
            f"Prepared there: {', '.join(prepared) or 'nothing'}. Data sets that can "
            f"be prepared: {', '.join(BUILDERS)}; {whose} with: jaxfer "
            f"prepare {kin} --source DIR --save-as {name}."
        )
    return (
        f"{name} is not prepared in {folder.parent}.\n{how}\n"
        "To try without any data: python -m jaxfer.launch --config quickstart.py"
    )
