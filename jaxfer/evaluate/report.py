"""The report: one self-contained HTML page, made from the run folder."""

import functools
import json
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from jaxfer import metrics
from jaxfer.evaluate import curves, facts, figures, run_folder
from jaxfer.evaluate.examples import ImageOf, choose, thumbnail
from jaxfer.evaluate.explained import explained
from jaxfer.evaluate.run_folder import RunFolder
from jaxfer.evaluate.selections import BEST_ON_TEST, MEANINGS
from jaxfer.evaluate.summary import summarize
from jaxfer.evaluate.synthesized import synthesized
from jaxfer.evaluate.tables import BY_RATE

SELECTION_NAMES = {
    "best_by_validation": "Best by validation",
    "last": "Last epoch",
    "mean_of_last_5": "Mean of the last 5 epochs",
    BEST_ON_TEST: "Best on test (optimistic)",
}
WHERE_NAMES = {
    "test": "test images alone",
    "train_and_test": "training and test alike",
}


_OPTIONAL = ("data", "environment", "seconds", "peak_memory_bytes", "parameters")
"""Entries of run.json that a page can do without."""


def _percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f}"


def _metric(spread: dict[str, Any] | None, name: str) -> str:
    """Mean and deviation as text: per cent, but for the loss."""
    if spread is None:
        return "–"
    factor, digits = (1, 3) if name == "loss" else (100, 1)
    if spread["mean"] is None:
        return "–"
    text = f"{factor * spread['mean']:.{digits}f}"
    std = spread["std"]
    return text if std is None else f"{text} ± {factor * std:.{digits}f}"


def _short(spread: dict[str, Any] | None) -> str:
    """Mean and deviation (or standard error) as text, to three digits and two."""
    if spread is None or spread["mean"] is None:
        return "–"
    text = f"{spread['mean']:#.3g}"
    around = spread.get("std", spread.get("standard_error"))
    text = text if around is None else f"{text} ± {around:.2g}"
    return text.replace("-", "−")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _bytes(count: float) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _curves(folder: RunFolder) -> list[dict[str, Any]]:
    stages = []
    groups = run_folder.by_rate(folder)
    for stage in folder.stages:
        drawn = [
            curves.learning_curve(folder, stage, metric)
            if len(groups) == 1
            else curves.rate_curve(groups, stage, metric)
            for metric in ("accuracy", "loss")
        ]
        if any(drawn):
            stages.append({"name": stage, "figures": [Markup(f) for f in drawn if f]})
    return stages


def _alpha_figure(folder: RunFolder, selection: str) -> Markup:
    tables = [run_folder.predictions(run, selection) or {} for run in folder.runs]
    labels = np.concatenate([table["label"] for table in tables])
    alpha = np.concatenate([table["features/alpha_local"] for table in tables])
    by_class = {
        name: alpha[labels == i]
        for i, name in enumerate(folder.class_names)
        if np.any(labels == i)
    }
    return Markup(figures.fusion_weights(by_class))


def _robustness(results: dict[str, Any], selection: str) -> dict[str, Any] | None:
    """A row for each corruption and, of several kernel sizes, the curve."""
    entries = sorted(
        results.get("robustness", {}).values(),
        key=lambda e: (
            e["corruption"]["name"],
            e["corruption"].get("kernel_size", 0),
            e["corruption"].get("variance", 0.0),
            e["where"],
        ),
    )
    if not entries:
        return None
    series: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for entry in entries:
        corruption, where = entry["corruption"], entry["where"]
        name = facts.corruption_name(corruption)
        if entry["selection"] != selection:
            name += f" ({SELECTION_NAMES[entry['selection']].lower()})"
        elif corruption["name"] == "gaussian_blur":
            points = series.setdefault(f"blur of {WHERE_NAMES[where]}", [])
            points.append((corruption["kernel_size"], entry["accuracy"]))
        clean = results["selections"][entry["selection"]]["accuracy"]["mean"]
        change = f"{100 * (entry['accuracy']['mean'] - clean):+.1f}".replace("-", "−")
        rows.setdefault(name, {})[where] = {**entry, "change": change}
    curve = None
    if any(len(points) > 1 for points in series.values()):
        clean = results["selections"][selection]["accuracy"]["mean"]
        curve = Markup(figures.robustness(series, clean))
    places = {entry["where"] for entry in entries}
    where = {place: name for place, name in WHERE_NAMES.items() if place in places}
    return {"rows": rows, "curve": curve, "where": where}


def _label_noise(results: dict[str, Any], selection: str) -> dict[str, Any] | None:
    """A row for each rate and run, and the curves of several rates."""
    if "label_noise" not in results:
        return None
    beside = results.get("beside")
    tables = {(beside or {}).get("names", [""])[0]: results["label_noise"]}
    if beside:
        tables[beside["names"][1]] = beside["label_noise"]
    rows = [
        (entry["rate"], name, entry)
        for entries in zip(*tables.values())
        for name, entry in zip(tables, entries)
    ]
    drawn: list[Markup] = []
    # The other run may have held out no validation images, or the other way round.
    if len(results["label_noise"]) > 1 and all(
        selection in entry["accuracy"] for _, _, entry in rows
    ):
        for metric in BY_RATE:
            lines = {
                name: [(e["rate"], e[metric][selection]) for e in entries]
                for name, entries in tables.items()
            }
            curve = figures.metric_by_rate(lines, metric.replace("_", " "))
            drawn.append(Markup(curve))
    shown = [name for name in MEANINGS if name != BEST_ON_TEST]
    columns = [n for n in shown if any(n in entry["accuracy"] for *_, entry in rows)]
    return {"rows": rows, "curves": drawn, "columns": columns, "beside": beside}


def _suspects(
    results: dict[str, Any], image_of: ImageOf | None
) -> dict[str, Any] | None:
    """What suspect_labels.json tells, with thumbnails."""
    found = results.get("suspect_labels")
    if found is None:
        return None
    faces = [
        {**line, "image": thumbnail(image_of(line["row"])) if image_of else None}
        for line in found["top"]
    ]
    judged = [entry for entry in found["rates"] if "per_run" in entry]
    return {**found, "top": faces, "judged": judged}


def _classes(results: dict[str, Any], selection: str) -> dict[str, Any]:
    """Classes one by one; nothing of more than a page can list."""
    if len(results["class_names"]) > metrics.CONFUSION_CLASSES:
        return {"per_class": None}
    confusion = np.array(results["confusion"][selection])
    return {
        "per_class": results["per_class"][selection],
        "confusion": confusion,
        "confusion_share": confusion / np.maximum(confusion.sum(1, keepdims=True), 1),
    }


def _context(
    whole: RunFolder, results: dict[str, Any], image_of: ImageOf | None
) -> dict[str, Any]:
    selection = results["headline"]["selection"]
    groups = run_folder.by_rate(whole)
    folder = groups[0][1]
    split_table = facts.splits(folder)
    ablation = (results.get("ablation") or results.get("heads") or {}).get(selection)
    drawn = None
    if ablation:
        drawn = figures.spreads(
            {name: row["accuracy"] for name, row in ablation.items()},
            "ablation",
            "Test accuracy of each head",
        )
    alpha = (results.get("fusion_weights") or {}).get(selection)
    return {
        "results": results,
        "info": dict.fromkeys(_OPTIONAL) | folder.info,
        "selection": selection,
        "headline": results["selections"][selection],
        "selection_names": SELECTION_NAMES,
        "meanings": MEANINGS,
        "select_after": max(
            folder.config.get(part, {}).get("select_after", 0.0)
            for part in ("method", "epmg")
        ),
        "best_on_test": BEST_ON_TEST,
        "protocol": facts.protocol(folder),
        "seeds": sorted({run.seed for run in folder.runs}),
        "ablation": ablation,
        "is_ablation": "ablation" in results,
        "ablation_figure": Markup(drawn) if drawn else None,
        **_classes(results, selection),
        "calibration": results["calibration"][selection],
        "reliability_figure": Markup(
            figures.reliability(results["calibration"][selection])
        ),
        "stages": _curves(whole),
        "rates": [rate for rate, _ in groups],
        "label_noise": _label_noise(results, selection),
        "suspects": _suspects(results, image_of),
        "explained": explained(whole, results, image_of),
        "synthesized": synthesized(whole, results),
        "quoted_runs": folder.runs,
        "alpha": alpha,
        "alpha_figure": _alpha_figure(folder, selection) if alpha else None,
        "examples": choose(folder, selection, image_of),
        "splits": split_table,
        "near_duplicates": (folder.info.get("data") or {}).get("near_duplicates"),
        "robustness": _robustness(results, selection),
        "limits": facts.limits(folder, results, split_table),
        "config": json.dumps(folder.config, indent=2, ensure_ascii=False),
    }


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxfer.evaluate"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "metric": _metric,
        "duration": _duration,
        "bytes": _bytes,
        "short": _short,
    }
    return environment.get_template("report.html")


def write_report(run_dir: str | Path, image_of: ImageOf | None = None) -> Path:
    """Writes report/results.json and report/index.html of a finished run.

    The page holds everything it shows: no script, no font, no picture is loaded
    from elsewhere.

    Args:
      run_dir: the folder of a finished run.
      image_of: reads the image of a table row, uint8 (H, W, 3) RGB, for the
        examples; None leaves their pictures out.

    Returns:
      The path of index.html.

    Raises:
      DataError: if this is no folder of a finished run.
    """
    folder = run_folder.load(run_dir)
    results = summarize(run_dir)
    page = _template().render(_context(folder, results, image_of))
    run_folder.write_json(folder.path / "report" / "results.json", results)
    return run_folder.write_text(folder.path / "report" / "index.html", page)
