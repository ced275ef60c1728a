"""Learning curves: a stage's metrics against the epoch."""

from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxfer.evaluate import run_folder
from jaxfer.evaluate.run_folder import RunFolder
from jaxfer.evaluate.svg import (
    MUTED,
    TEST,
    TRAIN,
    VALIDATION,
    WIDTH,
    inline,
    percent,
    styled,
)

_PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def learning_curve(folder: RunFolder, stage: str, metric: str) -> str | None:
    """One metric against the epoch: mean over runs, with a band of one deviation.

    Beneath it, where the learning rate was ever reduced, its scale in every run.

    Returns:
      An SVG element, or None where the stage has no such metric.
    """
    curves = [run_folder.epochs_of(folder.history, r, stage) for r in folder.runs]
    columns = {p: f"{p}/{metric}" for p in _PARTS}
    longest = max((len(c.get("epoch", ())) for c in curves), default=0)
    stacked = {
        part: _stack([c[column] for c in curves], longest)
        for part, column in columns.items()
        if all(column in c for c in curves)
    }
    stacked = {p: values for p, values in stacked.items() if np.isfinite(values).any()}
    if not stacked or not longest:
        return None
    scales = [c["lr_scale"] for c in curves if "lr_scale" in c]
    reduced = any(np.nanmin(s) < np.nanmax(s) for s in scales if len(s))
    with styled():
        figure = Figure((WIDTH, 3.3 if reduced else 2.7), layout="constrained")
        if reduced:
            axes, below = figure.subplots(
                2, 1, sharex=True, gridspec_kw={"height_ratios": [4.4, 1]}
            )
            for scale in scales:
                below.step(
                    np.arange(1, len(scale) + 1),
                    scale,
                    where="mid",
                    color=MUTED,
                    alpha=0.55,
                    linewidth=1.0,
                )
            below.set_yscale("log")
            below.set_ylabel("rate scale")
            below.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            below.minorticks_off()
            below.set_xlabel("epoch")
        else:
            axes = figure.subplots()
            axes.set_xlabel("epoch")
        for at, (part, values) in zip(_places(stacked.values()), stacked.items()):
            _mean_and_band(axes, at, values, color=_PARTS[part], label=part)
        if metric == "loss":
            highest = max(np.nanmax(values) for values in stacked.values())
            axes.set_ylim(0, 1.06 * highest or 1.0)
        _by_epoch(axes, metric, longest)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3)
        return inline(
            figure, f"{stage}-{metric}", f"{metric} by epoch of stage {stage}"
        )


def rate_curve(
    groups: Sequence[tuple[float, RunFolder]], stage: str, metric: str
) -> str | None:
    """A test metric against the epoch, one line per rate of wrong labels.

    Args:
      groups: rates, lowest first, and their runs, see `run_folder.by_rate`.
      stage: whose epochs.
      metric: of the test part.

    Returns:
      An SVG element, or None where the stage has no such metric.
    """
    stacked = {}
    for rate, folder in groups:
        curves = [run_folder.epochs_of(folder.history, r, stage) for r in folder.runs]
        rows = [c[f"test/{metric}"] for c in curves if f"test/{metric}" in c]
        longest = max(map(len, rows), default=0)
        values = _stack(rows, longest)
        if np.isfinite(values).any():
            stacked[rate] = values
    if not stacked:
        return None
    longest = max(values.shape[1] for values in stacked.values())
    with styled():
        figure = Figure((WIDTH, 2.7), layout="constrained")
        axes = figure.subplots()
        strengths = np.linspace(0.3, 1.0, len(stacked))
        places = _places(stacked.values())
        for (rate, values), strength, at in zip(stacked.items(), strengths, places):
            label = f"{100 * rate:g} %"
            _mean_and_band(axes, at, values, color=TEST, label=label, strength=strength)
        axes.set_xlabel("epoch")
        if metric == "loss":
            axes.set_ylim(bottom=0)
        _by_epoch(axes, metric, longest)
        columns = min(len(stacked), 6)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns)
        description = (
            f"Test {metric} by epoch of stage {stage} and rate of wrong labels"
        )
        return inline(figure, f"{stage}-{metric}", description)


def _places(stacked: Collection[np.ndarray]) -> list[np.ndarray]:
    """Where the values of each (runs, epochs) stand along the axis of epochs.

    Of a single epoch they stand side by side, so that each can be told.
    """
    longest = max(values.shape[1] for values in stacked)
    between = 0.8 / len(stacked) if longest == 1 else 0.0
    middle = (len(stacked) - 1) / 2
    return [
        np.arange(1, values.shape[1] + 1) + between * (place - middle)
        for place, values in enumerate(stacked)
    ]


def _mean_and_band(
    axes: Axes,
    x: np.ndarray,
    values: np.ndarray,
    *,
    color: str,
    label: str,
    strength: float = 1.0,
) -> None:
    """The mean of (runs, n) values where any is known, and one deviation around."""
    known = np.isfinite(values).any(axis=0)
    x, values = x[known], values[:, known]
    count = np.isfinite(values).sum(axis=0)
    mean = np.nansum(values, axis=0) / count
    marker = "o" if len(x) == 1 else None
    axes.plot(x, mean, color=color, alpha=strength, label=label, marker=marker)
    squares = np.nansum((values - mean) ** 2, axis=0)
    band = np.sqrt(squares / np.maximum(count - 1, 1))
    if len(values) > 1 and len(x) == 1:  # a band has no width there
        axes.errorbar(x, mean, band, color=color, alpha=0.5 * strength, capsize=3)
    elif len(values) > 1:
        axes.fill_between(
            x,
            mean - band,
            mean + band,
            color=color,
            alpha=0.16 * strength,
            linewidth=0,
        )


def _by_epoch(axes: Axes, metric: str, longest: int) -> None:
    """Axes of a learning curve."""
    if metric == "loss":
        axes.set_ylabel("loss")
    else:
        percent(axes)
        axes.set_ylabel(f"{metric}, %")
    if longest > 1:
        axes.locator_params("x", integer=True)
        axes.set_xlim(1 - 0.02 * longest, longest + 0.02 * longest)
        return
    axes.set_xticks([1])
    axes.set_xlim(0.5, 1.5)
    for line in axes.get_lines():
        if line.get_marker() == "o":
            x, y = map(float, np.asarray(line.get_xydata())[0])
            text = f"{y:.3f}" if metric == "loss" else f"{100 * y:.1f}"
            axes.annotate(text, (x, y), (7, 0), textcoords="offset points", va="center")


def _stack(rows: Sequence[np.ndarray], length: int) -> np.ndarray:
    """(runs, length), shorter runs filled up with NaN."""
    stacked = np.full((len(rows), length), np.nan)
    for i, row in enumerate(rows):
        stacked[i, : len(row)] = row
    return stacked
