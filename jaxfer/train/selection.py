"""Plateau rule and choice of the best epoch, as pure functions of arrays.

Both follow one value per epoch. They are written for one run; the trainer
vmaps them over runs.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.errors import ConfigError
from jaxfer.methods.base import Plateau, Selection, State, Variables


class Tracker(NamedTuple):
    """What one run remembers between the epochs of a stage.

    Attributes:
      best: float32, best value of the selection metric; nan before the first.
      best_epoch: int32, -1 before the first.
      best_variables: the variables of that epoch.
      plateau_best: float32, best value that the plateau rule has seen.
      plateau_wait: int32, epochs since.
    """

    best: Array
    best_epoch: Array
    best_variables: Variables
    plateau_best: Array
    plateau_wait: Array


def start(variables: Variables) -> Tracker:
    """The tracker at the beginning of a stage."""
    nan, zero = jnp.asarray(jnp.nan, jnp.float32), jnp.zeros((), jnp.int32)
    return Tracker(nan, zero - 1, jax.tree.map(jnp.copy, variables), nan, zero)


def _better(value: Array, best: Array, mode: str, margin: float) -> Array:
    gain = value - best if mode == "max" else best - value
    return jnp.isnan(best) & ~jnp.isnan(value) | (gain > margin)


def select(
    tracker: Tracker, variables: Variables, value: Array, epoch: Array, rule: Selection
) -> Tracker:
    """Keep these variables if `value` beats all earlier epochs; ties keep the old."""
    value = jnp.where(epoch < rule.first_epoch, jnp.nan, value)
    improved = _better(value, tracker.best, rule.mode, 0.0)
    return tracker._replace(
        best=jnp.where(improved, value, tracker.best),
        best_epoch=jnp.where(improved, epoch, tracker.best_epoch),
        best_variables=jax.tree.map(
            lambda new, old: jnp.where(improved, new, old),
            variables,
            tracker.best_variables,
        ),
    )


def step_plateau(
    tracker: Tracker, state: State, value: Array, rule: Plateau
) -> tuple[Tracker, State]:
    """One epoch of Keras' ReduceLROnPlateau (without cool-down) on `lr_scale`."""
    improved = _better(value, tracker.plateau_best, rule.mode, rule.min_delta)
    wait = jnp.where(improved, 0, tracker.plateau_wait + 1)
    reduce = wait >= rule.patience
    scale = jnp.maximum(state.lr_scale * rule.factor, rule.min_scale)
    tracker = tracker._replace(
        plateau_best=jnp.where(improved, value, tracker.plateau_best),
        plateau_wait=jnp.where(reduce, 0, wait),
    )
    return tracker, state._replace(lr_scale=jnp.where(reduce, scale, state.lr_scale))


def metric_value(metrics: dict[str, Any], name: str) -> Array:
    """The value that a rule follows, from an evaluation's computed metrics.

    Raises:
      ConfigError: no such metric; names those there are.
    """
    if name not in metrics:
        raise ConfigError(
            f"plateau.metric is {name!r}, which this stage does not"
            f" compute; it has {', '.join(sorted(metrics))}. Where there"
            " are no validation images, the rule follows training's own figures: choose"
            " one of them, or hold images out by protocol.validation"
        )
    return metrics[name]
