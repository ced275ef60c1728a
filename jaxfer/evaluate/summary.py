"""results.json: what a finished run achieved, by every honest selection."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxfer import metrics
from jaxfer.evaluate import facts, label_noise, run_folder
from jaxfer.evaluate.run_folder import RunFolder
from jaxfer.evaluate.selections import (
    MEANINGS,
    judge,
    pool,
    scalars,
    spread,
    state_of,
    with_epochs,
)
from jaxfer.metrics import Classification

ABLATION = {
    "local": "local",
    "global": "global",
    "direct": "fused",
    "constraint": "decision",
}
"""Rows of CFNet's ablation, and the logits each one judges."""


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


def judge_predictions(folder: RunFolder, selection: str) -> dict[str, Any]:
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
        "calibration": _calibration(pooled),
    }
    if len(folder.class_names) <= metrics.CONFUSION_CLASSES:
        found["confusion"] = np.asarray(pooled.confusion).astype(int).tolist()
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
    epochs) is absent, never filled from another. Runs with different rates of
    wrong training labels are never averaged: everything but `label_noise` is of
    the lowest rate.

    Args:
      run_dir: the folder of a finished run.

    Returns:
      A JSON-ready dictionary: what ran (`method`, `dataset`, `class_names`,
      `protocol`, `data`, `command`, `config`, `environment`, `runs`), `headline`
      (the selection to quote), `selections`, and by selection `ablation` (CFNet:
      local, global, direct, constraint) or `heads`, `per_class`, `confusion`
      (rows: true class; absent above `metrics.CONFUSION_CLASSES` classes),
      `calibration`, `fusion_weights`; `label_noise` (see `label_noise.entries`)
      where labels were made wrong; `robustness`, `beside`, `suspect_labels`,
      `explanations` and `synthesis` once measured; `timing`.
      Accuracies are shares, not per cent.

    Raises:
      DataError: if this is no folder of a finished run.
    """
    whole = run_folder.load(run_dir)
    info = whole.info
    groups = run_folder.by_rate(whole)
    rate, folder = groups[0]
    by_selection = {
        selection: judge_predictions(folder, selection)
        for selection in run_folder.available(folder)
    }
    judged = {name: found["selections"] for name, found in by_selection.items()}
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
    meaning = MEANINGS[headline]
    if len(groups) > 1:
        meaning += (
            f"; of the runs with {100 * rate:g} % wrong training labels, the lowest "
            "rate trained"
        )
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
        "headline": {"selection": headline, "meaning": meaning},
        "selections": with_epochs(folder, judged),
        **{section: content for section, content in details.items() if content},
        "timing": {
            "seconds": info.get("seconds"),
            "peak_memory_bytes": info.get("peak_memory_bytes"),
            "waits": facts.waits(whole),
        },
        "environment": info.get("environment"),
        "config": folder.config,
    }
    if len(groups) > 1:
        results["headline"]["noise"] = rate
    if any(run.noise for run in whole.runs):
        results["label_noise"] = label_noise.entries(whole)
    measured = ("robustness", "beside", "suspect_labels", "explanations", "synthesis")
    for name in measured:
        path = whole.path / "report" / f"{name}.json"
        if path.is_file():
            results[name] = run_folder.read_json(path)
    return _finite(results)
