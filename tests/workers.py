"""Processes that train what `toy_worker` does."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import waiting

TESTS = Path(__file__).parent
COUNT = "--xla_force_host_platform_device_count"


def start(folder, names, *, processes, devices):
    """So many processes, each with so many devices, in trainings of these names."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    environ = {
        **os.environ,
        # The last of two wins.
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {COUNT}={devices}",
        "PYTHONPATH": f"{TESTS}:{TESTS.parent}",
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    words = [sys.executable, TESTS / "toy_worker.py", folder, coordinator]
    return [
        subprocess.Popen(
            [*words, str(processes), str(index), ",".join(names)],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(processes)
    ]


def finish(workers):
    outputs = waiting.ended(workers)
    assert all(w.returncode == 0 for w in workers), "\n".join(outputs)
    return outputs
