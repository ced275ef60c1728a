"""From a config to a finished working folder."""

import datetime
import json
import platform
import shutil
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
from jax import Array
from jax.sharding import Mesh

import jaxfer
from jaxfer import data, methods
from jaxfer.config import differences, to_json, validate
from jaxfer.data.manifest import near_duplicates, write_manifest
from jaxfer.data.splits import Fold, make_folds
from jaxfer.errors import CheckpointError, ConfigError
from jaxfer.methods.base import Method, Stage, Variables
from jaxfer.ops.corruptions import corrupt
from jaxfer.train import memory, sharding
from jaxfer.train import program as programs
from jaxfer.train.checkpoints import Checkpoints, load_variables, save_variables
from jaxfer.train.feed import Feed, Resident, Streamed
from jaxfer.train.log import MetricsLog, full_disk, write_atomically, write_json
from jaxfer.train.loop import DoesNotFit, Group, Progress, train_group
from jaxfer.train.orders import Run, sequential_order

RESIDENT_SHARE = 0.25
"""Images are kept on the device where they take less than this of its memory."""


class Experiment(NamedTuple):
    """A config made concrete."""

    config: ml_collections.ConfigDict
    workdir: Path
    dataset: data.Dataset
    folds: list[Fold]
    runs: list[Run]
    method: Method


class RestoredRun(NamedTuple):
    """A finished run of an experiment, with the variables of one selection."""

    seed: int
    fold: int
    folder: Path
    rows: Fold
    variables: Variables


class Restored(NamedTuple):
    """A finished experiment."""

    config: ml_collections.ConfigDict
    workdir: Path
    dataset: data.Dataset
    method: Method
    runs: list[RestoredRun]


def open_experiment(config: ml_collections.ConfigDict, workdir: Path) -> Experiment:
    """Load the data set, split it, and build the method.

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
    seeds = range(config.seed, config.seed + protocol.num_seeds)
    runs = []
    for seed in seeds:
        base = workdir / f"seed_{seed:02d}" if len(seeds) > 1 else workdir
        runs += [
            Run(seed, number, fold, base / f"fold_{number:02d}")
            for number, fold in enumerate(folds)
        ]
    steps = max(len(fold.train) for fold in folds) // config.batch_size
    method = methods.create(
        config, num_classes=len(dataset.class_names), steps_per_epoch=steps
    )
    return Experiment(config, workdir, dataset, folds, runs, method)


def run(
    config: ml_collections.ConfigDict,
    workdir: str | Path,
    *,
    command: str = "",
    say: Callable[[str], None] = print,
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
    workdir = Path(workdir)
    experiment = open_experiment(config, workdir)
    try:
        return _run(experiment, command, say)
    except OSError as error:
        if error.errno == 28:  # ENOSPC
            raise full_disk(error, workdir) from error
        raise


def _run(experiment: Experiment, command: str, say: Callable[[str], None]) -> Path:
    config, workdir, dataset = experiment[:3]
    began = time.time()
    _claim(config, workdir)
    say(_summary(experiment))
    images = _resident_images(experiment, say)
    facts = _data_facts(experiment, images, say)
    log = MetricsLog(workdir, tensorboard=config.log.tensorboard)
    seconds: dict[str, float] = {}
    previous: Progress | None = None
    for name, runs in _groups(experiment, resident=images is not None):
        if all((run.folder / "finished.json").exists() for run in runs):
            say(f"{name}: finished before")
            continue
        try:
            previous = _train(experiment, name, runs, images, log, say, previous)
        except DoesNotFit:
            say("the runs do not fit into memory together; they take turns instead")
            for alone in runs:
                part = f"{name}_{runs.index(alone):03d}"
                if not (alone.folder / "finished.json").exists():
                    _train(experiment, part, [alone], images, log, say, None)
    log.close()
    for run_ in experiment.runs:
        spent = json.loads((run_.folder / "finished.json").read_text())["seconds"]
        for stage, value in spent.items():
            seconds[stage] = seconds.get(stage, 0.0) + value
    params = sum(
        int(np.prod(a.shape)) for a in jax.tree.leaves(_shapes(experiment)["params"])
    )
    write_json(
        workdir / "run.json",
        facts
        | {
            "dataset": dataset.name,
            "class_names": list(dataset.class_names),
            "method": experiment.method.name,
            "stages": [stage.name for stage in experiment.method.stages],
            "runs": [
                {
                    "seed": r.seed,
                    "fold": r.fold,
                    "dir": r.folder.relative_to(workdir).as_posix(),
                }
                for r in experiment.runs
            ],
            "protocol": config.protocol.to_dict(),
            "environment": _environment(),
            "command": command,
            "seconds": seconds | {"total": sum(seconds.values())},
            "this_session_seconds": time.time() - began,
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "peak_memory_bytes": memory.peak_bytes(),
            "parameters": params,
        },
    )
    return workdir


def restore(workdir: str | Path, selection: str = "last") -> Restored:
    """A finished experiment with the variables that `selection` names.

    Args:
      workdir: a working folder that `run` finished.
      selection: "last", or "validation" for the best epoch on validation data.

    Raises:
      CheckpointError: not a working folder, unfinished, damaged, or without
        that selection.
      DataError: its data set is not prepared here.
    """
    workdir = Path(workdir)
    if not (workdir / "config.json").is_file():
        raise CheckpointError(
            f"{workdir} is not a working folder: expected a config.json in it, as"
            " `python -m jaxfer.launch` writes."
        )
    values = json.loads((workdir / "config.json").read_text())
    values.pop("jaxfer_version", None)
    config = ml_collections.ConfigDict(values)
    experiment = open_experiment(config, workdir)
    like = _shapes(experiment)
    runs = [
        RestoredRun(
            r.seed,
            r.fold,
            r.folder,
            r.rows,
            load_variables(r.folder / f"model_{selection}", like),
        )
        for r in experiment.runs
    ]
    return Restored(config, workdir, experiment.dataset, experiment.method, runs)


def _shapes(experiment: Experiment) -> Variables:
    size = experiment.config.data.image_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), np.uint8)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(experiment.method.init, key, images).variables


def _claim(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Write config.json, or check that the one there is of the same experiment."""
    path = workdir / "config.json"
    if path.exists():
        try:
            old = json.loads(path.read_text())
        except json.JSONDecodeError as error:
            raise CheckpointError(f"{path} is not JSON: {error}") from error
        old.pop("jaxfer_version", None)
        changed = differences(old, config.to_dict())
        if changed:
            raise CheckpointError(
                f"{workdir} holds a run of another config; these fields differ:\n  "
                + "\n  ".join(changed)
                + "\nName another folder with --workdir, or remove that one."
            )
        return
    workdir.mkdir(parents=True, exist_ok=True)
    values = json.loads(to_json(config)) | {"jaxfer_version": jaxfer.__version__}
    write_json(path, values)


def _groups(experiment: Experiment, *, resident: bool) -> list[tuple[str, list[Run]]]:
    """Names and runs of the groups: all at once, or one after the other."""
    protocol, runs = experiment.config.protocol, experiment.runs
    together = protocol.parallel_folds
    carried = protocol.carry_weights_across_folds
    if together == "always" and (carried or not resident):
        raise ConfigError(
            "protocol.parallel_folds is always, but "
            + (
                "protocol.carry_weights_across_folds needs folds one after the other"
                if carried
                else "the images are streamed: set data.resident to always"
            )
        )
    if len(runs) > 1 and together != "never" and resident and not carried:
        return [("all", runs)]
    return [(f"run_{i:03d}", [one]) for i, one in enumerate(runs)]


def _corruption(config: ml_collections.ConfigDict) -> Callable[[Array, Array], Array]:
    """`(images uint8 (B, H, W, C), rows (B,)) -> images`, keyed by row."""
    options, key = config.data.corruption, jax.random.key(config.seed)

    def one(image: Array, row: Array) -> Array:
        return corrupt(
            image[None],
            options.name,
            key=jax.random.fold_in(key, row),
            kernel_size=options.kernel_size,
            variance=options.variance,
        )[0]

    if not options.name:
        return lambda images, rows: images
    return jax.jit(jax.vmap(one))


def _resident_images(
    experiment: Experiment, say: Callable[[str], None]
) -> np.ndarray | None:
    config, dataset = experiment.config, experiment.dataset
    size, count = config.data.image_size, len(dataset.table.label)
    wanted = count * size * size * 3
    room = RESIDENT_SHARE * memory.available_bytes()
    if config.data.resident == "never":
        return None
    if config.data.resident == "auto" and wanted > room:
        say(
            f"streaming: the images would take {wanted / 2**30:.1f} GiB of the"
            f" {room / 2**30:.1f} GiB set aside for them"
        )
        return None
    images = data.read_images(dataset, np.arange(count), size)
    change, batch = _corruption(config), 64
    if config.data.corruption.name:
        for first in range(0, count, batch):
            rows = np.minimum(np.arange(first, first + batch), count - 1)
            images[rows] = np.asarray(change(images[rows], rows.astype(np.int32)))
    return images


def _feed(
    experiment: Experiment, images: np.ndarray | None, mesh: Mesh
) -> Feed:
    table, config = experiment.dataset.table, experiment.config
    if images is not None:
        count = len(table.label)
        arrays = {
            "image": images,
            "label": table.label,
            "target": table.target,
            "index": np.arange(count, dtype=np.int32),
        }
        return Resident(sharding.put(arrays, sharding.replicated(mesh)), mesh)
    change = jax.vmap(_corruption(config))
    return Streamed(
        experiment.dataset,
        mesh,
        size=config.data.image_size,
        workers=config.data.workers,
        change=lambda batch: (
            batch | {"image": change(batch["image"], batch["index"])}
            if config.data.corruption.name
            else batch
        ),
    )


def _train(
    experiment: Experiment,
    name: str,
    runs: list[Run],
    images: np.ndarray | None,
    log: MetricsLog,
    say: Callable[[str], None],
    previous: Progress | None,
) -> Progress:
    config, workdir = experiment.config, experiment.workdir
    mesh = sharding.create_mesh(len(runs), config.batch_size)
    checkpoints = Checkpoints(
        workdir / "checkpoints" / name, keep=config.checkpoint.keep
    )
    together = config.protocol.parallel_folds
    group = Group(
        method=experiment.method,
        runs=runs,
        dataset=experiment.dataset,
        feed=_feed(experiment, images, mesh),
        mesh=mesh,
        image_size=config.data.image_size,
        checkpoints=checkpoints,
        log=log,
        every_seconds=config.checkpoint.every_seconds,
        progress=config.log.progress,
        fits=memory.fits if together == "auto" and len(runs) > 1 else lambda _: True,
        say=say,
    )
    carried = config.protocol.carry_weights_across_folds and previous is not None
    try:
        progress = train_group(group, previous.states.variables if carried else None)
    finally:
        checkpoints.close()
    _finish(group, progress)
    return progress


def _finish(group: Group, progress: Progress) -> None:
    """Write predictions and variables of every run, then mark it finished."""
    stage = Stage("predict", 1, group.method.stages[0].batch_size,
                  group.method.stages[0].train_step, group.method.predict)
    program = programs.build(stage, group.mesh)
    rows = [run.rows.test for run in group.runs]
    order = sequential_order(rows, stage.batch_size)
    selected = {"last": progress.states.variables}
    if group.validated:
        selected["validation"] = progress.tracker.best_variables
    best = np.asarray(progress.tracker.best_epoch)
    for selection, variables in selected.items():
        outputs = group.feed.outputs(program, variables, order)
        host = jax.device_get(variables)
        for r, run in enumerate(group.runs):
            count = len(run.rows.test)
            arrays = {name: value[r, :count] for name, value in outputs.items()}
            labels = group.dataset.table.label[run.rows.test]
            run.folder.mkdir(parents=True, exist_ok=True)
            path = run.folder / f"predictions_{selection}.npz"
            np.savez_compressed(path, index=run.rows.test, label=labels, **arrays)
            save_variables(
                run.folder / f"model_{selection}",
                jax.tree.map(lambda a, r=r: a[r], host),
            )
    for r, run in enumerate(group.runs):
        share = {k: v / len(group.runs) for k, v in progress.seconds.items()}
        facts: dict[str, Any] = {"seconds": share, "seed": run.seed, "fold": run.fold}
        if group.validated:
            facts["best_epoch"] = int(best[r])
        write_json(run.folder / "finished.json", facts)


def _summary(experiment: Experiment) -> str:
    dataset, protocol = experiment.dataset, experiment.config.protocol
    fold = experiment.folds[0]
    kinds = {"given": "given test split", "subject": "folds by subject",
             "stratified": "stratified folds", "file_order": "folds in file order"}
    many = "" if protocol.kind == "given" else f"{protocol.folds} "
    return (
        f"{experiment.method.name} on {dataset.name}: {len(dataset.table.label)}"
        f" images, {len(dataset.class_names)} classes; {many}{kinds[protocol.kind]},"
        f" {protocol.num_seeds} seed(s); first fold {len(fold.train)} train,"
        f" {len(fold.validation)} validation, {len(fold.test)} test;"
        f" {len(jax.devices())} {jax.default_backend()} device(s)"
    )


def _data_facts(
    experiment: Experiment, images: np.ndarray | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Write the split manifest and look for images on both sides of a split."""
    dataset, table = experiment.dataset, experiment.dataset.table
    path = experiment.workdir / "run_data.json"
    if path.exists():
        return json.loads(path.read_text())
    write_manifest(
        experiment.workdir / "split_manifest.csv",
        table,
        experiment.folds,
        dataset.class_names,
    )
    if images is None:
        rows = np.arange(len(table.label))
        images = data.read_images(dataset, rows, 32)
    pairs = []
    for number, fold in enumerate(experiment.folds):
        pairs += [
            {
                "fold": number,
                "train_file": str(table.file[a]),
                "test_file": str(table.file[b]),
                "distance": int(distance),
            }
            for a, b, distance in near_duplicates(images, fold)
        ]
    if pairs:
        say(
            f"warning: {len(pairs)} nearly identical pairs of images stand on both"
            " sides of a train/test boundary; they are listed in the report"
        )
    counts = {
        split: {
            name: int(((table.split == split) & (table.label == k)).sum())
            for k, name in enumerate(dataset.class_names)
        }
        for split in np.unique(table.split).tolist()
    }
    facts = {
        "data": {
            "examples": len(table.label),
            "counts": counts,
            "near_duplicates": pairs,
            "dropped": dict(dataset.dropped),
        }
    }
    write_json(path, facts)
    return facts


def _environment() -> dict[str, Any]:
    packages = ("jaxfer", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain")
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = jaxfer.__version__ if name == "jaxfer" else "absent"
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "backend": jax.default_backend(),
        "argv0": Path(sys.argv[0]).name,
        **versions,
    }
