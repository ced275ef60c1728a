"""Runs that are killed, continued, and compared to the bit."""

import json
import signal

import chex
import pytest
import toy_worker
import waiting
from workers import finish, start

from jaxfer import evaluate, train

NAMES = ("streamed", "resident", "cfnet")


def kill_when(folder, what, reached):
    """Kill the runs, without warning, as soon as `reached()` holds."""
    (process,) = start(folder, NAMES, processes=1, devices=2)
    waiting.until(reached, what, workers=[process])
    process.send_signal(signal.SIGKILL)
    waiting.ended([process])
    assert process.returncode == -signal.SIGKILL  # it had not come to its end


def report_of(folder):
    """What the report says of every selection."""
    evaluate.finish(folder)
    return json.loads((folder / "report" / "results.json").read_text())["selections"]


@pytest.mark.usefixtures("use_toy")
def test_a_killed_run_continues_to_the_same_bits(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(whole, NAMES, processes=1, devices=2))

    def checkpoint(run, number):
        def reached():
            found = [p.name for p in killed.glob(f"{run}/checkpoints/*/*")]
            return any(n.isdigit() and int(n) >= number for n in found)

        return reached

    def predictions():
        return any(killed.glob("resident/fold_*/predictions_last.npz"))

    kill_when(killed, "the first steps' checkpoints", checkpoint("streamed", 2))
    kill_when(killed, "the second stage", checkpoint("streamed", 2_000_001))
    kill_when(killed, "results that are being written", predictions)
    kill_when(killed, "two runs at once", checkpoint("cfnet", 1_000_001))
    (output,) = finish(start(killed, NAMES, processes=1, devices=2))
    assert "continuing at stage joint, epoch 1" in output
    for name in NAMES:
        for selection in ("last", "validation"):
            chex.assert_trees_all_equal(
                *(
                    [run.variables for run in train.restore(f / name, selection).runs]
                    for f in (whole, killed)
                )
            )
    results = [report_of(f / "cfnet") for f in (whole, killed)]
    assert results[0] == results[1]

    # What is at once is what is in turn.
    config = toy_worker.trainings()["cfnet"]
    config.protocol.parallel_folds = "never"
    train.run(config, tmp_path / "in_turn", say=lambda line: None)
    for selection in ("last", "validation"):
        chex.assert_trees_all_close(
            *(
                [run.variables for run in train.restore(folder, selection).runs]
                for folder in (tmp_path / "in_turn", whole / "cfnet")
            ),
            rtol=1e-3,
            atol=1e-4,
        )
