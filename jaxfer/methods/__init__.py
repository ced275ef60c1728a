"""Published systems as records of pure functions; see `jaxfer.methods.base`."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections
from jax import Array

from jaxfer import config as configs
from jaxfer.config import base_config
from jaxfer.errors import ConfigError
from jaxfer.methods.base import (
    Batch,
    Method,
    Pass,
    Plateau,
    Selection,
    Stage,
    State,
    Variables,
)

__all__ = [
    "Batch",
    "Method",
    "Pass",
    "Plateau",
    "Selection",
    "Stage",
    "State",
    "completed",
    "create",
    "create_synthesis",
    "draws_faces",
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
      config: an experiment's config; what it lacks is as it is by default.
      num_classes: K, of the data set.
      steps_per_epoch: optimiser steps in one pass, for the schedules.

    Raises:
      ConfigError: no such method, options that it does not take.
    """
    name = config.method.name
    if name not in _METHODS:
        raise ConfigError(
            f"unknown method {name!r}: expected one of {', '.join(sorted(_METHODS))}"
        )
    module = importlib.import_module(_METHODS[name])
    return module.create(
        completed(config), num_classes=num_classes, steps_per_epoch=steps_per_epoch
    )


def completed(config: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """A config with the fields that it lacks, by default; see `jaxfer.config`."""
    module = _METHODS.get(config["method"]["name"])
    like = importlib.import_module(module).default_config() if module else base_config()
    return configs.completed(config, like)


def draws_faces(config: Mapping[str, Any]) -> bool:
    """Whether a model of that config draws faces: whether it has a synthesis."""
    options = config["method"]
    module = _METHODS.get(options["name"])
    if module is None or not options.get("multi_task", True):
        return False
    return hasattr(importlib.import_module(module), "create_synthesis")


def create_synthesis(
    config: ml_collections.ConfigDict, *, num_classes: int
) -> Callable[[Variables, Array, Array], Array]:
    """The part of a method that draws faces with other expressions.

    Args:
      config: a whole experiment's config.
      num_classes: K, of the data set.

    Returns:
      A function of the method's variables, images (B, H, W, 3) as `Method.predict`
      takes them, and expressions (B, K), one-hot or between them. It gives
      (B, S, S, 3) in [0, 1], RGB.

    Raises:
      ConfigError: the method draws no faces.
    """
    if not draws_faces(config):
        raise ConfigError(
            f"the run of method {config.method.name} draws no faces: expected one of"
            " fersnet, trained with method.multi_task=True"
        )
    module = importlib.import_module(_METHODS[config.method.name])
    return module.create_synthesis(config, num_classes)
