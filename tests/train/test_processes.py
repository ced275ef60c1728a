import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import pytest
import toy_worker

from jaxfer import train

TESTS = Path(__file__).parents[1]


def start(folder, tmp_path):
    """Two processes of one device each, training the same."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    environ = {
        **os.environ,
        "XLA_FLAGS": "",
        "PYTHONPATH": f"{TESTS}:{TESTS.parent}",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return [
        subprocess.Popen(
            [
                sys.executable,
                TESTS / "toy_worker.py",
                folder,
                coordinator,
                "2",
                str(index),
            ],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]


def rows_of(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [dict(row) for row in csv.DictReader(file)]
    for row in rows:
        del row["seconds"]
    return rows


@pytest.mark.usefixtures("use_toy")
def test_two_processes_killed_and_continued_compute_what_one_does(
    tmp_path, monkeypatch
):
    folder = tmp_path / "two"
    workers = start(folder, tmp_path)
    checkpoints = folder / "streamed" / "checkpoints" / "run_000"
    while not (checkpoints / "1000001").exists():  # the second epoch's first step
        assert all(w.poll() is None for w in workers), workers[0].communicate()[0]
        time.sleep(0.01)
    for w in workers:
        w.send_signal(signal.SIGKILL)
    for w in workers:
        w.communicate()
    first, second = (w.communicate(timeout=300)[0] for w in start(folder, tmp_path))
    assert "continuing at stage first, epoch 1" in first, first + second
    assert "trains" not in second  # the first one speaks for both

    monkeypatch.setattr(train.passes, "DISPATCH_SECONDS", 0.0)
    assert len(jax.devices()) == 2
    for name, config in toy_worker.trainings().items():
        train.run(config, tmp_path / name, say=lambda line: None)
        assert rows_of(folder / name) == rows_of(tmp_path / name)
        for selection in ("last", "validation"):
            # To the bit: a sum over two devices has one order only.
            chex.assert_trees_all_equal(
                *(
                    [run.variables for run in train.restore(f, selection).runs]
                    for f in (folder / name, tmp_path / name)
                )
            )
