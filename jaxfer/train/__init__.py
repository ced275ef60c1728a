"""One trainer for every method; it knows `jaxfer.methods.base` and no more."""

from jaxfer.train.experiment import Experiment, Restored, RestoredRun, restore, run

__all__ = ["Experiment", "Restored", "RestoredRun", "restore", "run"]
