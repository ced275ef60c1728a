"""A process, of several perhaps, that trains; see workers.py.

python toy_worker.py FOLDER HOST:PORT COUNT INDEX NAMES
"""

import sys
from pathlib import Path

import toy

from jaxfer import data as datasets
from jaxfer import methods, train
from jaxfer.train import passes


def trainings():
    """Configs by name: a streamed batch that two share, and a run for each, twice."""
    streamed, resident = toy.config(kind="given"), toy.config(folds=2)
    cfnet = toy.small_cfnet(folds=2)
    for config in (streamed, resident, cfnet):
        config.epochs, config.batch_size = 2, 12
        # A checkpoint after each step, so that there is a moment to be killed at.
        config.checkpoint.every_seconds = 0.0
    return {"streamed": streamed, "resident": resident, "cfnet": cfnet}


def main(folder, coordinator, count, index, names):
    if int(count) > 1:
        train.processes.start(coordinator, int(count), int(index))
    data = toy.dataset()
    datasets.load = lambda *args, **kwargs: data
    methods.create = toy.create
    passes.DISPATCH_SECONDS = 0.0
    for name in names.split(","):
        train.run(trainings()[name], Path(folder) / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
