"""Results as aligned text."""

from collections.abc import Mapping, Sequence
from typing import Any

_PLACES = {"test": "test alone", "train_and_test": "training and test"}
_COLUMNS = {
    "accuracy": "accuracy %",
    "balanced_accuracy": "balanced %",
    "macro_f1": "macro-F1 %",
    "ece": "ECE %",
}
BY_RATE = ("accuracy", "balanced_accuracy")
"""Metrics of the test images that are told for every rate of wrong labels."""


def cell(spread: Mapping[str, Any] | None) -> str:
    """Mean and deviation in per cent."""
    if not spread or spread["mean"] is None:
        return "-"
    text = f"{100 * spread['mean']:.1f}"
    return text if spread["std"] is None else f"{text} ± {100 * spread['std']:.1f}"


def _table(first: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Named results as aligned text, one a line."""
    cells = [[first, *_COLUMNS.values(), "runs"]]
    cells += [
        [name, *(cell(row.get(c)) for c in _COLUMNS), str(row["accuracy"]["n"])]
        for name, row in rows.items()
    ]
    return aligned(cells)


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        )
        for line in cells
    )


def results_table(results: Mapping[str, Any]) -> str:
    """The selections of results.json as text; ablation and robustness below."""
    from jaxfer.evaluate.facts import corruption_name

    selection = results["headline"]["selection"]
    blocks = [_table("test images", results["selections"])]
    if "ablation" in results:
        blocks.append(_table(f"{selection}, by output", results["ablation"][selection]))
    if "robustness" in results:
        corrupted = {
            f"{corruption_name(entry['corruption'])}, {_PLACES[entry['where']]}, "
            f"{entry['selection']}": entry
            for entry in results["robustness"].values()
        }
        blocks.append(_table("corrupted", corrupted))
    if "label_noise" in results:
        blocks += _noise_tables(results, selection)
    if "suspect_labels" in results:
        head = ["suspects", "wrong labels a run", "AUROC", "AUROC of the gap"]
        cells = [
            [
                f"{100 * row['rate']:.4g} %",
                f"{row['per_run']['wrong_labels']:.4g}",
                *(_spread(row["per_run"][name]["auroc"]) for name in ("score", "gap")),
            ]
            for row in results["suspect_labels"]["rates"]
            if "per_run" in row
        ]
        blocks += [aligned([head, *cells])] if cells else []
    if "explanations" in results:
        blocks += _explanation_tables(results["explanations"])
    if "synthesis" in results:
        blocks += _synthesis_tables(results["synthesis"])
    return "\n\n".join(blocks)


def _explanation_tables(found: Mapping[str, Any]) -> list[str]:
    """What pattern maps and masks are worth."""
    from jaxfer.evaluate.explained import KINDS, PATTERN_ROWS

    def mean(entry: Mapping[str, Any] | None) -> str:
        return _number(entry["mean"] if entry else None)

    tables = []
    if "pattern_maps" in found:
        columns = {
            "ratio": "between : within",
            "ratio_across_identities": "by person",
        }
        head = ["pictures", *columns.values(), "nearest class mean, accuracy %"]
        cells = [
            [
                PATTERN_ROWS[kind].lower(),
                *(mean(row[name]) for name in columns),
                cell(row["nearest_class_mean_accuracy"]),
            ]
            for kind, row in found["pattern_maps"].items()
        ]
        tables.append(aligned([head, *cells]))
    if "masks" in found:
        ways = ("deletion", "insertion")
        head = [
            "area under the curve",
            *(f"{w}{s}" for w in ways for s in ("", ", shuffled")),
        ]
        cells = [
            [
                KINDS[kind],
                *(mean(row[w][a]) for w in ways for a in ("area", "random_area")),
            ]
            for kind, row in found["masks"]["kinds"].items()
        ]
        tables.append(aligned([head, *cells]))
    return tables


def _synthesis_tables(found: Mapping[str, Any]) -> list[str]:
    """What recognisers say of drawn faces, and whom they are thought to show."""
    from jaxfer.evaluate.synthesized import KINDS, PAIRS

    def distance(entry: Mapping[str, Any] | None) -> str:
        if entry is None:
            return "-"
        error = entry["standard_error"]
        return f"{entry['mean']:.4f}" + (f" ± {error:.4f}" if error else "")

    head = ["drawn faces, by", *(f"{k}, accuracy %" for k in KINDS.values())]
    cells = [
        [
            row["name"],
            *(cell(row["accuracy"][kind]) for kind in KINDS),
            distance(row["distance"]),
        ]
        for row in found["recognisers"].values()
    ]
    tables = [aligned([[*head, "MMD², cubic kernel"], *cells])]
    if found["identity"]:
        row = found["identity"]
        means = [_number(row[key]["mean"] if row[key] else None) for key in PAIRS]
        head = ["cosine of identities", *PAIRS.values()]
        tables.append(aligned([head, [row["by"], *means]]))
    return tables


def _spread(spread: Mapping[str, Any] | None) -> str:
    if spread is None:
        return "-"
    around = "" if spread["std"] is None else f" ± {spread['std']:.3f}"
    return f"{spread['mean']:.3f}{around}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _noise_tables(results: Mapping[str, Any], selection: str) -> list[str]:
    """Results by rate of wrong labels, of this run and of one beside it."""
    beside = results.get("beside") or {"names": ["label noise"], "label_noise": []}
    answers = ("memorised", "corrected", "other")
    tables = []
    for name, entries in zip(
        beside["names"], (results["label_noise"], beside["label_noise"])
    ):
        head = [f"{name}, {selection}", *(_COLUMNS[metric] for metric in BY_RATE)]
        head += [f"{a} %" for a in answers]
        cells = [
            [
                f"{100 * entry['rate']:.4g} % wrong",
                *(cell(entry[metric].get(selection)) for metric in BY_RATE),
                *(cell(entry[answer].get(selection)) for answer in answers),
                str(entry["runs"]),
            ]
            for entry in entries
        ]
        tables.append(aligned([[*head, "runs"], *cells]))
    return tables
