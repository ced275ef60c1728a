"""From a config to a finished working folder."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from jaxfer import data, methods
from jaxfer.config import validate
from jaxfer.data.pairs import Pairable, pairable
from jaxfer.data.samplers import PAIRS, TRIPLET
from jaxfer.data.splits import WORDS, Fold, make_folds
from jaxfer.errors import ConfigError, DataError
from jaxfer.methods.base import Method, Pass, Stage, State, Variables
from jaxfer.train import memory, processes, results, sharding
from jaxfer.train.checkpoints import Checkpoints, load_variables
from jaxfer.train.group import DoesNotFit, Group
from jaxfer.train.inputs import create_feed, is_resident, resident_images
from jaxfer.train.log import (
    MetricsLog,
    full_disk,
    is_full_disk,
    read_json,
    write_json,
)
from jaxfer.train.loop import train_group
from jaxfer.train.orders import Run
from jaxfer.train.runs import plan_runs
from jaxfer.train.workdir import PLAN, check_shared, claim

Say = Callable[[str], None]

Watch = Callable[[Group, Stage, int, State], None]
"""See `Group.watch`."""


class Experiment(NamedTuple):
    """A config made concrete.

    Attributes:
      config: what it was made of.
      workdir: where results go.
      dataset: opened, not yet read.
      folds: of the protocol.
      runs: folds within seeds.
      method: what is trained.
    """

    config: ml_collections.ConfigDict
    workdir: Path
    dataset: data.Dataset
    folds: list[Fold]
    runs: list[Run]
    method: Method


def open_experiment(
    config: ml_collections.ConfigDict, workdir: str | Path, *, finished: bool = False
) -> Experiment:
    """Open the data set, split it, and build the method.

    Args:
      config: a whole experiment's config.
      workdir: where results go.
      finished: see `jaxfer.train.runs.plan_runs`.

    Raises:
      ConfigError: the config is not valid.
      DataError: the data set is not prepared, has another number of classes, or cannot
        be split that way, or a list of labels does not fit it.
    """
    validate(config)
    dataset = data.load(
        config.data.name,
        data_dir=config.data.dir or None,
        label_mode=config.data.label_mode,
    )
    if config.data.classes not in (0, len(dataset.class_names)):
        raise DataError(
            f"data.classes is {config.data.classes}, and {config.data.name} has"
            f" {len(dataset.class_names)}: {', '.join(dataset.class_names)}. Prepare it"
            " as the config's text says, or set data.classes to 0"
        )
    protocol = SimpleNamespace(**config.protocol.to_dict())
    folds = make_folds(dataset.table, dataset.class_names, protocol)
    runs = list(plan_runs(config, Path(workdir), dataset, folds, finished=finished))
    steps = max(len(fold.train) for fold in folds) // config.batch_size
    method = methods.create(
        config, num_classes=len(dataset.class_names), steps_per_epoch=steps
    )
    for stage in method.stages:
        for one in stage.passes:
            _check_batches(stage.name, one, folds, dataset)
    return Experiment(config, Path(workdir), dataset, folds, runs, method)


def _check_batches(
    stage: str, one: Pass, folds: list[Fold], dataset: data.Dataset
) -> None:
    """Before anything slow begins: every training part has such batches."""
    smallest = min(len(fold.train) for fold in folds)
    # Pairs may show an image twice; their sampler counts for itself.
    if one.batch_size > smallest and one.sampler != PAIRS:
        smaller = "images_per_class" if one.sampler == TRIPLET else "the batch size"
        raise ConfigError(
            f"stage {stage} takes batches of {one.batch_size} images, and the smallest"
            f" training part has {smallest}: lower {smaller}"
        )
    if one.sampler == PAIRS:
        for fold in folds:
            _pairable(dataset, fold)
    if one.sampler != TRIPLET:
        return
    classes = len(dataset.class_names)
    for number, fold in enumerate(folds):
        present = np.unique(dataset.table.label[fold.train]).size
        if present < classes:
            raise ConfigError(
                f"stage {stage} takes as many images of each of {classes} classes in"
                f" every batch, and the training part of fold {number} has images of"
                f" {present}: change the protocol so that each has all, or prepare the"
                " data without the classes that are missing"
            )


def run(
    config: ml_collections.ConfigDict,
    workdir: str | Path,
    *,
    command: str = "",
    say: Say = print,
    watch: Watch | None = None,
) -> Path:
    """Train what a config describes, or continue; returns the working folder.

    Args:
      config: a whole experiment's config.
      workdir: where results go; see the README for what it holds.
      command: how this was called, for the report.
      say: for lines that a user should see.
      watch: called after every epoch; see `Group.watch`.

    Raises:
      JaxferError: anything that a user can act on.
    """
    experiment = processes.in_turn(lambda: open_experiment(config, workdir))
    _agree(experiment)
    # A network that cannot be built must not leave a folder behind.
    results.shapes(config, experiment.method)
    if experiment.method.pretrained is not None:
        experiment.method.pretrained()
    try:
        processes.on_first(lambda: claim(config, experiment.workdir))
        check_shared(experiment.workdir)
        say = say if processes.is_first() else _silent
        _train_all(experiment, command, say, watch or _unwatched)
    except (OSError, ValueError, RuntimeError) as error:
        if is_full_disk(error):
            raise full_disk(error, experiment.workdir) from error
        raise
    return experiment.workdir


def _silent(line: str) -> None:
    """What the other processes say."""


def _unwatched(group: Group, stage: Stage, epoch: int, states: State) -> None:
    """What nobody looks at."""


def _agree(experiment: Experiment) -> None:
    """Refuse processes that were started on different configs, data or folders."""
    config, workdir, dataset, folds, _, _ = experiment
    found = {
        "config": config.to_json(sort_keys=True),
        "data": results.fingerprint(dataset, folds),
        "workdir": str(workdir.resolve()),
    }
    for process, other in enumerate(processes.gather(found)):
        wrong = [name for name in found if other[name] != found[name]]
        if wrong:
            raise ConfigError(
                f"process {process} and this one, {jax.process_index()}, differ in"
                f" {', '.join(wrong)}: start all by the same command, on the same"
                " prepared data, in a working folder that they share"
            )


def _train_all(experiment: Experiment, command: str, say: Say, watch: Watch) -> None:
    config, workdir, dataset, folds, runs, method = experiment
    say(_summary(experiment))
    facts = processes.on_first(lambda: results.data_facts(workdir, dataset, folds))
    if facts["near_duplicates"]:
        say(
            f"warning: {len(facts['near_duplicates'])} test images have a nearly"
            " identical copy in the training or validation part; data.json lists them"
        )
    plan = processes.on_first(lambda: _plan(experiment, say))
    images = resident_images(config, dataset) if plan["resident"] else None
    together = plan["together"]
    done = processes.agree([results.is_finished(one) for one in runs])
    log = MetricsLog(
        workdir, tensorboard=config.log.tensorboard, writes=processes.is_first()
    )
    try:
        if together and not all(done):
            try:
                _train(experiment, "all", runs, images, log, say, watch)
            except DoesNotFit:
                say("the runs do not fit into memory at once; they take turns")
                together = False
                plan = {"resident": True, "together": together}
                processes.on_first(lambda: write_json(workdir / PLAN, plan))
        for number, one in enumerate([] if together else runs):
            if not done[number]:
                carried = _carried(experiment, number)
                name = f"run_{number:03d}"
                _train(experiment, name, [one], images, log, say, watch, carried)
    finally:
        log.close()
    processes.on_first(
        lambda: results.write_run(
            config, workdir, dataset, method, runs, facts, command
        )
    )


def _plan(experiment: Experiment, say: Say) -> dict[str, bool]:
    """Whether images are resident, and whether all runs are trained at once.

    What is decided by the memory of the moment is written down, so that a run that
    continues elsewhere, or later, computes the same.
    """
    config, workdir, dataset = experiment[:3]
    path = workdir / PLAN
    plan = read_json(path) if path.exists() else None
    if plan is None:
        resident = is_resident(config, dataset, say)
        plan = {
            "resident": resident,
            "together": _together(experiment, resident=resident),
        }
        write_json(path, plan)
    return plan


def _carried(experiment: Experiment, number: int) -> Variables | None:
    """The last variables of the fold before, (1, ...), where they are carried."""
    config, runs = experiment.config, experiment.runs
    if not config.protocol.carry_weights_across_folds or number == 0:
        return None
    before = runs[number - 1]
    if before.seed != runs[number].seed:
        return None
    like = results.shapes(config, experiment.method)
    variables = load_variables(before.folder / "model_last", like)
    return jax.tree.map(lambda a: a[None], variables)


def _together(experiment: Experiment, *, resident: bool) -> bool:
    """Whether all runs are to be trained at once."""
    protocol = experiment.config.protocol
    obstacle = ""
    if protocol.carry_weights_across_folds:
        obstacle = "protocol.carry_weights_across_folds takes folds in turn"
    elif not resident:
        obstacle = "the images are streamed; set data.resident to always"
    if protocol.parallel_folds == "always" and obstacle:
        raise ConfigError(f"protocol.parallel_folds is always, but {obstacle}")
    several = len(experiment.runs) > 1
    return several and not obstacle and protocol.parallel_folds != "never"


def _train(
    experiment: Experiment,
    name: str,
    runs: list[Run],
    images: np.ndarray | None,
    log: MetricsLog,
    say: Say,
    watch: Watch,
    initial: Variables | None = None,
) -> None:
    """Train one group and write its results."""
    config, dataset = experiment.config, experiment.dataset
    stages = experiment.method.stages
    sizes = (one.batch_size for stage in stages for one in stage.passes)
    mesh = sharding.create_mesh(len(runs), math.gcd(*sizes))
    checkpoints = Checkpoints(
        experiment.workdir / "checkpoints" / name, keep=config.checkpoint.keep
    )
    asked = len(runs) > 1 and config.protocol.parallel_folds == "auto"
    group = Group(
        method=experiment.method,
        runs=runs,
        dataset=dataset,
        feed=create_feed(config, dataset, images, runs, mesh),
        mesh=mesh,
        image_size=config.data.image_size,
        checkpoints=checkpoints,
        log=log,
        every_seconds=config.checkpoint.every_seconds,
        progress=config.log.progress and processes.is_first(),
        fits=memory.fits if asked else lambda compiled: True,
        say=say,
        watch=watch,
    )
    try:
        progress = train_group(group, initial)
        results.finish(group, progress)
    finally:
        checkpoints.close()


def _pairable(dataset: data.Dataset, fold: Fold) -> Pairable:
    """Of the training part; an error where there are no pairs at all."""
    return pairable(dataset.table.label, dataset.table.subject, fold.train)


def _summary(experiment: Experiment) -> str:
    dataset, protocol = experiment.dataset, experiment.config.protocol
    fold = experiment.folds[0]
    split = WORDS[protocol.kind].format(folds=protocol.folds)
    passes = [one for stage in experiment.method.stages for one in stage.passes]
    unpaired = ""
    if any(one.sampler == PAIRS for one in passes):
        alone = _pairable(dataset, fold).alone.size
        unpaired = f" ({alone} without a partner for pairs)" if alone else ""
    return (
        f"{experiment.method.name} on {dataset.name}: {len(dataset.table)} images,"
        f" {len(dataset.class_names)} classes; {split}, {protocol.num_seeds} seed(s);"
        f" first fold {len(fold.train)} train{unpaired},"
        f" {len(fold.validation)} validation,"
        f" {len(fold.test)} test; {len(jax.devices())} {jax.default_backend()}"
        " device(s)"
    )
