"""Waiting for other processes and threads, never for ever and never in silence."""

import subprocess
import time

import pytest


def until(reached, what, *, workers=(), seconds=600):
    """Returns as soon as `reached()` holds; fails when it cannot, or does not in time.

    Args:
      reached: is asked again and again.
      what: is waited for, in words.
      workers: processes that are to run meanwhile; where the test fails they are
        ended, and what they wrote is shown.
      seconds: to wait.
    """
    end = time.monotonic() + seconds
    while not reached():
        over = any(worker.poll() is not None for worker in workers)
        if over or time.monotonic() > end:
            why = "a process ended" if over else f"{seconds} s went by"
            pytest.fail(f"{why} before {what}\n{_killed(workers)}")
        time.sleep(0.01)


def ended(workers, *, seconds=600):
    """What processes wrote until they ended; fails if one does not in time."""
    end = time.monotonic() + seconds
    try:
        return [w.communicate(timeout=end - time.monotonic())[0] for w in workers]
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"{error}\n{_killed(workers)}")


def _killed(workers):
    """Kills processes; returns what they wrote."""
    for worker in workers:
        worker.kill()
    return "\n".join(str(worker.communicate()[0]) for worker in workers)
