"""Robustness: how much accuracy blur and noise cost.

As in CFNet's paper (Applied Soft Computing 141, 2023), images are blurred with
a Gaussian kernel or carry Gaussian noise; on the test images alone, or on
training and test images alike, which trains the whole protocol again. Of runs
with several rates of label noise, those of the lowest are judged.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
from jax import Array

from jaxfer import cpu, data, train
from jaxfer.errors import ConfigError
from jaxfer.evaluate import run_folder
from jaxfer.evaluate.restored import check_same_data, restore
from jaxfer.evaluate.selections import judge, state_of
from jaxfer.evaluate.summary import summarize
from jaxfer.metrics import Classification
from jaxfer.ops.corruptions import CORRUPTIONS, gaussian_kernel
from jaxfer.train.inputs import corruption as config_corruption

BATCH = 64

Predict = Callable[[Any, Array], Array]
"""(variables, uint8 (B, H, W, 3)) -> logits (B, K)."""

Change = Callable[[Array, Array], Array]
"""(uint8 (B, H, W, 3), rows int32 (B,)) -> corrupted uint8 (B, H, W, 3)."""


class Corruption(NamedTuple):
    """A corruption and its parameters; the other corruption's are unused."""

    name: str
    kernel_size: int = 15
    variance: float = 0.01

    @property
    def parameter(self) -> dict[str, Any]:
        """The parameter that counts, by name."""
        name = "kernel_size" if self.name == "gaussian_blur" else "variance"
        return {name: getattr(self, name)}

    @property
    def folder(self) -> str:
        """Name of the folder of a training on such images."""
        return "_".join([self.name, *(f"{v:g}" for v in self.parameter.values())])


def check(corruption: Corruption) -> Corruption:
    """The corruption, if it can be done.

    Raises:
      ConfigError: for an unknown name, an even kernel or a negative variance.
    """
    if corruption.name not in CORRUPTIONS:
        raise ConfigError(
            f"Expected a corruption of {', '.join(CORRUPTIONS)}, found "
            f"{corruption.name!r}."
        )
    try:
        gaussian_kernel(corruption.kernel_size)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not corruption.variance >= 0:
        raise ConfigError(
            f"Expected a variance of at least 0, found {corruption.variance:g}."
        )
    return corruption


def corrupted_config(
    config: ml_collections.ConfigDict, corruption: Corruption
) -> ml_collections.ConfigDict:
    """A copy of a run's config whose images are all corrupted."""
    copy = ml_collections.ConfigDict(config.to_dict())
    copy.data.corruption = corruption._asdict()
    return copy


def judge_corrupted(
    predict: Predict,
    variables: Any,
    change: Change,
    images: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
) -> Classification:
    """The metrics' state of one run on corrupted images.

    Args:
      predict: see `Predict`.
      variables: its first argument.
      change: the corruption, see `Change`.
      images: (n, H, W, 3), uint8.
      rows: (n,), rows of the table, from which noise is drawn.
      labels: (n,), the true classes.

    Returns:
      The state; the last batch is filled up, but only n examples count.
    """
    logits = []
    for first in range(0, len(rows), BATCH):
        taken = np.minimum(np.arange(first, first + BATCH), len(rows) - 1)
        corrupted = change(
            jax.numpy.asarray(images[taken]),
            jax.numpy.asarray(rows[taken].astype(np.int32)),
        )
        logits.append(np.asarray(predict(variables, corrupted)))
    return state_of(np.concatenate(logits)[: len(rows)], labels)


def on_test_images(
    restored: train.Restored,
    corruptions: Sequence[Corruption],
    say: Callable[[Corruption, dict[str, Any]], None] = lambda *_: None,
) -> list[dict[str, Any]]:
    """Metrics over runs of every corruption, put on the test images alone.

    Args:
      restored: a finished run with its variables.
      corruptions: what to do to the images, one after the other.
      say: called with each result as it comes.

    Returns:
      For each corruption what `summary.judge` tells of it.
    """
    dataset, config = restored.dataset, restored.config
    rows = np.unique(np.concatenate([run.rows.test for run in restored.runs]))
    images = data.read_images(dataset, rows, config.data.image_size)
    predict = jax.jit(lambda v, x: restored.method.predict(v, x).logits)
    results = []
    for corruption in corruptions:
        change = config_corruption(corrupted_config(config, corruption))
        assert change is not None
        states = [
            judge_corrupted(
                predict,
                run.variables,
                change,
                images[np.searchsorted(rows, run.rows.test)],
                run.rows.test,
                dataset.table.label[run.rows.test],
            )
            for run in restored.runs
        ]
        results.append(judge(states))
        say(corruption, results[-1])
    return results


def train_corrupted(
    run_dir: Path, config: ml_collections.ConfigDict, corruption: Corruption
) -> dict[str, Any]:
    """Selections of a training whose images are all corrupted.

    It is kept in `RUN/corrupted/<name>_<parameter>/`, continued if it was
    stopped, and not repeated once it has finished.
    """
    workdir = run_dir / "corrupted" / corruption.folder
    config = corrupted_config(config, corruption)
    noise = config.data.label_noise
    if noise.kind:
        noise.rates = (min(noise.rates),)  # the others are not judged
    train.run(
        config,
        workdir,
        command=f"jaxfer evaluate {run_dir} --train-too",
        say=cpu.say,
    )
    return summarize(workdir)["selections"]


def measure(
    run_dir: str | Path,
    corruptions: Sequence[Corruption],
    *,
    selection: str | None = None,
    train_too: bool = False,
    say: Callable[[Corruption, dict[str, Any]], None] = lambda *_: None,
) -> dict[str, Any]:
    """Measures corruptions and adds them to RUN/report/robustness.json.

    Args:
      run_dir: the folder of a finished run.
      corruptions: one, or several for a curve.
      selection: "best_by_validation" or "last"; None takes the former where
        there are validation images.
      train_too: corrupt the training images as well, in a training of its own.
      say: called with each result as it comes.

    Returns:
      All that robustness.json then holds, by corruption, parameter, place and
      selection.

    Raises:
      JaxferError: no finished run, its data set is not here or another, a
        selection that it lacks, a corruption that cannot be done.
    """
    folder = run_folder.load(run_dir)
    corruptions = [check(corruption) for corruption in corruptions]
    selection, restored = restore(folder, selection)
    if restored.config.data.corruption.name:
        raise ConfigError(
            f"{folder.path} was itself trained on corrupted images "
            f"({restored.config.data.corruption.name}); measure robustness on a run "
            "that was trained without."
        )
    path = folder.path / "report" / "robustness.json"
    entries = run_folder.read_json(path) if path.is_file() else {}
    where = "train_and_test" if train_too else "test"

    def keep(corruption: Corruption, result: dict[str, Any]) -> None:
        value = ", ".join(f"{k}={v:g}" for k, v in corruption.parameter.items())
        entries[f"{corruption.name} {value} on {where}, {selection}"] = {
            "corruption": {"name": corruption.name, **corruption.parameter},
            "where": where,
            "selection": selection,
            **result,
        }
        run_folder.write_json(path, entries)  # after each: a long sweep may be stopped
        say(corruption, result)

    if train_too:
        for corruption in corruptions:
            results = train_corrupted(folder.path, restored.config, corruption)
            keep(corruption, results[selection])
    else:
        check_same_data(restored, folder)
        quoted = set(run_folder.by_rate(folder)[0][1].runs)
        runs = [r for r, run in zip(restored.runs, folder.runs) if run in quoted]
        on_test_images(restored._replace(runs=runs), corruptions, keep)
    return entries
