import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import chex
import pytest
import toy_worker

from jaxfer import train

TESTS = Path(__file__).parents[1]


def start(folder, *, processes, devices):
    """So many processes, each with so many devices, training the same."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    environ = {
        **os.environ,
        # Compiled in a hurry: the claim is about equality, not speed.
        "XLA_FLAGS": "--xla_backend_optimization_level=0"
        f" --xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": f"{TESTS}:{TESTS.parent}",
        "JAX_COMPILATION_CACHE_DIR": f"{folder}_xla",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    words = [sys.executable, TESTS / "toy_worker.py", folder, coordinator]
    return [
        subprocess.Popen(
            [*words, str(processes), str(index)],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(processes)
    ]


def finish(workers):
    outputs = [w.communicate(timeout=300)[0] for w in workers]
    assert all(w.returncode == 0 for w in workers), "\n".join(outputs)
    return outputs


def rows_of(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [dict(row) for row in csv.DictReader(file)]
    for row in rows:
        del row["seconds"]
    return rows


@pytest.mark.usefixtures("use_toy")
def test_two_processes_killed_and_continued_compute_what_one_does(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    alone = start(one, processes=1, devices=2)
    both = start(two, processes=2, devices=1)
    checkpoints = two / "streamed" / "checkpoints" / "run_000"
    while not (checkpoints / "1000001").exists():  # the second epoch's first step
        assert all(w.poll() is None for w in both), both[0].communicate()[0]
        time.sleep(0.01)
    for w, how in zip(both, (signal.SIGKILL, signal.SIGTERM), strict=True):
        w.send_signal(how)
    for w in both:
        w.communicate(timeout=60)
    first, second = finish(start(two, processes=2, devices=1))
    assert "continuing at stage first, epoch 1" in first
    assert "trains" in first and "trains" not in second  # one speaks for both

    finish(alone)
    for name in toy_worker.trainings():
        assert rows_of(one / name) == rows_of(two / name)
        for selection in ("last", "validation"):
            # To the bit: a sum over two devices has one order only.
            chex.assert_trees_all_equal(
                *(
                    [run.variables for run in train.restore(f / name, selection).runs]
                    for f in (one, two)
                )
            )
