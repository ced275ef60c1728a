"""One trainer for every method; it knows `jaxfer.methods.base` and no more."""

from jaxfer.train.experiment import run
from jaxfer.train.restored import (
    Restored,
    RestoredRun,
    Trained,
    load_run,
    restore,
)

__all__ = ["Restored", "RestoredRun", "Trained", "load_run", "restore", "run"]
