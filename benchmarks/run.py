"""Measure the systems side by side: plain lax, ours, PyTorch, onnxruntime.

    python -m benchmarks.run [--systems cfnet,lfnsb] [--what train,infer]
        [--forms ours,torch] [--repeats 5] [--batch N] [--size N] [--threads 2]
        [--device cpu|gpu] [--precision bfloat16] [--output FILE] [--short]

Every form of a system is a process of its own, for four reasons: each framework's
threads spin for a while where the other's should work, peak memory is a process',
the launcher's CPU settings are an environment, and a failure stays alone. The
processes of one system and task take turns, `--repeats` times; whoever is not at
work waits on a pipe. All of them get the same weights and images, and the table says
where their losses or scores disagree.

The launcher's CPU settings (`jaxfer.cpu`) are ours alone; plain lax is JAX as
installed, PyTorch has its defaults and `torch.set_num_threads`. Ours answers in its
deployed form, batch norm folded where the network can do so. On an accelerator
(`--device gpu`) one call measures everything there: besides, PyTorch with channels
last, ten folds at once against one after the other, and the largest batch that fits.

`--short` takes tiny networks and images, to check that everything runs.
"""

import argparse
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import cases
from benchmarks.cases import Case
from jaxfer import cpu

ROOT = Path(__file__).resolve().parents[1]
WHAT = ("train", "infer", "folds", "largest")
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 operations a second that a card's maker promises."""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print the table, write the JSON."""
    options = parse(arguments)
    print(__doc__.split("\n\n")[0], machine(options), sep="\n")
    report: dict[str, Any] = {"machine": machine(options), "options": vars(options)}
    results: list[dict[str, Any]] = []
    for system in options.systems:
        for task in tasks(options):
            found = measure(options, system, task)
            results += found
            show(system, task, found)
            report["results"] = results
            if options.output:  # what is measured stays, whatever happens next
                Path(options.output).write_text(json.dumps(report, indent=1) + "\n")
    return report


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    def names(known: Sequence[str]):
        def read(text: str) -> list[str]:
            chosen = text.split(",")
            if unknown := set(chosen) - set(known):
                raise argparse.ArgumentTypeError(
                    f"no {', '.join(sorted(unknown))}; it takes {', '.join(known)}"
                )
            return chosen

        return read

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    systems = names([*cases.SYSTEMS])
    parser.add_argument("--systems", type=systems, default=[*cases.SYSTEMS])
    parser.add_argument("--forms", type=names(cases.FORMS), default=[*cases.FORMS])
    parser.add_argument("--what", type=names(WHAT), help="default: train,infer; "
                        "on an accelerator folds,largest too")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=5, help="turns of each form")
    parser.add_argument("--turn", type=float, default=1.0, help="seconds of a turn")
    parser.add_argument("--batch", type=int, help="of training; default 16")
    parser.add_argument("--size", type=int, help="side of the images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="float32"
    )
    parser.add_argument("--output", help="a file for the figures, as JSON")
    parser.add_argument("--short", action="store_true", help="only see that it runs")
    options = parser.parse_args(arguments)
    if options.what is None:
        options.what = WHAT if options.device == "gpu" else WHAT[:2]
    if options.device == "cpu" and "largest" in options.what and not options.short:
        parser.error("--what largest fills the memory: only with --device gpu")
    if options.short:
        options.repeats, options.turn = 1, 0.0
    return options


def tasks(options: argparse.Namespace) -> list[str]:
    """What is measured, one after the other, of each system."""
    answers = {"infer": ("latency", "throughput")}
    return [task for word in options.what for task in answers.get(word, (word,))]


def create_case(options: argparse.Namespace, system: str, task: str, form: str) -> Case:
    short: dict[str, Any] = {}
    size = cases.SYSTEMS[system]
    batch = {"latency": 1, "throughput": cases.THROUGHPUT_BATCH}.get(
        task, options.batch or cases.TRAIN_BATCH
    )
    if options.short:
        size, batch = cases.SHORT_SIZES.get(system, 32), min(batch, 2)
        short = {"width": 0.25, "depth": 0.1, "folds": 2, "steps": 2}
    return Case(
        system,
        task,
        form,
        batch,
        options.size or size,
        precision=options.precision,
        device=options.device,
        threads=options.threads,
        **short,
    )


def measure(options: argparse.Namespace, system: str, task: str) -> list[dict]:
    """One row for each form: figures, or the reason why there are none."""
    rows, workers = {}, {}
    for form in options.forms:
        case = create_case(options, system, task, form)
        row = {**dataclasses.asdict(case), "settings": {}}
        if missing := unavailable(case):
            rows[form] = {**row, "skipped": missing}
            continue
        worker = Worker(case)
        found = worker.listen()  # compiles while nobody else works
        rows[form] = {**row, "settings": worker.settings, **found}
        if "values" in found:
            workers[form] = worker
        else:
            worker.close()
    turns: dict[str, list[list[float]]] = {form: [] for form in workers}
    for _ in range(options.repeats):
        for form, worker in list(workers.items()):
            time.sleep(0.05)  # until the threads of the one before sleep
            taken = worker.ask(f"turn {options.turn}")
            if isinstance(taken, dict):  # it failed
                rows[form].update(taken)
                workers.pop(form).close()
                continue
            turns[form].append(taken)
    for form, worker in workers.items():
        rows[form].update(worker.ask("end"), **summary(rows[form], turns[form]))
        worker.close()
    compare(rows, {form: turns[form] for form in workers})
    return list(rows.values())


def unavailable(case: Case) -> str:
    """Why a form cannot be measured, if so."""
    needed = {
        "torch": ("torch",),
        "torch.compile": ("torch",),
        "onnxruntime": ("onnxruntime", "torch", "onnx", "onnxscript"),
    }.get(case.form, ())
    if absent := [name for name in needed if find_spec(name) is None]:
        return f"{', '.join(absent)} not installed"
    if case.form == "onnxruntime":
        if case.task not in ("latency", "throughput"):
            return "inference alone"
        if case.precision != "float32":
            return "float32 alone"
    if case.task == "folds" and case.form != "ours":
        return "ours alone"
    return ""


class Worker:
    """A process of `benchmarks.worker`."""

    def __init__(self, case: Case):
        environ = dict(os.environ)
        self.settings: dict[str, str] = {}
        if case.form == "ours":
            self.settings = cpu.settings(environ) if case.device == "cpu" else {}
        environ["PYTHONPATH"] = os.pathsep.join(
            part for part in (str(ROOT), environ.get("PYTHONPATH")) if part
        )
        if case.form in ("plain", "ours"):
            environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # compile times
            environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # a shared card
            environ["JAX_PLATFORMS"] = "cuda" if case.device == "gpu" else "cpu"
        given = json.dumps(dataclasses.asdict(case))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", given],
            env=environ | self.settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, words: str) -> Any:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(words + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the reason is read below
        return self.listen()

    def listen(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        return {"error": f"the process ended with code {self.process.wait()}"}

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait()


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
    if row.get("flops"):
        found["flops_per_s"] = row["flops"] / median
        peak = next((p for name, p in PEAKS.items() if name in row["software"]), None)
        if peak and row["precision"] == "bfloat16":
            found["share_of_peak"] = found["flops_per_s"] / peak
    return found


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
        largest = max(abs(x) for call in ours["values"] for x in call)
        row["largest_difference"] = max(
            abs(a - b) / (largest or 1.0)
            for one, other in zip(ours["values"], row["values"], strict=True)
            for a, b in zip(one, other, strict=True)
        )


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
            f"  {'launcher' if row['settings'] else 'own defaults'}{_notes(row)}",
            flush=True,
        )


def _notes(row: Mapping[str, Any]) -> str:
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


if __name__ == "__main__":
    main()
