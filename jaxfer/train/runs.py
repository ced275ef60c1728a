"""The runs of an experiment, and the labels that each is trained on."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import ml_collections
import numpy as np

from jaxfer.data import Dataset, noise
from jaxfer.data.label_files import label_files, read_label_file
from jaxfer.data.splits import Fold
from jaxfer.errors import ConfigError
from jaxfer.train.log import read_json
from jaxfer.train.orders import Run

LABELS = "labels.txt"
"""In a finished run's folder, where some labels are wrong, those that it was given."""


class _Noise(NamedTuple):
    """One rate of label noise.

    Attributes:
      rate: the share of wrong labels.
      labels: rows (n,), seed and fold -> labels (n,), wrong ones among them; None
        where no label is wrong on purpose.
    """

    rate: float = 0.0
    labels: Callable[[np.ndarray, tuple[int, int]], np.ndarray] | None = None


def plan_runs(
    config: ml_collections.ConfigDict,
    workdir: Path,
    dataset: Dataset,
    folds: list[Fold],
    *,
    finished: bool = False,
) -> Iterator[Run]:
    """Folds within rates of label noise within seeds.

    Args:
      config: a whole experiment's config.
      workdir: the runs' folders lie within.
      dataset: with the true labels.
      folds: of the protocol.
      finished: read from the folder which runs there are, and the labels that each
        was trained on, in place of the config's lists, which may have changed or be
        elsewhere.

    Raises:
      ConfigError: the confusion matrix of label noise cannot be read, or two lists
        of labels have the same share of wrong ones.
      DataError: a list of labels cannot be read or is of other images.
    """
    if finished:
        yield from _finished(config, workdir, dataset, folds)
        return
    seeds = range(config.seed, config.seed + config.protocol.num_seeds)
    rates = _rates(config.data.label_noise, dataset, folds)
    for seed, (rate, labels) in itertools.product(seeds, rates):
        base = workdir / f"seed_{seed:02d}" if len(seeds) > 1 else workdir
        if len(rates) > 1:
            base = base / f"noise_{100 * rate:g}"
        for number, fold in enumerate(folds):
            folder, given = base / f"fold_{number:02d}", None
            if labels is not None:
                given = dataset.table.label.copy()
                given[fold.train] = labels(fold.train, (seed, number))
            yield Run(seed, number, fold, folder, given, rate)


def _finished(
    config: ml_collections.ConfigDict,
    workdir: Path,
    dataset: Dataset,
    folds: list[Fold],
) -> Iterator[Run]:
    table = dataset.table
    for facts in read_json(workdir / "run.json")["runs"]:
        fold, folder = folds[facts["fold"]], workdir / facts["dir"]
        given = None
        if config.data.label_noise.kind:
            path = folder / LABELS
            given = table.label.copy()
            given[fold.train] = read_label_file(
                path, table, dataset.class_names, needed=fold.train
            )[fold.train]
        rate = facts.get("noise", 0.0)
        yield Run(facts["seed"], facts["fold"], fold, folder, given, rate)


def _rates(
    options: ml_collections.ConfigDict, dataset: Dataset, folds: list[Fold]
) -> list[_Noise]:
    if not options.kind:
        return [_Noise()]
    if options.kind in noise.KINDS:
        matrix = options.confusion
        classes = len(dataset.class_names)
        confusion = noise.read_confusion(matrix, classes) if matrix else None
        return [_drawn(options.kind, r, dataset, confusion) for r in options.rates]
    trained = np.unique(np.concatenate([fold.train for fold in folds]))
    paths = label_files(options.file)
    found: dict[float, _Noise] = {}
    for path in paths:
        listed = _listed(path, dataset, trained)
        if listed.rate in found:
            raise ConfigError(
                f"data.label_noise.file names several lists with {listed.rate:.4%}"
                f" wrong labels, {path} among them: the runs of one experiment are"
                " told apart by that share. Train them in working folders of their own."
            )
        found[listed.rate] = listed
    return list(found.values())


def _drawn(
    kind: str, rate: float, dataset: Dataset, confusion: np.ndarray | None
) -> _Noise:
    """Wrong labels by chance.

    All rates of one seed and fold draw from one generator: a smaller rate's mistakes
    are among a greater one's.
    """

    def labels(rows: np.ndarray, seed: tuple[int, int]) -> np.ndarray:
        return noise.corrupt_labels(
            dataset.table.label[rows],
            num_classes=len(dataset.class_names),
            kind=kind,
            rate=rate,
            rng=np.random.default_rng([*seed, 1]),
            confusion=confusion,
        )

    return _Noise(rate, labels)


def _listed(path: Path, dataset: Dataset, trained: np.ndarray) -> _Noise:
    """The labels of a list; its rate is that of all rows that any fold trains on."""
    table = dataset.table
    listed = read_label_file(path, table, dataset.class_names, needed=trained)
    share = float(np.mean(listed[trained] != table.label[trained]))
    # Rounded as metrics.csv has it, by which a run finds its rows again.
    return _Noise(float(f"{share:.6g}"), lambda rows, seed: listed[rows])
