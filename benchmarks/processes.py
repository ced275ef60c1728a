"""The driver's side of a process of `benchmarks.worker`."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from jaxfer import cpu

ROOT = Path(__file__).resolve().parents[1]


class Worker:
    """A process of `benchmarks.worker`."""

    def __init__(self, case: Case):
        environ = dict(os.environ)
        self.settings: dict[str, str] = {}
        if case.form in ("unfused", "ours"):
            self.settings = cpu.settings(environ) if case.device == "cpu" else {}
        environ["PYTHONPATH"] = os.pathsep.join(
            part for part in (str(ROOT), environ.get("PYTHONPATH")) if part
        )
        if case.form in ("plain", "unfused", "ours"):
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
