"""Honest ways to choose the weights to judge, and the test results of each."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfer import metrics
from jaxfer.evaluate import run_folder
from jaxfer.evaluate.run_folder import METRICS, RunFolder
from jaxfer.metrics import Classification

BEST_ON_TEST = "best_on_test (optimistic: chosen by test accuracy)"

MEANINGS = {
    "best_by_validation": "the epoch that was best on held-out validation images",
    "last": "the last epoch of training",
    "mean_of_last_5": "the mean of the last five epochs' test results",
    BEST_ON_TEST: "the epoch that happened to be best on the test images themselves; "
    "an upper bound, not an estimate",
}
"""Selections in order of preference, and what each one means."""

_classify = jax.jit(metrics.classification)
_compute = jax.jit(metrics.compute)


def state_of(logits: np.ndarray, labels: np.ndarray) -> Classification:
    """The metrics' state of (n, K) logits and (n,) labels, as float64 arrays.

    Rows are padded to a power of two, so that few shapes are compiled.
    """
    padded = 1 << max(len(labels) - 1, 0).bit_length()
    filled = np.zeros((padded, logits.shape[1]), np.float32)
    filled[: len(labels)] = logits
    truth = np.zeros(padded, np.int32)
    truth[: len(labels)] = labels
    where = np.arange(padded) < len(labels)
    state = _classify(jnp.asarray(filled), jnp.asarray(truth), jnp.asarray(where))
    return Classification(*(np.asarray(leaf, np.float64) for leaf in state))  # type: ignore[arg-type]


def pool(states: Sequence[Classification]) -> Classification:
    """The state of all runs' predictions together."""
    return Classification(*(sum(leaves) for leaves in zip(*states, strict=True)))


def scalars(state: Classification) -> dict[str, float]:
    """The scalar metrics of a state."""
    values = _compute(Classification(*(jnp.float32(leaf) for leaf in state)))
    return {name: float(values[name]) for name in METRICS}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation (None of one value) over runs."""
    runs = [float(value) for value in values]
    std = float(np.std(runs, ddof=1)) if len(runs) > 1 else None
    return {"mean": float(np.mean(runs)), "std": std, "n": len(runs), "runs": runs}


def over_runs(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """`spread` of every metric that all runs have."""
    return {
        name: spread([row[name] for row in rows])
        for name in METRICS
        if all(name in row for row in rows)
    }


def judge(states: Sequence[Classification]) -> dict[str, Any]:
    """Metrics over runs, and of all predictions pooled."""
    pooled = pool(states)
    return {
        **over_runs([scalars(state) for state in states]),
        "pooled": {**scalars(pooled), "n": int(pooled.count)},
    }


def _epoch_values(folder: RunFolder, pick: Any) -> list[dict[str, float]] | None:
    """Test metrics of each run's chosen final-stage epochs, None if any lacks them.

    `pick` maps the (epochs,) test accuracies of a run to the rows to average, or
    to None.
    """
    values = []
    for run in folder.runs:
        rows = run_folder.epochs_of(folder.history, run, folder.stages[-1])
        accuracy = rows.get("test/accuracy", np.zeros(0))
        judged = np.flatnonzero(np.isfinite(accuracy))
        chosen = pick(accuracy[judged]) if len(judged) else None
        if chosen is None:
            return None
        chosen = judged[chosen]
        columns = {m: rows[f"test/{m}"] for m in METRICS if f"test/{m}" in rows}
        values.append({m: float(np.mean(c[chosen])) for m, c in columns.items()})
    return values


def _last_five(accuracy: np.ndarray) -> np.ndarray | None:
    return np.arange(len(accuracy))[-5:] if len(accuracy) >= 5 else None


def _best(accuracy: np.ndarray) -> np.ndarray:
    return np.array([np.argmax(accuracy)])


def of_predictions(folder: RunFolder) -> dict[str, Any]:
    """Metrics over runs of every selection with saved predictions."""
    judged = {}
    for selection in run_folder.available(folder):
        tables = [run_folder.predictions(run, selection) or {} for run in folder.runs]
        states = [state_of(t["logits/decision"], t["label"]) for t in tables]
        judged[selection] = judge(states)
    return judged


def with_epochs(folder: RunFolder, judged: Mapping[str, Any]) -> dict[str, Any]:
    """`judged` and the selections that metrics.csv tells, in order of preference."""
    found = dict(judged)
    for name, pick in (("mean_of_last_5", _last_five), (BEST_ON_TEST, _best)):
        values = _epoch_values(folder, pick)
        if values is not None:
            found[name] = over_runs(values)
    return {name: found[name] for name in MEANINGS if name in found}
