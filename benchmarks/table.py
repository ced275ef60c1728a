"""What `benchmarks.run` prints."""

import argparse
import os
import platform
from collections.abc import Mapping
from typing import Any


def machine(options: argparse.Namespace) -> str:
    where = (
        f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    )
    return (
        f"{where}, {options.threads} threads on {options.device}, {options.precision},"
        f" Python {platform.python_version()}"
    )


def show(system: str, task: str, rows: list[dict]) -> None:
    """The table of one task."""
    first = rows[0]
    print(f"\n{system} {task}, batch {first['batch']}, {first['size']} x"
          f" {first['size']}{', short' if first['width'] < 1 else ''}")  # fmt: skip
    if task in ("folds", "largest"):
        for row in rows:
            print(f"  {row['form']:14}{_extra(row)}", flush=True)
        return
    print(f"  {'form':14}{'ms':>10}{'least':>10}{'images/s':>10}{'ours is':>9}"
          f"{'compile s':>11}{'peak MiB':>10}{'parameters':>12}  settings")  # fmt: skip
    for row in rows:
        if "median_s" not in row:
            print(f"  {row['form']:14}{_reason(row)}")
            continue
        ratio, compiled = row.get("ours_is_faster_by"), row["compile_s"]
        peak = row["device_peak_bytes"] or row["peak_bytes"]
        print(
            f"  {row['form']:14}{1e3 * row['median_s']:10.2f}"
            f"{1e3 * row['least_s']:10.2f}{row['images_per_s']:10.1f}"
            f"{'' if ratio is None else f'{ratio:.2f}x':>9}"
            f"{'-' if compiled is None else f'{compiled:.1f}':>11}"
            f"{peak / 2**20:10.0f}{row['parameters'] or '-':>12}"
            f"  {'launcher' if row['settings'] else 'own defaults'}{notes(row)}",
            flush=True,
        )


def notes(row: Mapping[str, Any]) -> str:
    notes = ""
    if row.get("share_of_peak"):
        notes += f"; {100 * row['share_of_peak']:.0f} % of the card's peak"
    difference = row.get("largest_difference") or 0.0
    if difference > (5e-3 if row["precision"] == "float32" else 0.1):
        notes += f"; VALUES DIFFER by {difference:.1e}"
    if not row.get("same_parameters", True):
        notes += "; PARAMETERS DIFFER"
    return notes


def _reason(row: Mapping[str, Any]) -> str:
    return f"skipped: {row['skipped']}" if "skipped" in row else row["error"]


def _extra(row: Mapping[str, Any]) -> str:
    if "speed_up" in row:
        return (
            f"{row['folds']} folds, {row['steps']} steps each: at once"
            f" {row['at_once_s']:.1f} s, in turn {row['in_turn_s']:.1f} s,"
            f" {row['speed_up']:.2f}x"
        )
    if "largest_batch" in row:
        rate = row["images_per_s"]
        return (
            f"largest batch {row['largest_batch']}"
            f" ({'-' if rate is None else f'{rate:.0f}'} images/s), then"
            f" {row['ended_by'] or 'the search ended'}"
        )
    return _reason(row)
