"""Reading a finished run's folder: facts, learning curves, predictions."""

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxfer.data.label_files import label_files
from jaxfer.errors import DataError

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "ece", "loss")

PREDICTIONS = {"best_by_validation": "validation", "last": "last"}
"""Selections whose predictions are saved, and the files' suffix."""

History = dict[str, np.ndarray]
"""Columns of metrics.csv by name, each (rows,); NaN where a cell is empty."""


class Run(NamedTuple):
    """One training run: a fold under a seed, and where its files are.

    Attributes:
      seed: of its training.
      fold: of the protocol.
      path: its folder.
      noise: the share of its training labels that were made wrong.
    """

    seed: int
    fold: int
    path: Path
    noise: float = 0.0


class RunFolder(NamedTuple):
    """What a finished run's folder tells.

    Attributes:
      path: the folder.
      config: content of config.json.
      info: content of run.json.
      runs: every run, folds within rates of label noise within seeds.
      history: metrics.csv, empty if there is none.
    """

    path: Path
    config: dict[str, Any]
    info: dict[str, Any]
    runs: tuple[Run, ...]
    history: History

    @property
    def class_names(self) -> list[str]:
        """The classes, in the order of the logits."""
        return list(self.info["class_names"])

    @property
    def stages(self) -> list[str]:
        """The stages' names, in order."""
        return list(self.info["stages"])


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; a damaged one is a `DataError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(
            f"{path} should be a JSON file that a run wrote, but cannot be read: "
            f"{error}. Restore it, or train again into a new folder."
        ) from error


def write_text(path: Path, text: str) -> Path:
    """Writes so that a reader finds the old file or the new one, never a part.

    Raises:
      DataError: if the disk is full, or the folder cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        return partial.replace(path)
    except OSError as error:
        raise DataError(
            f"{path} could not be written ({error}). Free some space or allow "
            "writing there, then run `jaxfer evaluate` on the run folder; nothing "
            "that training left is lost."
        ) from error


def write_json(path: Path, content: Any) -> Path:
    """`write_text` of strict JSON."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    return write_text(path, text + "\n")


def load(path: str | Path) -> RunFolder:
    """Reads the folder of a finished run.

    Args:
      path: the run folder, as the trainer named it.

    Returns:
      The run's facts; predictions are read when asked for.

    Raises:
      DataError: if this is no run folder, or the run has not finished.
    """
    path = Path(path)
    for name in ("config.json", "run.json"):
        if not (path / name).is_file():
            found = "it does not exist" if not path.is_dir() else f"it has no {name}"
            unfinished = (path / "config.json").is_file()
            advice = (
                "The run has not finished: run its training command again, which "
                "continues where it stopped."
                if unfinished
                else "Name the folder that training printed, with config.json and "
                "run.json in it."
            )
            raise DataError(f"{path} is not a finished run folder: {found}. {advice}")
    info = read_json(path / "run.json")
    runs = tuple(
        Run(
            int(run["seed"]),
            int(run["fold"]),
            path / run["dir"],
            float(run.get("noise", 0.0)),
        )
        for run in info["runs"]
    )
    missing = [
        str(run.path.relative_to(path))
        for run in runs
        if not (run.path / "predictions_last.npz").is_file()
    ]
    if missing or not runs:
        raise DataError(
            f"{path} holds an unfinished run: expected predictions_last.npz in each "
            f"of {len(runs)} runs, not found in {', '.join(missing) or 'any'}. Run "
            f"the training command again, which continues where it stopped"
            + (f": {info['command']}" if info.get("command") else ".")
        )
    config = read_json(path / "config.json")
    return RunFolder(path, config, info, runs, read_history(path / "metrics.csv"))


def read_history(path: Path) -> History:
    """Reads metrics.csv; the last row of an epoch counts if there are several.

    Args:
      path: the file; one that does not exist has no rows and no columns.

    Returns:
      Columns by name: `stage` str, `seed`, `fold` and `epoch` int, others float.
    """
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    unique = {
        (r["seed"], r["fold"], r.get("noise"), r["stage"], r["epoch"]): r for r in rows
    }
    kinds: dict[str, Any] = {"stage": str, "seed": int, "fold": int, "epoch": int}
    names = rows[0].keys() if rows else ()
    return {
        name: np.array(
            [
                kinds[name](row[name]) if name in kinds else float(row[name] or "nan")
                for row in unique.values()
            ]
        )
        for name in names
    }


def epochs_of(history: History, run: Run, stage: str) -> History:
    """The rows of one run and stage, in the order of epochs."""
    if not history:
        return {}
    mine = (history["seed"] == run.seed) & (history["fold"] == run.fold)
    if "noise" in history:  # written with 7 digits
        mine &= np.isclose(history["noise"], run.noise, rtol=1e-6, atol=0.0)
    rows = np.flatnonzero(mine & (history["stage"] == stage))
    rows = rows[np.argsort(history["epoch"][rows], kind="stable")]
    return {name: column[rows] for name, column in history.items()}


def predictions(run: Run, selection: str) -> dict[str, np.ndarray] | None:
    """The saved test predictions of one run, or None where there are none.

    Args:
      run: the run.
      selection: a key of `PREDICTIONS`.

    Returns:
      `index` (n,), `label` (n,), `logits/decision` (n, K), and where the method
      has them `logits/<head>` (n, K) and `features/<name>` (n,).
    """
    path = run.path / f"predictions_{PREDICTIONS[selection]}.npz"
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def by_rate(folder: RunFolder) -> list[tuple[float, RunFolder]]:
    """The folder's runs by their rate of wrong training labels, lowest first.

    Labels from one file are one group, whatever share of them each fold has got.
    """
    noise = folder.config.get("data", {}).get("label_noise", {})
    if noise.get("kind") == "file" and len(label_files(noise.get("file", ""))) < 2:
        return [(float(np.mean([run.noise for run in folder.runs])), folder)]
    return [
        (rate, folder._replace(runs=tuple(r for r in folder.runs if r.noise == rate)))
        for rate in sorted({run.noise for run in folder.runs})
    ]


def available(folder: RunFolder) -> list[str]:
    """Selections whose predictions every run has; the headline's comes first."""
    return [
        selection
        for selection, suffix in PREDICTIONS.items()
        if all((r.path / f"predictions_{suffix}.npz").is_file() for r in folder.runs)
    ]
