"""Faces drawn by a trained model, in batches of one size."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import Array

from jaxfer import methods
from jaxfer.errors import DataError

BATCH = 16

Draw = Callable[[Any, np.ndarray, np.ndarray], np.ndarray]
"""(variables, uint8 images (n, H, W, 3), expressions (n, K)) -> uint8 (n, S, S, 3)."""


def create_draw(config: ml_collections.ConfigDict, num_classes: int) -> Draw:
    """A function that draws each image with an expression.

    Args:
      config: a whole experiment's config.
      num_classes: K.

    Raises:
      ConfigError: its method draws no faces.
      DataError: (by that function) a picture is not finite.
    """
    synthesise = methods.create_synthesis(config, num_classes=num_classes)

    @jax.jit
    def step(variables: Any, images: Array, target: Array) -> Array:
        return synthesise(variables, images, target)

    def draw(variables: Any, images: np.ndarray, target: np.ndarray) -> np.ndarray:
        count = len(images)
        size = min(BATCH, count)
        parts = []
        for first in range(0, count, size):
            at = np.minimum(np.arange(first, first + size), count - 1)
            wanted = jnp.asarray(target[at], jnp.float32)
            parts.append(np.asarray(step(variables, images[at], wanted)))
        drawn = np.concatenate(parts)[:count]
        if not np.isfinite(drawn).all():
            raise DataError(
                "the model draws pictures that are not finite: its training diverged;"
                " train again with a lower learning rate, or choose another selection"
            )
        return np.round(255 * drawn).astype(np.uint8)

    return draw


def middle(images: np.ndarray, size: int) -> np.ndarray:
    """The part (n, S, S, 3) of images that is drawn; see `create_draw`."""
    first = (images.shape[1] - size) // 2
    return images[:, first : first + size, first : first + size]


def one_hot(classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Classes (n,) as float32 (n, K)."""
    return np.eye(num_classes, dtype=np.float32)[classes]


def between(start: int, stop: int, steps: int, num_classes: int) -> np.ndarray:
    """Expressions on the straight line from one class to another.

    (1 - t) e_start + t e_stop, for t from 0 to 1 in equal steps. In FERSNet's
    decoder the label sets the scale and shift of normalised features, which depend
    on it linearly: those move on a straight line too, and mixtures, which training
    never shows, need nothing beyond what it has learned.

    Args:
      start: the first class.
      stop: the last one.
      steps: how many, both ends included.
      num_classes: K.

    Returns:
      (steps, K), rows of sum 1.
    """
    share = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
    first, last = one_hot(np.array([start, stop]), num_classes)
    return (1 - share) * first + share * last
