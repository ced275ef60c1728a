"""The runs of an experiment, and the labels that each is trained on."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import ml_collections
import numpy as np

from jaxfer.data import Dataset, noise
from jaxfer.data.splits import Fold
from jaxfer.train.orders import Run

LABELS = "labels.txt"
"""In a finished run's folder, the labels of its training part, where some are wrong."""


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
      finished: read the labels that each run was trained on from its folder, in
        place of the config's list, which may have changed or be elsewhere.

    Raises:
      DataError: a list of labels cannot be read or is of other images.
    """
    options = config.data.label_noise
    seeds = range(config.seed, config.seed + config.protocol.num_seeds)
    rates = tuple(options.rates) if options.kind in noise.KINDS else (None,)
    for seed, rate in itertools.product(seeds, rates):
        base = workdir / f"seed_{seed:02d}" if len(seeds) > 1 else workdir
        if len(rates) > 1:
            base = base / f"noise_{100 * rate:g}"
        for number, fold in enumerate(folds):
            folder = base / f"fold_{number:02d}"
            if not options.kind:
                yield Run(seed, number, fold, folder)
                continue
            true = dataset.table.label
            given = true.copy()
            given[fold.train] = (
                _recorded(folder, dataset, fold.train)
                if finished
                else _wrong(options, dataset, fold.train, (seed, number), rate)
            )
            found = float(np.mean(given[fold.train] != true[fold.train]))
            share = found if rate is None else rate
            yield Run(seed, number, fold, folder, given, share)


def _wrong(
    options: ml_collections.ConfigDict,
    dataset: Dataset,
    rows: np.ndarray,
    seed: tuple[int, int],
    rate: float | None,
) -> np.ndarray:
    """The labels (n,) that these rows get, wrong ones among them.

    All rates of one seed and fold draw from one generator: a smaller rate's mistakes
    are among a greater one's.
    """
    names = dataset.class_names
    if rate is None:
        return noise.read_label_file(options.file, dataset.table, names)[rows]
    return noise.corrupt_labels(
        dataset.table.label[rows],
        num_classes=len(names),
        kind=options.kind,
        rate=rate,
        rng=np.random.default_rng([*seed, 1]),
    )


def _recorded(folder: Path, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """The labels (n,) that a finished run was trained on at these rows."""
    table = dataset.table
    part = SimpleNamespace(
        file=table.file[rows], label=table.label[rows], split=table.split[rows]
    )
    return noise.read_label_file(folder / LABELS, part, dataset.class_names)
