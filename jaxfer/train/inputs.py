"""The examples of an experiment: read, corrupted if asked, fed."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import Array
from jax.sharding import Mesh

from jaxfer import data
from jaxfer.ops.corruptions import corrupt
from jaxfer.train import memory
from jaxfer.train.feed import (
    Feed,
    Resident,
    Streamed,
    given_arrays,
    place,
    table_arrays,
)
from jaxfer.train.orders import Run

RESIDENT_SHARE = 0.25
"""Images are kept on the device where they take less than this of its memory."""


def corruption(
    config: ml_collections.ConfigDict,
) -> Callable[[Array, Array], Array] | None:
    """What `config.data.corruption` does to images, or None.

    Returns:
      `(images, rows) -> images`, uint8 (B, H, W, 3) and int32 (B,); noise is
      drawn from the seed and the row, so that an image is always the same.
    """
    options = config.data.corruption
    if not options.name:
        return None

    def one(image: Array, row: Array) -> Array:
        return corrupt(
            image[None],
            options.name,
            key=jax.random.fold_in(jax.random.key(config.seed), row),
            kernel_size=options.kernel_size,
            variance=options.variance,
        )[0]

    return jax.jit(jax.vmap(one))


def is_resident(
    config: ml_collections.ConfigDict,
    dataset: data.Dataset,
    say: Callable[[str], None],
) -> bool:
    """Whether all images are kept on the device, by config and free memory."""
    if config.data.resident != "auto":
        return config.data.resident == "always"
    wanted = len(dataset.table) * config.data.image_size**2 * 3
    room = RESIDENT_SHARE * memory.available_bytes()
    if wanted > room:
        say(
            f"streaming: the images would take {wanted / 2**30:.1f} GiB of the"
            f" {room / 2**30:.1f} GiB set aside for them"
        )
    return wanted <= room


def resident_images(
    config: ml_collections.ConfigDict, dataset: data.Dataset
) -> np.ndarray:
    """All images, uint8 (N, S, S, 3), corrupted if the config asks for it."""
    size, count = config.data.image_size, len(dataset.table)
    images = data.read_images(dataset, np.arange(count), size)
    change, batch = corruption(config), 64
    if change is not None:
        for first in range(0, count, batch):
            rows = np.arange(first, first + batch)
            # The last batch repeats its last image: one shape, one compile.
            padded = np.minimum(rows, count - 1).astype(np.int32)
            changed = np.asarray(
                change(jnp.asarray(images[padded]), jnp.asarray(padded))
            )
            images[rows[rows < count]] = changed[: np.sum(rows < count)]
    return images


def create_feed(
    config: ml_collections.ConfigDict,
    dataset: data.Dataset,
    images: np.ndarray | None,
    runs: Sequence[Run],
    mesh: Mesh,
) -> Feed:
    """A resident feed of `images`, or a streamed one where they are None."""
    arrays = table_arrays(dataset)
    if images is not None:
        return Resident(place(runs, arrays | {"image": images}, mesh), mesh)
    change = corruption(config)
    return Streamed(
        dataset,
        mesh,
        size=config.data.image_size,
        workers=config.data.workers,
        change=None if change is None else jax.vmap(change),
        given=given_arrays(runs, arrays),
    )
