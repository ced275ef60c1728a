"""A process, of several perhaps, that trains the toy method; see workers.py.

python toy_worker.py FOLDER HOST:PORT COUNT INDEX
"""

import sys
from pathlib import Path

import toy

from jaxfer import data as datasets
from jaxfer import methods, train
from jaxfer.train import passes


def trainings():
    """Configs by name: a streamed batch that two share, and a run for each."""
    streamed, resident = toy.config(kind="given"), toy.config(folds=2)
    streamed.data.resident, resident.data.resident = "never", "always"
    for config in (streamed, resident):
        config.epochs, config.batch_size = 2, 12
        # A checkpoint after each step, so that there is a moment to be killed at.
        config.checkpoint.every_seconds = 0.0
    return {"streamed": streamed, "resident": resident}


def main(folder, coordinator, count, index):
    if int(count) > 1:
        train.processes.start(coordinator, int(count), int(index))
    data = toy.dataset()
    datasets.load = lambda *args, **kwargs: data
    methods.create = toy.method
    passes.DISPATCH_SECONDS = 0.0
    for name, config in trainings().items():
        train.run(config, Path(folder) / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
