"""results.json: what a finished run achieved, by every honest selection."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
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

ABLATION = {
    "local": "local",
    "global": "global",
    "direct": "fused",
    "constraint": "decision",
}
"""Rows of CFNet's ablation, and the logits each one judges."""

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


def _per_class(state: Classification, class_names: Sequence[str]) -> list[dict]:
    table = metrics.per_class(Classification(*(jnp.float32(x) for x in state)))
    return [
        {
            "class": name,
            **{key: float(table[key][i]) for key in ("precision", "recall", "f1")},
            "support": int(table["support"][i]),
        }
        for i, name in enumerate(class_names)
    ]


def _calibration(state: Classification) -> dict[str, Any]:
    table = metrics.calibration(Classification(*(jnp.float32(x) for x in state)))
    bins = [
        {
            "from": i / metrics.BINS,
            "to": (i + 1) / metrics.BINS,
            "count": int(table["count"][i]),
            "confidence": float(table["confidence"][i]) if table["count"][i] else None,
            "accuracy": float(table["accuracy"][i]) if table["count"][i] else None,
        }
        for i in range(metrics.BINS)
    ]
    return {"ece": scalars(state)["ece"], "bins": bins}


def _quartiles(values: np.ndarray) -> dict[str, Any]:
    quarter, median, three = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    summary = spread(values.tolist())
    del summary["runs"]
    return {**summary, "quartile_1": quarter, "median": median, "quartile_3": three}


def _fusion_weights(
    folder: RunFolder, tables: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, Any] | None:
    """Weights alpha of test images, over all and by true class."""
    names = ("alpha_local", "alpha_global")
    if not all(f"features/{name}" in table for table in tables for name in names):
        return None
    labels = np.concatenate([table["label"] for table in tables])
    alphas = {
        name: np.concatenate([table[f"features/{name}"] for table in tables])
        for name in names
    }
    return {
        "overall": {name: _quartiles(alpha) for name, alpha in alphas.items()},
        "per_class": [
            {
                "class": class_name,
                **{n: _quartiles(a[labels == i]) for n, a in alphas.items()},
            }
            for i, class_name in enumerate(folder.class_names)
            if np.any(labels == i)
        ],
    }


def _judge_predictions(folder: RunFolder, selection: str) -> dict[str, Any]:
    """Everything that a selection's saved predictions tell."""
    tables = [run_folder.predictions(run, selection) or {} for run in folder.runs]
    heads = sorted(
        name.removeprefix("logits/")
        for name in set.intersection(*(set(table) for table in tables))
        if name.startswith("logits/")
    )
    states = {
        head: [state_of(table[f"logits/{head}"], table["label"]) for table in tables]
        for head in heads
    }
    pooled = pool(states["decision"])
    found = {
        "selections": judge(states["decision"]),
        "per_class": _per_class(pooled, folder.class_names),
        "confusion": np.asarray(pooled.confusion).astype(int).tolist(),
        "calibration": _calibration(pooled),
    }
    if set(ABLATION.values()) <= set(heads):
        found["ablation"] = {
            name: judge(states[head]) for name, head in ABLATION.items()
        }
    elif len(heads) > 1:
        found["heads"] = {head: judge(states[head]) for head in heads}
    fusion_weights = _fusion_weights(folder, tables)
    if fusion_weights:
        found["fusion_weights"] = fusion_weights
    return found


def _finite(value: Any) -> Any:
    """The same, with None for numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def summarize(run_dir: str | Path) -> dict[str, Any]:
    """The content of results.json, from the run folder alone.

    Metrics are judged on test images. Means and sample standard deviations run
    over folds times seeds; `pooled` judges the predictions of all runs as one
    set. A selection without its data (no validation images, fewer than five
    epochs) is absent, never filled from another.

    Args:
      run_dir: the folder of a finished run.

    Returns:
      A JSON-ready dictionary: what ran (`method`, `dataset`, `class_names`,
      `protocol`, `data`, `command`, `config`, `environment`, `runs`), `headline`
      (the selection to quote), `selections`, and by selection `ablation` (CFNet:
      local, global, direct, constraint) or `heads`, `per_class`, `confusion`
      (rows: true class), `calibration`, `fusion_weights`; `robustness` once
      measured; `timing`. Accuracies are shares, not per cent.

    Raises:
      DataError: if this is no folder of a finished run.
    """
    folder = run_folder.load(run_dir)
    info = folder.info
    by_selection = {
        selection: _judge_predictions(folder, selection)
        for selection in run_folder.available(folder)
    }
    selections = {name: found["selections"] for name, found in by_selection.items()}
    for name, pick in (("mean_of_last_5", _last_five), (BEST_ON_TEST, _best)):
        values = _epoch_values(folder, pick)
        if values is not None:
            selections[name] = over_runs(values)
    sections = ("ablation", "heads", "per_class", "confusion", "calibration")
    details = {
        section: {
            name: found[section]
            for name, found in by_selection.items()
            if section in found
        }
        for section in (*sections, "fusion_weights")
    }
    headline = next(name for name in MEANINGS if name in by_selection)
    robustness = folder.path / "report" / "robustness.json"
    results = {
        "jaxfer_version": folder.config.get("jaxfer_version"),
        "method": info["method"],
        "dataset": info["dataset"],
        "class_names": folder.class_names,
        "protocol": info.get("protocol"),
        "data": info.get("data"),
        "command": info.get("command"),
        "parameters": info.get("parameters"),
        "runs": info["runs"],
        "headline": {"selection": headline, "meaning": MEANINGS[headline]},
        "selections": {n: selections[n] for n in MEANINGS if n in selections},
        **{section: content for section, content in details.items() if content},
        "timing": {
            "seconds": info.get("seconds"),
            "peak_memory_bytes": info.get("peak_memory_bytes"),
        },
        "environment": info.get("environment"),
        "config": folder.config,
    }
    if robustness.is_file():
        results["robustness"] = run_folder.read_json(robustness)
    return _finite(results)
