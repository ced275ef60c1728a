"""Reading a finished run's folder: facts, learning curves, predictions."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxfer import files
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
    """The content of one of a run's JSON files; a damaged one is a `DataError`."""
    return files.read_record(path, DataError)


def write_text(path: Path, content: str | bytes) -> Path:
    """Writes so that a reader finds the old file or the new one, never a part.

    Raises:
      DataError: if the disk is full, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return files.write_atomically(path, content)
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


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """`write_text` of compressed arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return write_text(path, buffer.getvalue())


def is_measured(folder: RunFolder, name: str) -> bool:
    """Whether the report's section of this name has been measured.

    Args:
      folder: the run.
      name: of two files in RUN/report, what was found as JSON and pictures as .npz.
    """
    report = folder.path / "report"
    return all((report / f"{name}.{kind}").is_file() for kind in ("json", "npz"))


def pictures(
    folder: RunFolder, name: str, needed: Sequence[str] = ()
) -> dict[str, np.ndarray] | None:
    """The arrays of a measured section's pictures; None where it is not measured.

    Raises:
      DataError: they are damaged.
    """
    path = folder.path / "report" / f"{name}.npz"
    if not is_measured(folder, name):
        return None
    advice = files.RECORDS[f"{name}.json"].advice
    return files.read_arrays(path, DataError, needed=needed, advice=advice)


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
    kinds: dict[str, Any] = {"stage": str, "seed": int, "fold": int, "epoch": int}
    advice = "restore it, or delete it and have no learning curves"
    rows = files.read_rows(path, DataError, columns=kinds, advice=advice)
    unique = {
        (r["seed"], r["fold"], r.get("noise"), r["stage"], r["epoch"]): r for r in rows
    }
    names = rows[0].keys() if rows else ()

    def value(name: str, text: str) -> Any:
        return kinds[name](text) if name in kinds else float(text or "nan")

    try:
        return {
            name: np.array([value(name, row[name]) for row in unique.values()])
            for name in names
        }
    except ValueError as error:
        raise files.damaged(path, DataError, "numbers", str(error), advice) from error


def manifest(folder: RunFolder) -> list[dict[str, str]] | None:
    """The rows of split_manifest.csv; None where there is none.

    Raises:
      DataError: it is damaged.
    """
    path = folder.path / "split_manifest.csv"
    if not path.is_file():
        return None
    advice = (
        f"delete it and {path.with_name('data.json')}, and run the training command"
        " again, which makes both anew and trains nothing twice"
    )
    columns = ("fold", "role", "sha256", "subject")
    rows = files.read_rows(path, DataError, columns=columns, advice=advice)
    wrong = [row["fold"] for row in rows if not row["fold"].isdecimal()]
    if wrong:
        found = f"a fold {wrong[0]!r}"
        raise files.damaged(path, DataError, "numbers of folds", found, advice)
    return rows


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
    return outputs(path, ("index", "label", "logits/decision"))


def outputs(path: Path, needed: Sequence[str]) -> dict[str, np.ndarray] | None:
    """What a run's models answered, one of its .npz files; None where it is absent.

    Raises:
      DataError: the file is damaged, or its arrays are of different lengths.
    """
    if not path.is_file():
        return None
    advice = (
        f"delete it and {path.with_name('finished.json')}, and run the training command"
        " again, which makes both anew from the last checkpoint"
    )
    arrays = files.read_arrays(path, DataError, needed=needed, advice=advice)
    lengths = {name: len(array) for name, array in arrays.items() if array.ndim}
    if len({*lengths.values()}) > 1 or len(lengths) < len(arrays):
        found = f"lengths {lengths}"
        raise files.damaged(path, DataError, "a row for each image", found, advice)
    return arrays


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
