"""What a network is shown of images: normalised, and in training one or two views."""

import jax
import jax.numpy as jnp
import ml_collections
from jax import Array

from jaxfer import ops
from jaxfer.methods import common

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(images: Array) -> Array:
    """Subtract ImageNet's mean and divide by its deviation, per channel."""
    mean = jnp.asarray(IMAGENET_MEAN, images.dtype).reshape(1, 1, 1, 3)
    std = jnp.asarray(IMAGENET_STD, images.dtype).reshape(1, 1, 1, 3)
    return (images - mean) / std


def prepare(images: Array, size: int) -> Array:
    """Images (B, H, W, 3), uint8 or in [0, 1], resized to `size` and normalised."""
    return normalize(ops.resize(common.to_float(images), size))


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
    images, options = common.to_float(images), config.method
    k_first, k_second = jax.random.split(key)
    first = common.augment(k_first, images, config.augment, fill=IMAGENET_MEAN)
    seen = [prepare(first, size)]
    if options.consistency and options.second_view == "flip":
        seen.append(seen[0][:, :, ::-1])
    elif options.consistency:
        second = common.mirrored(
            k_first, k_second, images, config.augment, fill=IMAGENET_MEAN
        )
        seen.append(prepare(second, size))
    return seen
