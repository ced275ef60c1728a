"""Runs that are killed, continued, and compared to the bit."""

import os
import signal
import subprocess
import sys
import time

import chex

from jaxfer import train

SMALL = (
    "--config=quickstart.py",
    "--config.epochs=2",
    "--config.fusion.epochs=2",
    "--config.data.image_size=28",
    "--config.method.image_size=28",
    "--config.method.width=0.0625",
    "--config.protocol.folds=2",
    "--config.checkpoint.every_seconds=0",
    "--config.log.progress=False",
)


def start(folder, data):
    environ = {
        **os.environ,
        "JAXFER_CPU_SETTINGS": "0",
        "JAXFER_DATA_DIR": str(data),
        "JAX_COMPILATION_CACHE_DIR": str(data / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "jaxfer.launch", *SMALL, f"--workdir={folder}"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(folder, data):
    process = start(folder, data)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def kill_when(folder, data, reached):
    """Kill the run, without warning, as soon as `reached()` holds."""
    process = start(folder, data)
    while process.poll() is None and not reached():
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()[0]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_killed_run_continues_to_the_same_bits(tmp_path, monkeypatch):
    whole, killed, data = (tmp_path / n for n in ("whole", "killed", "data"))
    monkeypatch.setenv("JAXFER_DATA_DIR", str(data))
    assert "Report: " in finish(whole, data)

    def checkpoints(number):
        def reached():
            found = [p.name for p in killed.glob("checkpoints/all/*")]
            return any(n.isdigit() and int(n) >= number for n in found)

        return reached

    # In the first epoch, in the second stage, and while results are written.
    kill_when(killed, data, checkpoints(2))
    kill_when(killed, data, checkpoints(2_000_001))
    kill_when(killed, data, lambda: any(killed.glob("fold_*/predictions_last.npz")))
    output = finish(killed, data)
    assert "continuing at stage fusion" in output
    for selection in ("last", "validation"):
        chex.assert_trees_all_equal(
            *(
                [run.variables for run in train.restore(f, selection).runs]
                for f in (whole, killed)
            )
        )
