"""Where a run writes its figures: metrics.csv and TensorBoard events."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxfer import files
from jaxfer.errors import FULL, CheckpointError, JaxferError, system_errors

FIRST = ["seed", "fold", "noise", "stage", "epoch", "step", "seconds", "lr_scale"]


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, whole or not at all."""
    files.write_atomically(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The content of one of a run's JSON files; see `jaxfer.files.RECORDS`.

    Raises:
      CheckpointError: it is damaged.
      FileNotFoundError: there is none.
    """
    return files.read_record(path, CheckpointError)


class MetricsLog:
    """metrics.csv, one row an epoch and run; read back when a run continues."""

    def __init__(self, folder: Path, *, tensorboard: bool, writes: bool = True) -> None:
        """Open `folder`'s log, creating it where it is absent.

        Args:
          folder: a working folder.
          tensorboard: whether to write events as well.
          writes: False in all processes but the first, where nothing happens.

        Raises:
          CheckpointError: metrics.csv is not text, or not a table of metrics.
        """
        self._writes = writes
        self._path = folder / "metrics.csv"
        self._folder = folder
        self._tensorboard = tensorboard
        self._writers: dict[tuple[str, str], Any] = {}
        self._rows: list[dict[str, str]] = []
        self._fields = list(FIRST)
        if writes and self._path.exists():
            self._read()

    def _read(self) -> None:
        """Take over the rows of an earlier process, all but one that it did not end.

        It may have been killed, or the disk full, within a row: no checkpoint
        holds that row's epoch yet, so that it is trained and written again.
        """
        try:
            with self._path.open(newline="", encoding="utf-8") as file:
                text = file.read()
        except UnicodeDecodeError as error:
            raise self._damaged("a table as text", str(error)) from error
        whole = text[: text.rfind("\n") + 1]
        if not whole:  # the header comes with the file, never in parts
            raise self._damaged("a header", repr(text))
        reader = csv.DictReader(io.StringIO(whole, newline=""))
        self._fields = list(reader.fieldnames or FIRST)
        self._rows = list(reader)
        ragged = [row for row in self._rows if None in row or None in row.values()]
        if ragged or self._fields[: len(FIRST)] != FIRST:
            raise self._damaged(
                f"columns {', '.join(FIRST)}, ... and rows of that length",
                str(ragged[:1] or self._fields[:8]),
            )
        if whole != text:
            self._write_all()

    def _damaged(self, expected: str, found: str) -> JaxferError:
        advice = "restore it, or move it away and lose the curves until here"
        return files.damaged(self._path, CheckpointError, expected, found, advice)

    def keep(self, wanted: Callable[[dict[str, str]], bool]) -> None:
        """Drop the rows that a continued run will write again."""
        if not self._writes:
            return
        self._rows = [row for row in self._rows if wanted(row)]
        self._write_all()

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Append rows; new columns are added to the file where they appear."""
        if not self._writes:
            return
        texts = [{k: _text(v) for k, v in row.items()} for row in rows]
        self._rows += texts
        new = sorted({k for row in texts for k in row} - set(self._fields))
        if new or not self._path.exists():
            self._fields += new
            self._write_all()
        else:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._fields).writerows(texts)
        if self._tensorboard:
            for row in rows:
                self._add_events(row)

    def _write_all(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._fields)
        writer.writeheader()
        writer.writerows(self._rows)
        files.write_atomically(self._path, text.getvalue())

    def _add_events(self, row: dict[str, Any]) -> None:
        from tensorboardX import SummaryWriter

        run = f"seed_{row['seed']:02d}_fold_{row['fold']:02d}"
        if row["noise"]:
            run += f"_noise_{100 * row['noise']:g}"
        key = (run, row["stage"])
        if key not in self._writers:
            self._writers[key] = SummaryWriter(
                str(self._folder / "tensorboard" / run / row["stage"]),
                purge_step=row["epoch"],
            )
        for name, value in row.items():
            if "/" in name or name == "lr_scale":
                self._writers[key].add_scalar(name, value, row["epoch"])

    def close(self) -> None:
        """Flush what is buffered."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


def _text(value: Any) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def is_full_disk(error: BaseException) -> bool:
    """Whether an error comes from a disk, or a quota, that is full."""
    return bool(system_errors(error) & FULL)


def full_disk(error: BaseException, folder: Path) -> CheckpointError:
    """What to tell a user whose disk is full."""
    return CheckpointError(
        f"the disk is full, writing {folder} ({error}). Checkpoints written before"
        " are whole: free some space and run the same command to continue."
    )
