"""Training one group of runs (folds times seeds) through all stages."""

import itertools
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array
from tqdm import tqdm

from jaxfer.methods.base import Stage, State, Variables
from jaxfer.train import passes, processes, resume, selection, sharding, start, waits
from jaxfer.train import program as programs
from jaxfer.train.checkpoints import Position
from jaxfer.train.feed import Feed, Resident, Streamed, place, table_arrays
from jaxfer.train.group import DoesNotFit, Group, Progress
from jaxfer.train.orders import Run, sequential_order, train_order
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
    progress = resume.restore(group, start.fresh(group, initial))
    for index in range(progress.position.stage, len(group.method.stages)):
        if index > progress.position.stage:
            _begin_stage(group, progress, index)
        _train_stage(group, progress, index)
    group.checkpoints.wait()
    return progress


def _by_run(group: Group) -> Any:
    return sharding.by_run(group.mesh)


def _begin_stage(group: Group, progress: Progress, index: int) -> None:
    """Hand the selected variables on, with a fresh count and learning rate."""
    states, tracker = progress.states, progress.tracker
    variables = tracker.best_variables if group.validated else states.variables
    if (begin := group.method.stages[index].begin) is not None:
        variables = start.beginner(begin, group.mesh)(variables)
    progress.states = states._replace(
        variables=variables,
        step=sharding.put(np.zeros(len(group.runs), np.int32), _by_run(group)),
        lr_scale=sharding.put(np.ones(len(group.runs), np.float32), _by_run(group)),
    )
    progress.tracker = start.tracker(group, variables)
    progress.position, progress.sums = Position(index, 0, 0), None


def _train_stage(group: Group, progress: Progress, index: int) -> None:
    stage, table = group.method.stages[index], group.dataset.table
    began = time.perf_counter() - progress.seconds.get(stage.name, 0.0)
    if progress.position.epoch == stage.epochs:
        return
    feed = _stage_feed(group, stage, progress.states)
    orders = train_order(stage, index, progress.position.epoch, group.runs, table)
    # Where each pass of an epoch begins, in steps, and where the last one ends.
    bounds = list(itertools.accumulate((o.shape[1] for o in orders), initial=0))
    steps = bounds[-1]
    ragged = any((order[:, :, 0] < 0).any() for order in orders)
    program = programs.build(stage, group.mesh, ragged=ragged, select=group.validated)
    sources = [feed.example(order) for order in orders]
    keys = start.stage_keys(group.mesh)(progress.keys, np.int32(index + 1))
    zero_sums: dict[str, Any] = {}
    for metrics, like in zip(program.metrics, sources, strict=True):
        zero_sums |= programs.zeros(metrics, progress.states, like, keys)
    if stage.plateau is not None and not group.validated:
        selection.metric_value(zero_sums, stage.plateau.metric)  # or an error, now
    sums = sharding.put(
        zero_sums if progress.sums is None else progress.sums, _by_run(group)
    )
    compiling, none = time.perf_counter(), np.int32(0)
    compiled = [
        train.lower(progress.states, sums, like, keys, none, none).compile()
        for train, like in zip(program.train, sources, strict=True)
    ]
    if index == 0 and not processes.agree(all(map(group.fits, compiled))):
        raise DoesNotFit
    group.say(
        f"{stage.name}: {_names(group.runs)}, {stage.epochs} epochs of {steps} steps"
        f" of {_sizes(stage)} images; trains {stage.trains}; compiled in"
        f" {time.perf_counter() - compiling:.1f} s"
    )
    judge = _judge(group, stage, program, feed, progress.states, sources[0])
    meter = waits.Meter(feed) if isinstance(feed, Streamed) else None
    if meter is not None:
        feed, compiled = meter, [meter.watch(step) for step in compiled]
    paces = [passes.Pace() for _ in compiled]
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
            orders = train_order(stage, index, epoch, group.runs, table)
            done = first.step if epoch == first.epoch else 0
            for number, order in enumerate(orders):
                before, after = bounds[number : number + 2]
                if done >= after:
                    continue

                def tick(
                    step: int, states: State, sums: Any, at: tuple = (epoch, before)
                ) -> None:
                    step += at[1]
                    bar.update(at[0] * steps + step - bar.n)
                    if step < steps:
                        save_if_due(states, sums, Position(index, at[0], step))

                begin = max(done - before, 0)
                states, sums = passes.train(
                    compiled[number],
                    feed,
                    states,
                    sums,
                    order,
                    keys,
                    begin,
                    paces[number],
                    tick,
                )
            values = {"train": programs.means(sums)} | judge(states.variables)
            followed = values["validation" if group.validated else "train"]
            states, progress.tracker = program.end_epoch(
                states, progress.tracker, followed, np.int32(epoch)
            )
            host = sharding.fetch((values, states.step, states.lr_scale))
            waited = meter.tell(stage.name, orders, group.say) if meter else {}
            _log_epoch(group, stage, epoch, host, waited, began, bar)
            group.watch(group, stage, epoch, states)
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
    values: tuple[dict[str, dict[str, np.ndarray]], np.ndarray, np.ndarray],
    waited: dict[str, float],
    began: float,
    bar: tqdm,
) -> None:
    host, step, scale = values
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
            | waited
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


def _sizes(stage: Stage) -> str:
    """Images per step, of each pass where they differ."""
    return " and ".join(dict.fromkeys(str(one.batch_size) for one in stage.passes))


def _names(runs: list[Run]) -> str:
    if len(runs) == 1:
        run = runs[0]
        wrong = f", {run.noise:.0%} wrong labels" if run.noise else ""
        return f"fold {run.fold}, seed {run.seed}{wrong}"
    return f"{len(runs)} runs at once"
