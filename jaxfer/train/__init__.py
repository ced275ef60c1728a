"""One trainer for every method; it knows `jaxfer.methods.base` and no more."""

from jaxfer.train.experiment import Restored, RestoredRun, restore, run
from jaxfer.train.results import Trained, load_run

__all__ = ["Restored", "RestoredRun", "Trained", "load_run", "restore", "run"]
