"""Where a model looked: its masks, its class activation maps, or Grad-CAM."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxfer import ops
from jaxfer.models import Outputs
from jaxfer.models.feature_maps import Predict, last_map, tap

MASKS = ("mask", "refined_mask")
"""Names of maps (B, h, w, 1) that say what the model attends to."""

ATTENTION = "attention"
"""The name of class activation maps (B, h, w, K)."""

PATTERN = "pattern"
"""The name of the picture (B, S, S, 1) of an expression."""


class Looks(NamedTuple):
    """What a model gave for B images.

    Attributes:
      probabilities: (B, K).
      masks: by name, (B, h, w), those of `MASKS` that the model has.
      class_maps: (B, M, h, w), for M classes of each image.
      pictures: by name, (B, H, W, C).
    """

    probabilities: np.ndarray
    masks: dict[str, np.ndarray]
    class_maps: np.ndarray
    pictures: dict[str, np.ndarray]


def class_maps(outputs: Outputs) -> Array | None:
    """A model's class activation maps, where these say as much as they could.

    Those coarser than the last feature map do not: gradients at that map say more.
    """
    maps, features = outputs.maps.get(ATTENTION), outputs.features.get("map")
    if maps is None or features is None or maps.shape[1] >= features.shape[1]:
        return maps
    return None


def gradient_maps(
    predict: Predict, variables: Any, images: Array
) -> Callable[[Any, Array, Array], Array]:
    """Grad-CAM of a method, at the last feature map of its network.

    See `jaxfer.models.feature_maps.last_map`; for CFNet it is the global branch's, as
    the local one's places are no places of the image. Multiplied by the number of
    places, so that it equals the class activation map where that is positive, for a
    classifier that has one.

    Args:
      predict: (variables, images) -> Outputs.
      variables: its first argument.
      images: its second, an example batch.

    Returns:
      A compiled function of (variables, images, classes int32 (B,)): the places
      (B, h, w) that raise the logit of the class.

    Raises:
      ConfigError: the model has no such map.
    """
    tapped = tap(predict, last_map(predict, variables, images))

    def maps(variables: Any, images: Array, classes: Array) -> Array:
        like = jax.eval_shape(tapped, variables, images)[1]

        def score(offset: Array) -> tuple[Array, Array]:
            outputs, features = tapped(variables, images, offset)
            chosen = jnp.take_along_axis(outputs.logits, classes[:, None], axis=1)
            return jnp.sum(chosen), features

        zeros = jnp.zeros(like.shape, like.dtype)
        gradients, features = jax.grad(score, has_aux=True)(zeros)
        places = features.shape[1] * features.shape[2]
        return places * ops.grad_cam(features, gradients)

    return jax.jit(maps)


def create_look(
    predict: Predict, variables: Any, image_size: int, batch_size: int
) -> tuple[str, Callable[[np.ndarray, list[int]], Looks]]:
    """A function that explains images.

    Args:
      predict: (variables, uint8 images (B, H, W, 3)) -> Outputs.
      variables: its first argument.
      image_size: S.
      batch_size: of the compiled programs; fewer images are filled up.

    Returns:
      How its class maps are made, in words, and the function: images uint8
      (n, S, S, 3), n at most the batch size, and M - 1 classes -> `Looks`, whose class
      maps are of the predicted class, then of those.
    """
    look = jax.jit(predict)
    example = jnp.zeros((batch_size, image_size, image_size, 3), jnp.uint8)
    linear = class_maps(jax.eval_shape(predict, variables, example)) is not None
    gradients: Callable[[Any, Array, Array], Array] | None = None

    def explain(images: np.ndarray, classes: list[int]) -> Looks:
        nonlocal gradients
        number = len(images)
        padding = ((0, batch_size - number), (0, 0), (0, 0), (0, 0))
        batch = jnp.asarray(np.pad(images, padding, mode="edge"))
        outputs = look(variables, batch)
        predicted = np.asarray(outputs.logits).argmax(axis=1)
        wanted = [predicted, *(np.full(batch_size, k) for k in classes)]
        if linear:
            every = np.asarray(outputs.maps[ATTENTION])
            found = [every[np.arange(batch_size), :, :, k] for k in wanted]
        else:
            if gradients is None:  # with real images: zeros may have no gradient
                gradients = gradient_maps(predict, variables, batch[:1])
            found = [
                np.asarray(gradients(variables, batch, jnp.asarray(k, jnp.int32)))
                for k in wanted
            ]
        return Looks(
            np.asarray(jax.nn.softmax(outputs.logits))[:number],
            {
                name: np.asarray(outputs.maps[name], np.float32)[:number, ..., 0]
                for name in MASKS
                if name in outputs.maps
            },
            np.stack(found, axis=1).astype(np.float32)[:number],
            {
                name: np.asarray(picture, np.float32)[:number]
                for name, picture in outputs.images.items()
            },
        )

    return "Class activation map" if linear else "Grad-CAM", explain
