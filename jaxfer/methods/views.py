"""What a network is shown of images: normalised, and in training one or two views.

The consistency of attention between two views is here too, for every method.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from jax import Array

from jaxfer import losses
from jaxfer.methods import common
from jaxfer.models import Outputs

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(images: Array) -> Array:
    """Subtract ImageNet's mean and divide by its deviation, per channel."""
    mean = jnp.asarray(IMAGENET_MEAN, images.dtype).reshape(1, 1, 1, 3)
    std = jnp.asarray(IMAGENET_STD, images.dtype).reshape(1, 1, 1, 3)
    return (images - mean) / std


def prepare(images: Array, size: int, *, grey: bool = False) -> Array:
    """Images (B, H, W, 3) as `common.scaled` gives them, normalised."""
    return normalize(common.scaled(images, size, grey=grey))


def views(
    key: Array, images: Array, config: ml_collections.ConfigDict, size: int
) -> list[Array]:
    """One view of images or, where a method asks for consistency, two.

    The first is `common.augment`'s. With `method.second_view = "flip"` the second is
    the first in a mirror, erased areas and noise included; with `"independent"` it is
    `common.mirrored`: the same pose in a mirror, without noise, with areas of its own
    erased. Either way places of the two correspond, so that attention can be compared.

    Deviation from the released code: areas are erased before the images are resized.

    Args:
      key: PRNG key.
      images: (B, H, W, 3), uint8 or in [0, 1].
      config: a whole experiment's; of it `augment`, `method.consistency` and
        `method.second_view`.
      size: pixels of the sides of what is returned.

    Returns:
      One or two arrays (B, size, size, 3).
    """
    k_first, k_second = jax.random.split(key)
    return prepared_views(
        (k_first, k_second),
        images,
        config,
        partial(prepare, size=size, grey=config.method.grey),
        fill=IMAGENET_MEAN,
    )


def prepared_views(
    keys: tuple[Array, Array],
    images: Array,
    config: ml_collections.ConfigDict,
    prepare: Callable[[Array], Array],
    *,
    fill: float | tuple[float, ...] = 0.0,
) -> list[Array]:
    """`views`, of images as another network sees them.

    Args:
      keys: PRNG keys of the first view and of the second's erasing.
      images: (B, H, W, 3), uint8 or in [0, 1].
      config: a whole experiment's.
      prepare: images in [0, 1] -> the network's input.
      fill: what random erasing writes; one number, or one a channel.

    Returns:
      One or two of the network's inputs.
    """
    images, options = common.to_float(images), config.method
    seen = [prepare(common.augment(keys[0], images, config.augment, fill=fill))]
    if options.consistency and options.second_view == "flip":
        seen.append(seen[0][:, :, ::-1])
    elif options.consistency:
        seen.append(prepare(common.mirrored(*keys, images, config.augment, fill=fill)))
    return seen


def in_turn(
    apply: Callable[[Any, Array], tuple[Outputs, Any]],
    statistics: Any,
    images: Sequence[Array],
) -> tuple[list[Outputs], Any]:
    """Apply a network to one view after the other, as EAC's released code does.

    Args:
      apply: (running statistics, a view) -> its outputs and the new statistics; those
        move with every view.
      statistics: before the first.
      images: the views.

    Returns:
      Every view's outputs, and the statistics after the last.
    """
    outputs = []
    for view in images:
        out, statistics = apply(statistics, view)
        outputs.append(out)
    return outputs, statistics


def consistent(
    loss: Array,
    outputs: Sequence[Outputs],
    attention: Callable[[Outputs], Array],
    weight: float,
) -> Array:
    """A loss of the first view, plus the disagreement of its attention with another's.

    Args:
      loss: (B,).
      outputs: of `in_turn`; of one view alone where `weight` is 0.
      attention: outputs -> class activation maps (B, h, w, K).
      weight: `method.consistency`.

    Returns:
      (B,), loss + weight * `losses.attention_consistency`.
    """
    if not weight:
        return loss
    first, second = (attention(out) for out in outputs)
    return loss + weight * losses.attention_consistency(first, second)
