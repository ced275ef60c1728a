"""Training one group of runs (folds times seeds) through all stages."""

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.tree_util import keystr, tree_leaves_with_path, tree_map_with_path
from tqdm import tqdm

from jaxfer.errors import WeightsError
from jaxfer.methods.base import Stage, State, Variables
from jaxfer.train import passes, processes, resume, selection, sharding
from jaxfer.train import program as programs
from jaxfer.train.checkpoints import Position
from jaxfer.train.feed import Feed, Resident, place, table_arrays
from jaxfer.train.group import DoesNotFit, Group, Progress
from jaxfer.train.orders import Run, key_data, sequential_order, train_order
from jaxfer.train.program import Source


def train_group(group: Group, initial: Variables | None = None) -> Progress:
    """Train a group through all stages, from wherever its checkpoints stand.

    Args:
      group: what to train.
      initial: variables (R, ...) to start from instead of fresh ones.

    Returns:
      The progress at the end of the last stage.

    Raises:
      CheckpointError: checkpoints exist, and none can be read.
      DoesNotFit: `group.fits` said no.
    """
    progress = resume.restore(group, _fresh(group, initial))
    for index in range(progress.position.stage, len(group.method.stages)):
        if index > progress.position.stage:
            _begin_stage(group, progress, index)
        _train_stage(group, progress, index)
    group.checkpoints.wait()
    return progress


def lay_over(fresh: Variables, part: Variables) -> Variables:
    """Fresh variables (R, ...) with the leaves of `part` in their places, for all runs.

    Raises:
      WeightsError: the part has leaves that the variables lack, or of other shapes.
    """
    wrong = []
    places = {keystr(path): leaf for path, leaf in tree_leaves_with_path(part)}

    def place(path: Any, leaf: Array) -> Array:
        new = places.pop(keystr(path), None)
        if new is None:
            return leaf
        if new.shape != leaf.shape[1:]:
            wrong.append(f"{keystr(path)}: {new.shape}, expected {leaf.shape[1:]}")
            return leaf
        return jnp.broadcast_to(jnp.asarray(new, leaf.dtype)[None], leaf.shape)

    whole = tree_map_with_path(place, fresh)
    wrong += [f"{name}: the network has no such array" for name in places]
    if wrong:
        raise WeightsError(
            "the weights to start from do not fit the network:\n  " + "\n  ".join(wrong)
        )
    return whole


def _by_run(group: Group) -> Any:
    return sharding.by_run(group.mesh)


def _fresh(group: Group, initial: Variables | None) -> Progress:
    keys = sharding.put(key_data(group.runs), _by_run(group))
    # Zeros and not the first images: initial values must not depend on data.
    size = group.image_size
    images = np.zeros((1, size, size, 3), np.uint8)

    states = _initializer(group.method.init, group.mesh)(keys, images)
    if initial is not None:
        states = states._replace(variables=sharding.put(initial, _by_run(group)))
    elif group.method.pretrained is not None:
        merge = jax.jit(lay_over, out_shardings=_by_run(group))
        variables = merge(states.variables, group.method.pretrained())
        states = states._replace(variables=variables)
    return Progress(states, _start_tracker(group, states.variables), keys)


@functools.lru_cache(maxsize=4)  # folds in turn share what is compiled
def _initializer(init: Callable, mesh: Mesh) -> Callable[..., State]:
    def one(data: Array, images: Array) -> State:
        key = jax.random.wrap_key_data(data)
        return init(jax.random.fold_in(key, 0), images)

    every = jax.vmap(one, in_axes=(0, None))
    return jax.jit(every, out_shardings=sharding.by_run(mesh))


@functools.lru_cache(maxsize=4)
def _stage_keys(mesh: Mesh) -> Callable[..., Array]:
    def one(data: Array, number: Array) -> Array:
        return jax.random.fold_in(jax.random.wrap_key_data(data), number)

    every = jax.vmap(one, in_axes=(0, None))
    return jax.jit(every, out_shardings=sharding.by_run(mesh))


@functools.lru_cache(maxsize=4)
def _tracker_starter(mesh: Mesh) -> Callable[[Variables], selection.Tracker]:
    every = jax.vmap(selection.start)
    return jax.jit(every, out_shardings=sharding.by_run(mesh))


def _start_tracker(group: Group, variables: Variables) -> selection.Tracker:
    return _tracker_starter(group.mesh)(variables)


def _begin_stage(group: Group, progress: Progress, index: int) -> None:
    """Hand the selected variables on, with a fresh count and learning rate."""
    states, tracker = progress.states, progress.tracker
    variables = tracker.best_variables if group.validated else states.variables
    progress.states = states._replace(
        variables=variables,
        step=sharding.put(np.zeros(len(group.runs), np.int32), _by_run(group)),
        lr_scale=sharding.put(np.ones(len(group.runs), np.float32), _by_run(group)),
    )
    progress.tracker = _start_tracker(group, variables)
    progress.position, progress.sums = Position(index, 0, 0), None


def _train_stage(group: Group, progress: Progress, index: int) -> None:
    stage, labels = group.method.stages[index], group.dataset.table.label
    began = time.perf_counter() - progress.seconds.get(stage.name, 0.0)
    if progress.position.epoch == stage.epochs:
        return
    feed = _stage_feed(group, stage, progress.states)
    order = train_order(stage, index, progress.position.epoch, group.runs, labels)
    steps = order.shape[1]
    ragged = bool((order[:, :, 0] < 0).any())
    program = programs.build(stage, group.mesh, ragged=ragged, select=group.validated)
    like = feed.example(order)
    zero_sums = programs.zeros(program.metrics, progress.states, like)
    sums = sharding.put(
        zero_sums if progress.sums is None else progress.sums, _by_run(group)
    )
    keys = _stage_keys(group.mesh)(progress.keys, np.int32(index + 1))
    compiling, none = time.perf_counter(), np.int32(0)
    step = program.train.lower(progress.states, sums, like, keys, none, none).compile()
    if index == 0 and not processes.agree(group.fits(step)):
        raise DoesNotFit
    group.say(
        f"{stage.name}: {_names(group.runs)}, {stage.epochs} epochs of {steps} steps"
        f" of {stage.batch_size} images; trains {stage.trains}; compiled in"
        f" {time.perf_counter() - compiling:.1f} s"
    )
    judge, pace = (
        _judge(group, stage, program, feed, progress.states, like),
        passes.Pace(),
    )
    saved_at = time.perf_counter()

    def save_if_due(states: State, sums: Any, at: Position, due: bool = False) -> None:
        nonlocal saved_at
        now = time.perf_counter()
        if due or processes.agree(now - saved_at >= group.every_seconds):
            progress.seconds[stage.name] = now - began
            progress.states, progress.sums, progress.position = states, sums, at
            resume.save(group, progress, steps)
            saved_at = now

    states = progress.states
    first = progress.position
    with tqdm(
        total=stage.epochs * steps,
        initial=first.epoch * steps + first.step,
        desc=stage.name,
        unit="step",
        disable=not group.progress,
        mininterval=1.0 if sys.stderr.isatty() else 15.0,
        dynamic_ncols=True,
    ) as bar:
        for epoch in range(first.epoch, stage.epochs):
            order = train_order(stage, index, epoch, group.runs, labels)

            def tick(step: int, states: State, sums: Any, epoch: int = epoch) -> None:
                bar.update(epoch * steps + step - bar.n)
                if step < steps:
                    save_if_due(states, sums, Position(index, epoch, step))

            start = first.step if epoch == first.epoch else 0
            states, sums = passes.train(
                step, feed, states, sums, order, keys, start, pace, tick
            )
            values = {"train": programs.means(sums)} | judge(states.variables)
            followed = values["validation" if group.validated else "train"]
            states, progress.tracker = program.end_epoch(
                states, progress.tracker, followed, np.int32(epoch)
            )
            _log_epoch(group, stage, epoch, states, values, began, bar)
            sums = sharding.put(zero_sums, _by_run(group))
            save_if_due(
                states, sums, Position(index, epoch + 1, 0), epoch + 1 == stage.epochs
            )
    progress.states, progress.sums = states, sums


def _stage_feed(group: Group, stage: Stage, states: State) -> Feed:
    """The group's feed, or the frozen features of this stage on the device."""
    if stage.features is None:
        return group.feed
    began = time.perf_counter()
    program = programs.build(stage, group.mesh)
    count = len(group.dataset.table.label)
    features = passes.features(
        program, group.feed, states.variables, count, stage.batch_size
    )
    data = place(group.runs, table_arrays(group.dataset), group.mesh)
    data["features"] = jax.device_put(features, _by_run(group))
    jax.block_until_ready(data)
    group.say(
        f"{stage.name}: features of {count} images, computed once, in"
        f" {time.perf_counter() - began:.1f} s"
    )
    return Resident(data, group.mesh)


def _judge(
    group: Group,
    stage: Stage,
    program: programs.Program,
    feed: Feed,
    states: State,
    like: Source,
) -> Callable[[Variables], dict[str, dict[str, Array]]]:
    """A function of the variables: metrics of the validation and test parts."""
    runs = group.runs
    parts = {
        "validation": [run.rows.validation for run in runs],
        "test": [run.rows.test for run in runs],
    }
    orders = {
        part: sequential_order(rows, stage.batch_size)
        for part, rows in parts.items()
        if all(r.size for r in rows)
    }
    longest = max(order.shape[1] for order in orders.values())
    for part, order in orders.items():  # of one shape, to be compiled once
        fill = ((0, 0), (0, longest - order.shape[1]), (0, 0))
        orders[part] = np.pad(order, fill, constant_values=-1)
    zero = programs.zeros(program.totals, states.variables, like)

    def judge(variables: Variables) -> dict[str, dict[str, Array]]:
        return {
            part: programs.computed(
                passes.judge(
                    program, feed, variables, sharding.put(zero, _by_run(group)), rows
                )
            )
            for part, rows in orders.items()
        }

    return judge


def _log_epoch(
    group: Group,
    stage: Stage,
    epoch: int,
    states: State,
    values: dict[str, dict[str, Array]],
    began: float,
    bar: tqdm,
) -> None:
    host, step, scale = sharding.fetch((values, states.step, states.lr_scale))
    bad = [
        _names([run])
        for r, run in enumerate(group.runs)
        if not all(np.isfinite(value[r]) for value in host["train"].values())
    ]
    if bad:
        group.say(
            f"warning: {stage.name}, epoch {epoch}: training figures are not finite"
            f" in {'; '.join(bad)}. A lower learning rate or clip_norm may help."
        )
    group.log.add(
        [
            {
                "seed": run.seed,
                "fold": run.fold,
                "noise": run.noise,
                "stage": stage.name,
                "epoch": epoch,
                "step": int(step[r]),
                "seconds": round(time.perf_counter() - began, 3),
                "lr_scale": float(scale[r]),
            }
            | {
                f"{part}/{name}": float(value[r])
                for part, named in host.items()
                for name, value in named.items()
            }
            for r, run in enumerate(group.runs)
        ]
    )
    bar.set_postfix(
        {
            part: f"{np.mean(named['accuracy']):.1%}"
            for part, named in host.items()
            if "accuracy" in named
        },
        refresh=False,
    )


def _names(runs: list[Run]) -> str:
    if len(runs) == 1:
        run = runs[0]
        wrong = f", {run.noise:.0%} wrong labels" if run.noise else ""
        return f"fold {run.fold}, seed {run.seed}{wrong}"
    return f"{len(runs)} runs at once"
