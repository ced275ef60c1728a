"""Runs that are killed, continued, and compared to the bit."""

import signal

import chex
import pytest
import toy_worker
import waiting
from workers import finish, start

from jaxfer import train


def kill_when(folder, what, reached):
    """Kill the runs, without warning, as soon as `reached()` holds."""
    (process,) = start(folder, processes=1, devices=2)
    waiting.until(reached, what, workers=[process])
    process.send_signal(signal.SIGKILL)
    waiting.ended([process])
    assert process.returncode == -signal.SIGKILL  # it had not come to its end


@pytest.mark.usefixtures("use_toy")
def test_a_killed_run_continues_to_the_same_bits(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(whole, processes=1, devices=2))

    def checkpoint(run, number):
        def reached():
            found = [p.name for p in killed.glob(f"{run}/checkpoints/*/*")]
            return any(n.isdigit() and int(n) >= number for n in found)

        return reached

    def predictions():
        return any(killed.glob("resident/fold_*/predictions_last.npz"))

    kill_when(killed, "the first steps' checkpoints", checkpoint("streamed", 2))
    kill_when(killed, "the second stage", checkpoint("streamed", 2_000_001))
    kill_when(killed, "two runs at once", checkpoint("resident", 1_000_001))
    kill_when(killed, "results that are being written", predictions)
    (output,) = finish(start(killed, processes=1, devices=2))
    assert "continuing at stage second" in output
    for name in toy_worker.trainings():
        for selection in ("last", "validation"):
            chex.assert_trees_all_equal(
                *(
                    [run.variables for run in train.restore(f / name, selection).runs]
                    for f in (whole, killed)
                )
            )
