"""What a run's models tell of images beside their decision."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxfer import data, methods, ops, train
from jaxfer.errors import ConfigError, DataError
from jaxfer.evaluate.attention import ATTENTION, MASKS, PATTERN, class_maps
from jaxfer.evaluate.run_folder import RunFolder
from jaxfer.models.outputs import Outputs
from jaxfer.train.inputs import corruption
from jaxfer.train.results import shapes
from jaxfer.train.workdir import read_config

BATCH = 32
EMBEDDING = "embedding"

Told = dict[str, np.ndarray]
"""Arrays of n images: `images` uint8 (n, H, W, 3); `gray` (n, H, W), in [0, 1];
`logits` (n, K); where the model has them `pattern` (n, S, S), `embedding` (n, D), and
the masks and class activation maps by name, (n, h, w), the latter of the predicted
class."""


def select(outputs: Outputs) -> dict[str, Array]:
    """What of a model's outputs explains them; see `Told`."""
    found = {name: outputs.maps[name][..., 0] for name in MASKS if name in outputs.maps}
    maps = class_maps(outputs)
    if maps is not None:
        best = jnp.argmax(outputs.logits, axis=-1)[:, None, None, None]
        chosen = jnp.take_along_axis(maps, best, axis=-1)
        found[ATTENTION] = chosen[..., 0]
    if PATTERN in outputs.images:
        found[PATTERN] = outputs.images[PATTERN][..., 0]
    if EMBEDDING in outputs.features:
        found[EMBEDDING] = outputs.features[EMBEDDING]
    return found


def names(folder: RunFolder) -> set[str]:
    """What the run's models tell, found without reading or computing them.

    Raises:
      ConfigError: config.json lacks what the method reads today.
    """
    config = read_config(folder.path)
    try:
        method = methods.create(
            config, num_classes=len(folder.class_names), steps_per_epoch=1
        )
    except (AttributeError, KeyError) as error:
        raise ConfigError(
            f"{folder.path} was trained by another version of jaxfer"
            f" ({folder.config.get('jaxfer_version')}), without the field {error}:"
            " train again, or ask it with that version."
        ) from error
    size = config.data.image_size
    images = jax.ShapeDtypeStruct((1, size, size, 3), np.uint8)

    def look(variables: Any, images: Array) -> dict[str, Array]:
        return select(method.predict(variables, images))

    return set(jax.eval_shape(look, shapes(config, method), images))


def create_ask(
    restored: train.Restored,
) -> Callable[[train.RestoredRun, np.ndarray], Told]:
    """A function that asks one of a run's models about rows of its data set.

    Images are corrupted as in training, where the run's config says so.

    Raises:
      DataError: (by that function) the model's logits are not finite.
    """
    change = corruption(restored.config)

    @jax.jit
    def look(variables: Any, images: Array, rows: Array) -> dict[str, Array]:
        images = images if change is None else change(images, rows)
        outputs = restored.method.predict(variables, images)
        found = {"logits": outputs.logits, **select(outputs)}
        found["gray"] = ops.grayscale(images.astype(jnp.float32) / 255)[..., 0]
        wide = {name: array.astype(jnp.float32) for name, array in found.items()}
        return {**wide, "images": images}

    def ask(run: train.RestoredRun, rows: np.ndarray) -> Told:
        size = restored.config.data.image_size
        pixels = data.read_images(restored.dataset, rows, size)
        parts = []
        for first in range(0, len(rows), BATCH):
            at = np.minimum(np.arange(first, first + BATCH), len(rows) - 1)
            index = jnp.asarray(rows[at].astype(np.int32))
            parts.append(jax.device_get(look(run.variables, pixels[at], index)))
        told = {
            name: np.concatenate([part[name] for part in parts])[: len(rows)]
            for name in parts[0]
        }
        if not np.isfinite(told["logits"]).all():
            raise DataError(
                f"The model in {run.dir} gives numbers that are not finite: its "
                "training diverged, and there is nothing to explain."
            )
        return told

    return ask
