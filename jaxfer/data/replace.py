"""Putting a prepared folder where an older one is, so that a kill loses neither."""

import contextlib
import fcntl
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from jaxfer.errors import DataError


@contextlib.contextmanager
def locked(target: Path) -> Iterator[Path]:
    """Gives an empty working folder that belongs to this process alone.

    The lock is the kernel's, so that it goes with a killed process; the next
    one to hold it puts back or removes what the killed one left.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.incomplete")
    with target.with_name(f".{target.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another process: {target}", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        _settle(target, temporary)
        temporary.mkdir()
        try:
            yield temporary
        finally:
            _settle(target, temporary)


def replace(folder: Path, target: Path) -> None:
    """Makes a folder the target; what was there goes with the lock, held meanwhile.

    After a kill or a failure between the two steps there is no target, and
    `locked` and `put_back` find what was there before.
    """
    if target.exists():
        target.rename(_aside(target))
    folder.rename(target)


def put_back(target: Path) -> None:
    """Puts back what a process moved aside that was killed before it replaced it.

    Raises:
      DataError: it is there, but cannot be moved.
    """
    if target.exists() or not _aside(target).exists():
        return
    try:
        with locked(target):
            pass
    except OSError as error:
        raise DataError(
            f"{target} was about to be replaced when the process was killed; its "
            f"data is whole in {_aside(target)}, which cannot be put back: "
            f"{error.strerror or error}. Rename it yourself."
        ) from error


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.replaced")


def _settle(target: Path, temporary: Path) -> None:
    """Ends what was begun: leaves the target, old or new, and nothing beside it."""
    shutil.rmtree(temporary, ignore_errors=True)
    aside = _aside(target)
    if aside.exists() and target.exists():
        # In one step, so that nothing half removed is ever put back.
        aside.rename(temporary)
        shutil.rmtree(temporary, ignore_errors=True)
    elif aside.exists():
        aside.rename(target)
