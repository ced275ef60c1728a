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
deployed form, batch norm folded where the network can do so; `unfused` keeps it. On an
accelerator (`--device gpu`) one call measures everything there, in bfloat16: besides,
PyTorch with channels last, the share of the card's peak, ten folds at once against one
after the other, and the largest batch that fits.

`--short` takes tiny networks and images, to check that everything runs.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import cases
from benchmarks.cases import Case
from benchmarks.processes import Worker
from benchmarks.ratios import compare, summary
from benchmarks.table import machine, show

WHAT = ("train", "infer", "folds", "largest")


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
        "--precision",
        choices=("float32", "bfloat16"),
        help="default: float32; on an accelerator bfloat16",
    )
    parser.add_argument("--output", help="a file for the figures, as JSON")
    parser.add_argument("--short", action="store_true", help="only see that it runs")
    options = parser.parse_args(arguments)
    if options.what is None:
        options.what = WHAT if options.device == "gpu" else WHAT[:2]
    if options.precision is None:
        options.precision = "bfloat16" if options.device == "gpu" else "float32"
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
    if case.form in ("unfused", "onnxruntime"):
        if case.task not in ("latency", "throughput"):
            return "inference alone"
        if case.form == "onnxruntime" and case.precision != "float32":
            return "float32 alone"
    if case.task == "folds" and case.form != "ours":
        return "ours alone"
    return ""


if __name__ == "__main__":
    main()
