"""The working folder: whose it is, and the config that it holds."""

from pathlib import Path

import jax
import ml_collections

import jaxfer
from jaxfer import methods
from jaxfer.config import differences
from jaxfer.errors import CheckpointError, ConfigError
from jaxfer.train import processes
from jaxfer.train.log import read_json, write_json

PLAN = "plan.json"
"""What was decided by the memory there was when a run began."""


def claim(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Write config.json, or check that the one there is of the same experiment."""
    path = workdir / "config.json"
    begun = (workdir / "metrics.csv").exists() or (workdir / "checkpoints").exists()
    if path.exists() and begun:
        changed = differences(read_config(workdir).to_dict(), config.to_dict())
        if changed:
            raise CheckpointError(
                f"{workdir} holds a run of another config; these fields differ:\n  "
                + "\n  ".join(changed)
                + "\nName another folder with --workdir, or remove that one."
            )
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the working folder {workdir} cannot be made ({error}): name another"
            " with --workdir"
        ) from error
    for stale in ("data.json", PLAN):  # of a config that never trained
        (workdir / stale).unlink(missing_ok=True)
    write_json(path, config.to_dict() | {"jaxfer_version": jaxfer.__version__})


def check_shared(workdir: Path) -> None:
    """Refuse a working folder that is another on another host."""
    path = workdir / "config.json"
    mine = path.read_text() if path.exists() else ""
    if processes.agree(mine) != mine:
        raise ConfigError(
            f"the working folder {workdir} of process {jax.process_index()} is not"
            " that of the first process: name one with --workdir on a disk that all"
            " hosts share, such as NFS"
        )


def read_config(workdir: Path) -> ml_collections.ConfigDict:
    """The config of a working folder; fields that its version lacked are by default.

    Raises:
      CheckpointError: not a working folder, or its config.json is damaged.
    """
    path = workdir / "config.json"
    if not path.is_file():
        raise CheckpointError(
            f"{workdir} is not a working folder: expected a config.json in it, as"
            " `python -m jaxfer.launch` writes."
        )
    values = read_json(path)
    values.pop("jaxfer_version", None)
    return methods.completed(values)
