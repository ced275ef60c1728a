"""From the seconds of turns to figures: medians, ratios, shares of a card's peak."""

import statistics
from collections.abc import Mapping
from typing import Any

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 operations a second that a card's maker promises."""


def summary(row: Mapping[str, Any], turns: list[list[float]]) -> dict[str, Any]:
    """Seconds a call: the median over the turns' medians, and the least."""
    median = statistics.median(statistics.median(turn) for turn in turns)
    found = {
        "turns_s": [statistics.median(turn) for turn in turns],
        "calls": sum(len(turn) for turn in turns),
        "median_s": median,
        "least_s": min(min(turn) for turn in turns),
        "images_per_s": row["batch"] / median,
    }
    return found


def share_of_peak(row: dict, ours: Mapping[str, Any]) -> None:
    """Operations a second, and of the most that the card can do; ours are counted.

    Another form of the same network does the same work, however it is carried out.
    """
    if not ours.get("flops"):
        return
    row["flops_per_s"] = ours["flops"] / row["median_s"]
    peak = next((p for name, p in PEAKS.items() if name in ours["software"]), None)
    if peak and row["precision"] == "bfloat16":
        row["share_of_peak"] = row["flops_per_s"] / peak


def comparable(row: Mapping[str, Any]) -> int | None:
    """How many calls should agree; None for all.

    After a step of training, weights differ by its rounding, and batch norm over few
    numbers makes more of that with every step. Short ResNet-50, two images of 48
    pixels: the first losses of ours and eager PyTorch differ by 3e-5 in float32 and
    by 7 % in bfloat16 (14 % and 8 % from float32), the second by 13 % in float32 too.
    """
    rounds = row.get("precision") == "bfloat16" or row.get("width", 1.0) < 1
    return 1 if row.get("task") == "train" and rounds else None


def compare(rows: dict[str, dict], turns: Mapping[str, list[list[float]]]) -> None:
    """How many times faster ours is, turn by turn; whether values and sizes agree."""
    ours = rows.get("ours", {})
    if "values" not in ours or "ours" not in turns:
        return
    own = [statistics.median(turn) for turn in turns["ours"]]
    for form, taken in turns.items():
        row = rows[form]
        each = (statistics.median(turn) for turn in taken)
        row["ours_is_faster_by"] = statistics.median(
            a / b for a, b in zip(each, own, strict=True)
        )
        row["same_parameters"] = row["parameters"] in (None, ours["parameters"])
        share_of_peak(row, ours)
        calls = comparable(row)
        own_values, values = ours["values"][:calls], row["values"][:calls]
        largest = max(abs(x) for call in own_values for x in call)
        row["largest_difference"] = max(
            abs(a - b) / (largest or 1.0)
            for one, other in zip(own_values, values, strict=True)
            for a, b in zip(one, other, strict=True)
        )
