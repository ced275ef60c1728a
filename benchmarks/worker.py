"""A process that measures one case at the driver's word; see `benchmarks.run`.

Reads words on its standard input, one a line, and answers each by a line of JSON:

- at first: what was compiled and the values of three calls;
- "turn S": the seconds of calls that together take about S seconds;
- "end": the process' peak memory.
"""

import importlib
import json
import os
import resource
import sys
import time
from typing import Any

from benchmarks.cases import Case

MODULES = {
    "plain": "benchmarks.jax_forms",
    "unfused": "benchmarks.jax_forms",
    "ours": "benchmarks.jax_forms",
    "torch": "benchmarks.torch_forms",
    "torch.compile": "benchmarks.torch_forms",
    "onnxruntime": "benchmarks.onnx_forms",
}


def main() -> None:
    case = Case(**json.loads(sys.argv[1]))
    # Libraries print what they like on standard output: that is for answers alone.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        work(case, answers)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        print(json.dumps({"error": f"{type(error).__name__}: {reason}"}), file=answers)
        raise


def work(case: Case, answers: Any) -> None:
    if case.device == "cpu" and hasattr(os, "sched_setaffinity"):
        # XLA has as many threads as there are CPUs, whatever it is told.
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[: case.threads])
    module = importlib.import_module(MODULES[case.form])
    if case.task in ("folds", "largest"):
        from benchmarks import accelerator

        found = getattr(accelerator, case.task)(case, module)
        print(json.dumps({**found, **memory(module)}), file=answers)
        return
    program = module.Program(case)
    values = [program.call() for _ in range(3)]
    start = time.perf_counter()
    program.run()
    usual = time.perf_counter() - start
    ready = {
        "software": module.describe(),
        "parameters": program.parameters,
        "compile_s": program.compile_s,
        "flops": program.flops,
        "values": values,
    }
    print(json.dumps(ready), file=answers)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        seconds = float(line.split()[1])
        if usual < 1:  # caches were others' meanwhile
            program.run()
        taken = []
        for _ in range(max(1, min(1000, round(seconds / usual)))):
            start = time.perf_counter()
            program.run()
            taken.append(time.perf_counter() - start)
        print(json.dumps(taken), file=answers)
    print(json.dumps(memory(module)), file=answers)


def memory(module: Any) -> dict[str, int | None]:
    """Peaks in bytes, of the process and of the accelerator."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_bytes": kilobytes * unit, "device_peak_bytes": module.peak_bytes()}


if __name__ == "__main__":
    main()
