"""Reading back what training left."""

from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from jaxfer import data, methods
from jaxfer.data.splits import Fold
from jaxfer.errors import CheckpointError
from jaxfer.methods.base import Method, Variables
from jaxfer.train.checkpoints import load_variables
from jaxfer.train.experiment import open_experiment
from jaxfer.train.log import read_json
from jaxfer.train.results import shapes
from jaxfer.train.workdir import read_config


class Trained(NamedTuple):
    """A method with the variables of one finished run.

    Attributes:
      config: of its experiment.
      class_names: K names, in the order of the logits.
      method: see `jaxfer.methods.base`.
      variables: of one run and selection.
    """

    config: ml_collections.ConfigDict
    class_names: tuple[str, ...]
    method: Method
    variables: Variables


def load_run(workdir: str | Path, *, selection: str = "last", run: int = 0) -> Trained:
    """One finished run, without its data set.

    Args:
      workdir: a working folder that training finished.
      selection: "last", or "validation" for the best epoch on validation data.
      run: which of its folds and seeds, in the order of run.json.

    Raises:
      CheckpointError: not a working folder, unfinished, damaged, or without
        that run or selection.
    """
    workdir = Path(workdir)
    config = read_config(workdir)
    facts = _facts(workdir)
    if not 0 <= run < len(facts["runs"]):
        raise CheckpointError(
            f"{workdir} has runs 0 to {len(facts['runs']) - 1}; asked for {run}"
        )
    method = methods.create(
        config, num_classes=len(facts["class_names"]), steps_per_epoch=1
    )
    folder = workdir / facts["runs"][run]["dir"] / f"model_{selection}"
    variables = load_variables(folder, shapes(config, method))
    return Trained(config, tuple(facts["class_names"]), method, variables)


def _facts(workdir: Path) -> dict[str, Any]:
    """The content of run.json, which the last of the runs leaves."""
    path = workdir / "run.json"
    if not path.exists():
        raise CheckpointError(
            f"{workdir} is not finished: {path.name} is missing. Run its command"
            " again to continue."
        )
    return read_json(path)


class RestoredRun(NamedTuple):
    """A finished run with the variables of one selection.

    Attributes:
      seed: of its training.
      fold: its number within the protocol.
      dir: its folder.
      rows: of its three parts.
      labels: int32 (N,), what it was trained on; wrong ones among those of the
        training part where there was label noise.
      variables: of the selection.
    """

    seed: int
    fold: int
    dir: Path
    rows: Fold
    labels: np.ndarray
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
      DataError: its data set is not prepared here, or its runs' lists of labels do
        not fit it.
    """
    workdir = Path(workdir)
    config = read_config(workdir)
    _facts(workdir)  # an unfinished run has no labels to read
    experiment = open_experiment(config, workdir, finished=True)
    dataset, runs = experiment.dataset, []
    for number, one in enumerate(experiment.runs):
        variables = load_run(workdir, selection=selection, run=number).variables
        labels = dataset.table.label if one.given is None else one.given
        runs.append(
            RestoredRun(one.seed, one.fold, one.folder, one.rows, labels, variables)
        )
    return Restored(config, workdir, dataset, experiment.method, runs)
