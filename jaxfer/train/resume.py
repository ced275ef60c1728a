"""Saving the progress of a group, and continuing from it."""

from typing import Any

import numpy as np

from jaxfer.errors import CheckpointError, short, storage_problem
from jaxfer.train import processes, sharding
from jaxfer.train.checkpoints import Position
from jaxfer.train.group import Group, Progress


def _tree(progress: Progress) -> dict[str, Any]:
    return {
        "states": progress.states,
        "tracker": progress.tracker,
        "sums": progress.sums,
        "keys": progress.keys,
    }


def save(group: Group, progress: Progress, steps: int) -> None:
    """Begin to write a checkpoint of a group's progress; `steps` an epoch."""
    position = progress.position
    before = sum(s.epochs for s in group.method.stages[: position.stage])
    # Grows with the position, whatever the stages' numbers of steps.
    number = (before + position.epoch) * 1_000_000 + position.step
    meta = {
        "position": list(position),
        "steps_per_epoch": steps,
        "class_names": list(group.dataset.class_names),
        "sums": None if progress.sums is None else sorted(progress.sums),
        "seconds": progress.seconds,
    }
    group.checkpoints.save(number, _tree(progress), meta)


def restore(group: Group, progress: Progress) -> Progress:
    """The newest whole checkpoint of the group, or `progress` unchanged.

    Raises:
      CheckpointError: one cannot be read for a reason that is not in it, such as a
        network that fails, or is of other classes, or all are damaged.
    """
    numbers = processes.agree(group.checkpoints.numbers())
    for number in numbers:
        loaded = _load(group, progress, number)
        if loaded is None:
            continue
        meta, tree = loaded
        position = Position(*meta["position"])
        group.say(f"continuing at {_where(group, position)}")
        _forget_later(group, position)
        return Progress(
            states=tree["states"],
            tracker=tree["tracker"],
            keys=tree["keys"],
            position=position,
            sums=tree["sums"],
            seconds=dict(meta["seconds"]),
        )
    if numbers:
        raise CheckpointError(
            f"all {len(numbers)} checkpoints are damaged; they were set aside as"
            " damaged_*. Run the same command again to start this group afresh."
        )
    _forget_later(group, Position(0, 0, 0))
    return progress


def _load(group: Group, progress: Progress, number: int) -> tuple[dict, Any] | None:
    """One checkpoint, (meta, tree); None, and set aside, where it is damaged."""
    loaded, trouble = None, None
    try:
        meta = group.checkpoints.meta(number)
        if tuple(meta["class_names"]) != tuple(group.dataset.class_names):
            raise CheckpointError(
                f"the checkpoint knows the classes {meta['class_names']}, the"
                f" data set has {list(group.dataset.class_names)}. Use another"
                " working folder (--workdir)."
            )
        zero = sharding.put(
            np.zeros(len(group.runs), np.float32), sharding.by_run(group.mesh)
        )
        progress.sums = dict.fromkeys(meta["sums"], (zero, zero))
        loaded = meta, group.checkpoints.restore(number, _tree(progress))
    except (ValueError, KeyError, OSError, TypeError) as error:
        hindrance = storage_problem(error)
        trouble = {"damaged": hindrance is None, "why": hindrance or short(error)}
    # What one process cannot read, none uses.
    troubles = [found for found in processes.gather(trouble) if found is not None]
    if not troubles:
        return loaded
    folder = group.checkpoints.folder(number)
    for found in troubles:
        if not found["damaged"]:
            raise CheckpointError(
                f"{folder} cannot be read: {found['why']}. The checkpoint may be whole,"
                " so it was left as it is: see to the disk, the network or the"
                " permissions, and run the same command again to continue from it."
            )
    place = processes.on_first(lambda: str(group.checkpoints.set_aside(number)))
    group.checkpoints.reload()
    group.say(
        f"warning: {folder} is damaged; trying the checkpoint before it\n"
        f"  found: {troubles[0]['why']}\n"
        f"  moved to: {place}"
    )
    return None


def _where(group: Group, position: Position) -> str:
    stage = group.method.stages[position.stage].name
    return f"stage {stage}, epoch {position.epoch}, step {position.step}"


def _forget_later(group: Group, position: Position) -> None:
    """Drop rows of the log that these runs are going to write again."""
    stages = [stage.name for stage in group.method.stages]
    mine = {(run.seed, run.fold, run.noise) for run in group.runs}

    def earlier(row: dict[str, str]) -> bool:
        at = (stages.index(row["stage"]), int(row["epoch"]))
        run = (int(row["seed"]), int(row["fold"]), float(row["noise"]))
        return run not in mine or at < position[:2]

    group.log.keep(earlier)
