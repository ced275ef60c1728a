"""Figures of the report, each an SVG element for the page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxfer.evaluate.svg import (
    INK,
    MUTED,
    TEST,
    TRAIN,
    VALIDATION,
    WIDTH,
    inline,
    percent,
    styled,
)


def spreads(rows: Mapping[str, Mapping[str, Any]], name: str, description: str) -> str:
    """Named results, one a line: every run as a dot, their mean and deviation."""
    with styled():
        figure = Figure((WIDTH, 0.45 * len(rows) + 0.65), layout="constrained")
        axes = figure.subplots()
        for y, spread in enumerate(rows.values()):
            runs, mean = spread["runs"], spread["mean"]
            if len(runs) > 1:
                axes.plot(runs, [y] * len(runs), "o", color=TEST, alpha=0.3, ms=5)
                axes.plot(
                    [mean - spread["std"], mean + spread["std"]],
                    [y, y],
                    color=TEST,
                    linewidth=1.6,
                )
            axes.plot([mean], [y], "D", color=TEST, ms=6)
            axes.annotate(
                f"{100 * mean:.1f}",
                (mean, y),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
            )
        axes.set_yticks(range(len(rows)), list(rows))
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(rows) - 0.5, -0.65)
        axes.grid(False, axis="y")
        axes.margins(x=0.08)
        axes.spines["left"].set_visible(False)
        percent(axes, "x")
        axes.set_xlabel("test accuracy, %")
        return inline(figure, name, description)


def reliability(calibration: Mapping[str, Any]) -> str:
    """Accuracy against confidence in 15 bins, above the counts of the bins."""
    bins = [b for b in calibration["bins"] if b["count"]]
    middle = np.array([(b["from"] + b["to"]) / 2 for b in bins])
    accuracy = np.array([b["accuracy"] for b in bins])
    confidence = np.array([b["confidence"] for b in bins])
    count = np.array([b["count"] for b in bins])
    width = 0.9 * (bins[0]["to"] - bins[0]["from"])
    with styled():
        figure = Figure((WIDTH, 4.0), layout="constrained")
        axes, below = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": [3.4, 1]}
        )
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.bar(middle, accuracy, width, color=TEST, alpha=0.6, label="accuracy")
        axes.bar(
            middle,
            confidence - accuracy,
            width,
            bottom=accuracy,
            facecolor="none",
            edgecolor=VALIDATION,
            linewidth=1.3,
            label="gap to mean confidence",
        )
        axes.set_ylim(0, 1)
        axes.set_xlim(0, 1)
        axes.set_ylabel("accuracy, %")
        axes.legend(loc="upper left")
        below.bar(middle, count, width, color=TRAIN, alpha=0.8)
        below.set_ylabel("images")
        below.set_xlabel("confidence, %")
        below.yaxis.get_major_locator().set_params(nbins=3, integer=True)
        percent(axes)
        percent(below, "x")
        return inline(figure, "reliability", "Accuracy by confidence of the decision")


def fusion_weights(alpha: Mapping[str, np.ndarray]) -> str:
    """Median, quartiles and 5 to 95 % range of alpha_local, one class a line."""
    with styled():
        figure = Figure((WIDTH, 0.36 * len(alpha) + 0.8), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for y, values in enumerate(alpha.values()):
            low, first, median, third, high = np.quantile(
                values, [0.05, 0.25, 0.5, 0.75, 0.95]
            )
            axes.plot([low, high], [y, y], color=TEST, linewidth=1.2, alpha=0.7)
            axes.barh(y, third - first, 0.5, first, color=TEST, alpha=0.45)
            axes.plot([median, median], [y - 0.25, y + 0.25], color=INK)
        axes.set_yticks(range(len(alpha)), list(alpha))
        axes.tick_params(axis="y", labelcolor=INK)
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("weight of the local branch (global has the rest)")
        return inline(figure, "alpha", "Fusion weight of the local branch by class")


def robustness(
    series: Mapping[str, Sequence[tuple[int, Mapping[str, Any]]]], clean: float | None
) -> str:
    """Accuracy against the blur's kernel size, one line per way of corrupting.

    Args:
      series: (kernel size, spread of accuracy) by name.
      clean: accuracy without corruption, drawn as a level.
    """
    with styled():
        figure = Figure((WIDTH, 2.9), layout="constrained")
        axes = figure.subplots()
        if clean is not None:
            axes.axhline(clean, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                "without corruption",
                (1, clean),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="right",
                fontsize=8.5,
                color=MUTED,
            )
        for (name, points), colour in zip(series.items(), (TEST, VALIDATION, TRAIN)):
            x = np.array([kernel for kernel, _ in points])
            mean = np.array([spread["mean"] for _, spread in points])
            band = np.array([spread["std"] or 0.0 for _, spread in points])
            axes.plot(x, mean, "o-", color=colour, label=name, ms=4.5)
            axes.fill_between(
                x, mean - band, mean + band, color=colour, alpha=0.16, linewidth=0
            )
        kernels = sorted({kernel for points in series.values() for kernel, _ in points})
        axes.set_xticks(kernels)
        axes.set_xlabel("kernel size of the blur, pixels")
        axes.set_ylabel("test accuracy, %")
        axes.margins(y=0.15)
        percent(axes)
        axes.legend(loc="lower left")
        return inline(figure, "robustness", "Test accuracy by kernel size of the blur")


def metric_by_rate(
    lines: Mapping[str, Sequence[tuple[float, Mapping[str, Any]]]], metric: str
) -> str:
    """A test metric against the rate of wrong training labels, one line a run.

    Args:
      lines: (rate, spread of the metric) by name, two at most.
      metric: its name, for people.
    """
    with styled():
        figure = Figure((WIDTH, 2.9), layout="constrained")
        axes = figure.subplots()
        for (name, points), colour in zip(lines.items(), (TEST, VALIDATION)):
            x = np.array([rate for rate, _ in points])
            mean = np.array([spread["mean"] for _, spread in points])
            band = np.array([spread["std"] or 0.0 for _, spread in points])
            axes.plot(x, mean, "o-", color=colour, label=name, ms=4.5)
            axes.fill_between(
                x, mean - band, mean + band, color=colour, alpha=0.16, linewidth=0
            )
        axes.set_xticks(sorted({rate for p in lines.values() for rate, _ in p}))
        axes.set_xlabel("wrong training labels, %")
        axes.set_ylabel(f"test {metric}, %")
        axes.margins(x=0.06, y=0.15)
        percent(axes)
        percent(axes, "x")
        if len(lines) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2)
        name = f"label-noise-{metric.replace(' ', '-')}"
        return inline(figure, name, f"Test {metric} by rate of wrong labels")


def attention_curves(
    shares: Sequence[float], kinds: Mapping[str, Mapping[str, Any]], way: str
) -> str:
    """Probability of the prediction against the share of pixels, one line a mask.

    Args:
      shares: 0 to 1.
      kinds: by name, the entries of results.json; random masks are drawn dashed.
      way: "deletion" or "insertion".
    """
    with styled():
        figure = Figure((WIDTH, 2.9), layout="constrained")
        axes = figure.subplots()
        for (name, entry), colour in zip(kinds.items(), (TEST, VALIDATION, TRAIN)):
            curves = entry[way]
            axes.plot(shares, curves["curve"], "-", color=colour, label=name)
            axes.plot(
                shares,
                curves["random_curve"],
                linestyle=(0, (3, 2)),
                color=colour,
                label=f"{name}, shuffled",
            )
        axes.set_ylim(0, 1)
        axes.set_xlim(0, 1)
        done = "taken away" if way == "deletion" else "shown"
        axes.set_xlabel(f"{way}: pixels {done}, most attended first, %")
        axes.set_ylabel("probability, %")
        percent(axes)
        percent(axes, "x")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2)
        return inline(figure, way, f"Probability of the predicted class by {way}")


CLASS_COLORS = (
    "#3b82c4",
    "#d9772b",
    "#3c9d6b",
    "#c2498f",
    "#8a6fd1",
    "#b3942a",
    "#d1534a",
    "#2fa3ad",
    "#8a94a2",
)
"""Of classes, legible on a light and on a dark page."""


def plane(
    points: np.ndarray, labels: np.ndarray, names: Sequence[str], share: np.ndarray
) -> str:
    """Embeddings in two dimensions, coloured by class.

    Args:
      points: (n, 2).
      labels: int (n,).
      names: of the classes.
      share: of the variance that each dimension holds, (2,).
    """
    with styled():
        figure = Figure((WIDTH, 4.1), layout="constrained")
        axes = figure.subplots()
        for k, name in enumerate(names):
            mine = points[labels == k]
            if len(mine):
                colour = CLASS_COLORS[k % len(CLASS_COLORS)]
                axes.plot(
                    *mine.T, "o", ms=4, mew=0, color=colour, alpha=0.75, label=name
                )
        axes.set_xlabel(f"first component, {100 * share[0]:.0f} % of the variance")
        axes.set_ylabel(f"second, {100 * share[1]:.0f} %")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=4, handletextpad=0.2
        )
        return inline(
            figure, "embeddings", "Embeddings of test images in two dimensions"
        )
