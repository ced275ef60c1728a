"""What training leaves in a working folder."""

import datetime
import hashlib
import operator
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

import jaxfer
from jaxfer import data
from jaxfer.data.label_files import write_label_file
from jaxfer.data.manifest import near_duplicates, write_manifest
from jaxfer.data.splits import Fold
from jaxfer.errors import CheckpointError
from jaxfer.methods.base import Method, Variables
from jaxfer.train import memory, passes, processes, sharding
from jaxfer.train import program as programs
from jaxfer.train.checkpoints import save_variables
from jaxfer.train.group import Group, Progress
from jaxfer.train.log import read_json, write_json
from jaxfer.train.orders import Run, sequential_order
from jaxfer.train.runs import LABELS

FINISHED = "finished.json"
"""Written last into a run's folder; a run with it is not trained again."""


def finish(group: Group, progress: Progress) -> None:
    """Write predictions and variables of every run, then mark it finished.

    For each selection (`last`, and `validation` where there is validation
    data): `predictions_<selection>.npz` of the test part,
    `wrong_labels_<selection>.npz` of the training images whose label was changed,
    and the variables under `model_<selection>/`.
    """
    first = group.method.stages[0]
    whole = first._replace(predict=group.method.predict, features=None)
    program = programs.build(whole, group.mesh)
    parts = {
        "predictions": [run.rows.test for run in group.runs],
        "wrong_labels": [_wrong_rows(group, run) for run in group.runs],
    }
    parts = {name: rows for name, rows in parts.items() if any(map(len, rows))}
    orders = {
        name: sequential_order(rows, first.batch_size) for name, rows in parts.items()
    }
    selected = {"last": progress.states.variables}
    if group.validated:
        selected["validation"] = progress.tracker.best_variables
    for selection, variables in selected.items():
        outputs = {
            name: passes.outputs(program, group.feed, variables, order)
            for name, order in orders.items()
        }
        host = sharding.fetch(variables)
        for r, run in enumerate(group.runs):
            if processes.is_first():
                for name, rows in parts.items():
                    mine = {k: a[r, : len(rows[r])] for k, a in outputs[name].items()}
                    path = run.folder / f"{name}_{selection}.npz"
                    _write_predictions(path, group, run, rows[r], mine)
            mine = jax.tree.map(operator.itemgetter(r), host)
            save_variables(run.folder / f"model_{selection}", mine)
    best = sharding.fetch(progress.tracker.best_epoch)
    processes.on_first(lambda: _mark_finished(group, progress.seconds, best))


def _wrong_rows(group: Group, run: Run) -> np.ndarray:
    """Training rows whose label was changed for this run."""
    if run.given is None:
        return np.zeros(0, np.int32)
    train = run.rows.train
    return train[run.given[train] != group.dataset.table.label[train]]


def _write_predictions(
    path: Path,
    group: Group,
    run: Run,
    rows: np.ndarray,
    outputs: dict[str, np.ndarray],
) -> None:
    """Outputs of rows with their true labels and, where others were given, those."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"index": rows, "label": group.dataset.table.label[rows], **outputs}
    if run.given is not None:
        arrays["given"] = run.given[rows]
    np.savez_compressed(path, **arrays)


def _mark_finished(
    group: Group, seconds: dict[str, float], best_epoch: np.ndarray
) -> None:
    share = {k: v / len(group.runs) for k, v in seconds.items()}
    for r, run in enumerate(group.runs):
        facts = {"seed": run.seed, "fold": run.fold, "seconds": share}
        if run.given is not None:
            facts["noise"] = run.noise
            table = group.dataset.table
            # Whole parts, as `read_label_file` wants them: validation rows too.
            parts = np.unique(table.split[run.rows.train])
            whole = np.flatnonzero(np.isin(table.split, parts))
            write_label_file(run.folder / LABELS, table, run.given, whole)
        if group.validated:
            facts["best_epoch"] = int(best_epoch[r])
        write_json(run.folder / FINISHED, facts)


def is_finished(run: Run) -> bool:
    """Whether a run's results are all there.

    Raises:
      CheckpointError: they are said to be, but by a damaged file.
    """
    path = run.folder / FINISHED
    if not path.exists():
        return False
    read_json(path)  # before hours of training the others, not after
    return (run.folder / "predictions_last.npz").exists()


def data_facts(
    workdir: Path,
    dataset: data.Dataset,
    folds: list[Fold],
) -> dict[str, Any]:
    """Write the split manifest; count examples and find near-duplicates.

    A near-duplicate is a test image with its nearest copy in the training or
    validation part. What was found before is read, not searched again.

    Raises:
      CheckpointError: the folder belongs to other images, labels or folds, or its
        data.json is damaged.
    """
    path, table = workdir / "data.json", dataset.table
    found = fingerprint(dataset, folds)
    if path.exists():
        facts = read_json(path)
        if facts["fingerprint"] != found:
            raise CheckpointError(
                f"{workdir} holds a run on other data: the files, labels or folds of"
                f" {dataset.name} have changed since. Name another folder with"
                " --workdir, or prepare the data as it was."
            )
        return facts
    write_manifest(workdir / "split_manifest.csv", table, folds, dataset.class_names)
    images = data.read_images(dataset, np.arange(len(table)), 32)
    facts = {
        "fingerprint": found,
        "examples": len(table),
        "counts": {
            split: dict(
                zip(
                    dataset.class_names,
                    np.bincount(
                        table.label[table.split == split],
                        minlength=len(dataset.class_names),
                    ).tolist(),
                    strict=True,
                )
            )
            for split in np.unique(table.split).tolist()
        },
        "near_duplicates": [
            {
                "fold": number,
                "train_file": str(table.file[a]),
                "test_file": str(table.file[b]),
                "distance": int(distance),
            }
            for number, fold in enumerate(folds)
            for a, b, distance in near_duplicates(images, fold, sha256=table.sha256)
        ],
        "dropped": dict(dataset.dropped),
        "skipped": len(dataset.skips),
    }
    write_json(path, facts)
    return facts


def fingerprint(dataset: data.Dataset, folds: list[Fold]) -> str:
    """A hash of every file, label and part: what a run's result depends on."""
    table, digest = dataset.table, hashlib.sha256()
    for column in (table.file, table.sha256):
        digest.update("\n".join(column.tolist()).encode())
    for array in (table.label, *(rows for fold in folds for rows in fold)):
        digest.update(np.ascontiguousarray(array, np.int32).tobytes())
    return digest.hexdigest()


def write_run(
    config: ml_collections.ConfigDict,
    workdir: Path,
    dataset: data.Dataset,
    method: Method,
    runs: list[Run],
    facts: dict[str, Any],
    command: str,
) -> None:
    """Write run.json, all that a report says beside figures."""
    seconds: dict[str, float] = {}
    for run in runs:
        finished = read_json(run.folder / FINISHED)
        for stage, value in finished["seconds"].items():
            seconds[stage] = seconds.get(stage, 0.0) + value
    params = jax.tree.leaves(shapes(config, method)["params"])
    write_json(
        workdir / "run.json",
        {
            "dataset": dataset.name,
            "class_names": list(dataset.class_names),
            "method": method.name,
            "stages": [stage.name for stage in method.stages],
            "runs": [
                {
                    "seed": run.seed,
                    "fold": run.fold,
                    "noise": run.noise,
                    "dir": run.folder.relative_to(workdir).as_posix(),
                }
                for run in runs
            ],
            "protocol": config.protocol.to_dict(),
            "environment": _environment(),
            "command": command,
            "seconds": seconds | {"total": sum(seconds.values())},
            "finished": datetime.datetime.now(datetime.UTC).isoformat(
                timespec="seconds"
            ),
            "peak_memory_bytes": memory.peak_bytes(),
            "parameters": sum(int(np.prod(a.shape)) for a in params),
            "data": facts,
        },
    )


def shapes(config: ml_collections.ConfigDict, method: Method) -> Variables:
    """Shapes of a method's variables, found without computing them."""
    size = config.data.image_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), np.uint8)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(method.init, key, images).variables


def _environment() -> dict[str, Any]:
    versions = {}
    for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    devices = jax.devices()
    return {
        "jaxfer": jaxfer.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "processes": jax.process_count(),
        **versions,
    }
