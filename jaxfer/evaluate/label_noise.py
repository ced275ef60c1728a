"""Results by the rate of wrong training labels, beside another run's if asked."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxfer.config import differences
from jaxfer.errors import ConfigError, DataError
from jaxfer.evaluate import run_folder
from jaxfer.evaluate.run_folder import PREDICTIONS, Run, RunFolder
from jaxfer.evaluate.selections import of_predictions, spread, with_epochs
from jaxfer.evaluate.tables import BY_RATE

_ANSWERS = ("memorised", "corrected", "other")

_WRONG = ("index", "label", "given", "logits/decision")
"""Arrays of wrong_labels_*.npz."""

_FREE = ("num_seeds", "parallel_folds")
"""Fields of a protocol in which two runs that are compared may differ."""


def _answers(run: Run, selection: str) -> dict[str, float] | None:
    """Shares of a run's wrong-labelled training images by the model's answer."""
    path = run.path / f"wrong_labels_{PREDICTIONS[selection]}.npz"
    arrays = run_folder.outputs(path, _WRONG)
    if arrays is None or not len(arrays["label"]):
        return None
    true, given = arrays["label"], arrays["given"]
    answer = arrays["logits/decision"].argmax(axis=1)
    memorised, corrected = np.mean(answer == given), np.mean(answer == true)
    return {
        "memorised": float(memorised),
        "corrected": float(corrected),
        "other": float(1.0 - memorised - corrected),
    }


def _count(run: Run) -> int:
    """How many of a run's training labels are wrong."""
    arrays = run_folder.outputs(run.path / "wrong_labels_last.npz", _WRONG)
    return 0 if arrays is None else len(arrays["index"])


def entries(folder: RunFolder) -> list[dict[str, Any]]:
    """Results of every rate of wrong training labels, lowest first.

    Returns:
      A dictionary for each rate: `rate`; `runs`, how many; `accuracy` and
      `balanced_accuracy` on test images by selection; `wrong_labels`, their number in
      all runs; and by selection, of the training images with a wrong label, the share
      for which the model answers that label (`memorised`), the true one (`corrected`)
      or another (`other`), empty where no label is wrong. Shares and accuracies are
      spreads over folds and seeds, see `selections.spread`.
    """
    found = []
    for rate, group in run_folder.by_rate(folder):
        judged = with_epochs(group, of_predictions(group))
        answers: dict[str, dict[str, Any]] = {name: {} for name in _ANSWERS}
        for selection in run_folder.available(group):
            shares = [s for run in group.runs if (s := _answers(run, selection))]
            for name in _ANSWERS if shares else ():
                answers[name][selection] = spread([s[name] for s in shares])
        found.append(
            {
                "rate": rate,
                "runs": len(group.runs),
                **{
                    metric: {name: found[metric] for name, found in judged.items()}
                    for metric in BY_RATE
                },
                "wrong_labels": sum(map(_count, group.runs)),
                **answers,
            }
        )
    return found


def _rates(folder: RunFolder) -> str:
    """Kind and rates of a run's label noise in words."""
    kind = folder.config.get("data", {}).get("label_noise", {}).get("kind") or "none"
    rates = [f"{100 * rate:.4g} %" for rate, _ in run_folder.by_rate(folder)]
    return f"{kind}, {', '.join(rates)}"


def _check_comparable(folder: RunFolder, other: RunFolder) -> None:
    """Raises unless both runs had the same data, protocol and rates."""

    def protocol(one: RunFolder) -> dict[str, Any]:
        fields = one.info.get("protocol") or {}
        return {k: v for k, v in fields.items() if k not in _FREE}

    def prints(one: RunFolder) -> str:
        found = (one.info.get("data") or {}).get("fingerprint", "unknown")
        return f"{one.info['dataset']}, fingerprint {found}"

    facts = {"label noise": _rates, "data set": prints, "protocol": protocol}
    for name, fact in facts.items():
        mine, others = fact(folder), fact(other)
        if mine != others:
            raise DataError(
                f"{other.path} cannot stand beside {folder.path}: expected the same "
                f"{name}, found {others} where this run has {mine}. Train it again "
                "with this run's config, changing only what is to be compared."
            )


def write_beside(run_dir: str | Path, other_dir: str | Path) -> dict[str, Any]:
    """Compares a run with another over the rates of label noise.

    Args:
      run_dir: the folder of a finished run, trained on wrong labels.
      other_dir: another, on the same data, protocol and rates.

    Returns:
      What RUN/report/beside.json then holds, for results and report: the runs'
      `names`, the `differences` of their configs and the other's `label_noise`.

    Raises:
      ConfigError: the run's labels were not made wrong.
      DataError: no finished runs, or they cannot be compared.
    """
    folder, other = run_folder.load(run_dir), run_folder.load(other_dir)
    if not any(run.noise for run in folder.runs):
        raise ConfigError(
            f"--beside compares over rates of label noise, and {folder.path} was "
            "trained without: set data.label_noise.kind and rates, and train again."
        )
    _check_comparable(folder, other)
    paths = [one.path.resolve() for one in (folder, other)]
    names = [path.name for path in paths]
    if len(set(names)) < 2:
        names = [f"{path.parent.name}/{path.name}" for path in paths]
    content = {
        "names": names,
        "differences": differences(folder.config, other.config),
        "label_noise": entries(other),
    }
    run_folder.write_json(folder.path / "report" / "beside.json", content)
    return content
