"""Published systems as records of pure functions; see `jaxfer.methods.base`."""

import importlib

import ml_collections

from jaxfer.errors import ConfigError
from jaxfer.methods.base import Batch, Method, Pass, Plateau, Selection, Stage, State

__all__ = [
    "Batch",
    "Method",
    "Pass",
    "Plateau",
    "Selection",
    "Stage",
    "State",
    "create",
]

_METHODS = {
    "cfnet": "jaxfer.methods.cfnet",
    "eac": "jaxfer.methods.eac",
    "epm": "jaxfer.methods.epm",
    "fersnet": "jaxfer.methods.fersnet",
    "lfn": "jaxfer.methods.lfn",
    "lfnsb": "jaxfer.methods.lfnsb",
}


def create(
    config: ml_collections.ConfigDict, *, num_classes: int, steps_per_epoch: int
) -> Method:
    """The method that `config.method.name` names.

    Args:
      config: a whole experiment's config.
      num_classes: K, of the data set.
      steps_per_epoch: optimiser steps in one pass, for the schedules.

    Raises:
      ConfigError: no such method, or options that it does not take.
    """
    name = config.method.name
    if name not in _METHODS:
        raise ConfigError(
            f"unknown method {name!r}: expected one of {', '.join(sorted(_METHODS))}"
        )
    module = importlib.import_module(_METHODS[name])
    return module.create(
        config, num_classes=num_classes, steps_per_epoch=steps_per_epoch
    )
