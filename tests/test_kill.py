"""Runs that are killed, continued, and compared to the bit."""

import os
import signal
import subprocess
import sys

import chex
import waiting

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
    (output,) = waiting.ended([process])
    assert process.returncode == 0, output
    return output


def kill_when(folder, data, what, reached):
    """Kill the run, without warning, as soon as `reached()` holds."""
    process = start(folder, data)
    waiting.until(reached, what, workers=[process])
    process.send_signal(signal.SIGKILL)
    waiting.ended([process])
    assert process.returncode == -signal.SIGKILL  # it had not come to its end


def test_a_killed_run_continues_to_the_same_bits(tmp_path, monkeypatch):
    whole, killed, data = (tmp_path / n for n in ("whole", "killed", "data"))
    monkeypatch.setenv("JAXFER_DATA_DIR", str(data))
    assert "Report: " in finish(whole, data)

    def checkpoints(number):
        def reached():
            found = [p.name for p in killed.glob("checkpoints/all/*")]
            return any(n.isdigit() and int(n) >= number for n in found)

        return reached

    def predictions():
        return any(killed.glob("fold_*/predictions_last.npz"))

    # In the first epoch, in the second stage, and while results are written.
    kill_when(killed, data, "the second step's checkpoint", checkpoints(2))
    kill_when(killed, data, "a checkpoint of stage 2", checkpoints(2_000_001))
    kill_when(killed, data, "predictions", predictions)
    output = finish(killed, data)
    assert "continuing at stage fusion" in output
    for selection in ("last", "validation"):
        chex.assert_trees_all_equal(
            *(
                [run.variables for run in train.restore(f, selection).runs]
                for f in (whole, killed)
            )
        )
