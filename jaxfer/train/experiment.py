"""From a config to a finished working folder."""

import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

import jaxfer
from jaxfer import data, methods
from jaxfer.config import differences, validate
from jaxfer.data import noise
from jaxfer.data.samplers import PAIRS
from jaxfer.data.splits import Fold, make_folds
from jaxfer.errors import CheckpointError, ConfigError
from jaxfer.methods.base import Method, Variables
from jaxfer.train import memory, processes, results, sharding
from jaxfer.train.checkpoints import Checkpoints, load_variables
from jaxfer.train.group import DoesNotFit, Group
from jaxfer.train.inputs import create_feed, is_resident, resident_images
from jaxfer.train.log import MetricsLog, full_disk, is_full_disk, write_json
from jaxfer.train.loop import train_group
from jaxfer.train.orders import Run

Say = Callable[[str], None]

PLAN = "plan.json"
"""What was decided by the memory there was when a run began."""


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
    config: ml_collections.ConfigDict, workdir: str | Path
) -> Experiment:
    """Open the data set, split it, and build the method.

    Raises:
      ConfigError: the config is not valid.
      DataError: the data set is not prepared, or cannot be split that way.
    """
    validate(config)
    dataset = data.load(
        config.data.name,
        data_dir=config.data.dir or None,
        label_mode=config.data.label_mode,
    )
    protocol = SimpleNamespace(**config.protocol.to_dict())
    folds = make_folds(dataset.table, dataset.class_names, protocol)
    runs = list(_runs(config, Path(workdir), dataset, folds))
    steps = max(len(fold.train) for fold in folds) // config.batch_size
    method = methods.create(
        config, num_classes=len(dataset.class_names), steps_per_epoch=steps
    )
    smallest = min(len(fold.train) for fold in folds)
    for stage in method.stages:
        for one in stage.passes:
            # Pairs may show an image twice; their sampler counts for itself.
            if one.batch_size > smallest and one.sampler != PAIRS:
                raise ConfigError(
                    f"stage {stage.name} takes batches of {one.batch_size} images, and"
                    f" the smallest training part has {smallest}: lower the batch size"
                )
    return Experiment(config, Path(workdir), dataset, folds, runs, method)


def _runs(
    config: ml_collections.ConfigDict,
    workdir: Path,
    dataset: data.Dataset,
    folds: list[Fold],
) -> Iterator[Run]:
    """Folds within rates of label noise within seeds."""
    options = config.data.label_noise
    seeds = range(config.seed, config.seed + config.protocol.num_seeds)
    rates = tuple(options.rates) if options.kind in noise.KINDS else (None,)
    for seed, rate in itertools.product(seeds, rates):
        base = workdir / f"seed_{seed:02d}" if len(seeds) > 1 else workdir
        if len(rates) > 1:
            base = base / f"noise_{100 * rate:g}"
        for number, fold in enumerate(folds):
            folder = base / f"fold_{number:02d}"
            given = _given_labels(config, dataset, fold, (seed, number), rate)
            if given is None:
                yield Run(seed, number, fold, folder)
                continue
            found = np.mean(given[fold.train] != dataset.table.label[fold.train])
            share = float(found) if rate is None else rate
            yield Run(seed, number, fold, folder, given, share)


def _given_labels(
    config: ml_collections.ConfigDict,
    dataset: data.Dataset,
    fold: Fold,
    seed: tuple[int, int],
    rate: float | None,
) -> np.ndarray | None:
    """The labels (N,) that a run is trained on, wrong ones among them; or None.

    All rates of one seed and fold draw from one generator: a smaller rate's mistakes
    are among a greater one's.
    """
    options, labels = config.data.label_noise, dataset.table.label.copy()
    if not options.kind:
        return None
    train, names = fold.train, dataset.class_names
    if options.kind == "file":
        found = noise.read_label_file(options.file, dataset.table, names)
        labels[train] = found[train]
        return labels
    assert rate is not None
    labels[train] = noise.corrupt_labels(
        labels[train],
        num_classes=len(names),
        kind=options.kind,
        rate=rate,
        rng=np.random.default_rng([*seed, 1]),
    )
    return labels


def run(
    config: ml_collections.ConfigDict,
    workdir: str | Path,
    *,
    command: str = "",
    say: Say = print,
) -> Path:
    """Train what a config describes, or continue; returns the working folder.

    Args:
      config: a whole experiment's config.
      workdir: where results go; see the README for what it holds.
      command: how this was called, for the report.
      say: for lines that a user should see.

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
        processes.on_first(lambda: _claim(config, experiment.workdir))
        _check_shared(experiment.workdir)
        _train_all(experiment, command, say if processes.is_first() else _silent)
    except (OSError, ValueError, RuntimeError) as error:
        if is_full_disk(error):
            raise full_disk(error, experiment.workdir) from error
        raise
    return experiment.workdir


def _silent(line: str) -> None:
    """What the other processes say."""


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


def _check_shared(workdir: Path) -> None:
    """Refuse a working folder that is another on another host."""
    path = workdir / "config.json"
    mine = path.read_text() if path.exists() else ""
    if processes.agree(mine) != mine:
        raise ConfigError(
            f"the working folder {workdir} of process {jax.process_index()} is not"
            " that of the first process: name one with --workdir on a disk that all"
            " hosts share, such as NFS"
        )


def _train_all(experiment: Experiment, command: str, say: Say) -> None:
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
                _train(experiment, "all", runs, images, log, say)
            except DoesNotFit:
                say("the runs do not fit into memory at once; they take turns")
                together = False
                plan = {"resident": True, "together": together}
                processes.on_first(lambda: write_json(workdir / PLAN, plan))
        for number, one in enumerate([] if together else runs):
            if not done[number]:
                carried = _carried(experiment, number)
                name = f"run_{number:03d}"
                _train(experiment, name, [one], images, log, say, carried)
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
    plan = json.loads(path.read_text()) if path.exists() else None
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
    )
    try:
        progress = train_group(group, initial)
        results.finish(group, progress)
    finally:
        checkpoints.close()


def _claim(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Write config.json, or check that the one there is of the same experiment."""
    path = workdir / "config.json"
    begun = (workdir / "metrics.csv").exists() or (workdir / "checkpoints").exists()
    if path.exists() and begun:
        changed = differences(results.read_config(workdir).to_dict(), config.to_dict())
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


def _summary(experiment: Experiment) -> str:
    dataset, protocol = experiment.dataset, experiment.config.protocol
    fold = experiment.folds[0]
    split = {
        "given": "given test split",
        "subject": f"{protocol.folds} folds by subject",
        "stratified": f"{protocol.folds} stratified folds",
        "file_order": f"{protocol.folds} folds in file order",
    }[protocol.kind]
    return (
        f"{experiment.method.name} on {dataset.name}: {len(dataset.table)} images,"
        f" {len(dataset.class_names)} classes; {split}, {protocol.num_seeds} seed(s);"
        f" first fold {len(fold.train)} train, {len(fold.validation)} validation,"
        f" {len(fold.test)} test; {len(jax.devices())} {jax.default_backend()}"
        " device(s)"
    )


class RestoredRun(NamedTuple):
    """A finished run with the variables of one selection."""

    seed: int
    fold: int
    dir: Path
    rows: Fold
    variables: Variables


class Restored(NamedTuple):
    """A finished experiment with its data set."""

    config: ml_collections.ConfigDict
    workdir: Path
    dataset: data.Dataset
    method: Method
    runs: list[RestoredRun]


def restore(workdir: str | Path, selection: str = "last") -> Restored:
    """A finished experiment, to ask more of its models on its own data.

    Args:
      workdir: a working folder that `run` finished.
      selection: "last", or "validation" for the best epoch on validation data.

    Raises:
      CheckpointError: see `jaxfer.train.load_run`.
      DataError: its data set is not prepared here.
    """
    workdir = Path(workdir)
    experiment = open_experiment(results.read_config(workdir), workdir)
    runs = []
    for number, one in enumerate(experiment.runs):
        trained = results.load_run(workdir, selection=selection, run=number)
        runs.append(
            RestoredRun(one.seed, one.fold, one.folder, one.rows, trained.variables)
        )
    config, _, dataset, _, _, method = experiment
    return Restored(config, workdir, dataset, method, runs)
