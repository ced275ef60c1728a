"""Ten folds at once against one after the other, and the largest batch that fits."""

import dataclasses
import gc
import statistics
import time
from types import ModuleType
from typing import Any

from benchmarks.cases import Case

MOST = 65536
"""Images a step, where the search for the largest batch ends at the latest."""


def folds(case: Case, module: ModuleType) -> dict[str, Any]:
    """An epoch of every fold, both ways in turn, `case.steps` steps each.

    The host waits for the device once an epoch, as the training loop does.
    """
    import jax

    together, alone = module.Program(case, case.folds), module.Program(case)
    times: dict[str, list[float]] = {"at_once_s": [], "in_turn_s": []}
    for repeat in range(4):
        for name, program, calls in (
            ("at_once_s", together, case.steps),
            ("in_turn_s", alone, case.steps * case.folds),
        ):
            start = time.perf_counter()
            for _ in range(calls):
                program.start()
            jax.block_until_ready(program.state)
            if repeat:  # the first warms up
                times[name].append(time.perf_counter() - start)
    found = {name: statistics.median(taken) for name, taken in times.items()}
    return {
        **found,
        "speed_up": found["in_turn_s"] / found["at_once_s"],
        "folds": case.folds,
        "steps": case.steps,
        "compile_s": together.compile_s,
    }


def largest(case: Case, module: ModuleType) -> dict[str, Any]:
    """Double the batch of a training step until the memory is full."""
    found: dict[str, Any] = {"largest_batch": 0, "images_per_s": None, "ended_by": ""}
    size = case.batch
    while size <= MOST:
        try:
            program = module.Program(dataclasses.replace(case, batch=size))
            for _ in range(2):
                program.run()
            start = time.perf_counter()
            program.run()
            rate = size / (time.perf_counter() - start)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            if not _is_memory(reason):
                raise
            found["ended_by"] = reason.splitlines()[0][:200]
            break
        found.update(largest_batch=size, images_per_s=rate)
        del program
        gc.collect()
        if case.width < 1 and size >= 2 * case.batch:  # a short run
            found["ended_by"] = "short run"
            break
        size *= 2
    return found


def _is_memory(reason: str) -> bool:
    return any(
        word in reason
        for word in ("RESOURCE_EXHAUSTED", "OutOfMemory", "out of memory")
    )
