"""Whether a mask marks what a model needs: deletion and insertion.

The image's pixels are ranked by the mask, enlarged bilinearly to the image. Deletion
takes them away, the most attended first, and leaves the image's mean colour in their
place; insertion starts from that colour and puts them back in the same order. At
every step the model gives the probability of the class that it predicted for
the whole image. The area under the curve, over the share of pixels from 0 to 1, is
the score: a mask that marks what counts has a low deletion and a high insertion score.

Petsiuk et al., RISE: Randomized Input Sampling for Explanation of Black-box Models,
BMVC 2018, https://arxiv.org/abs/1806.07421. There insertion starts from a blurred
image, in which a face keeps much of its expression; here both use the mean colour.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxfer.models.outputs import Outputs

Predict = Callable[[Any, Array], Outputs]
Step = Callable[..., Array]

SHARES = tuple(i / 10 for i in range(11))
"""Shares of the pixels at which the model is asked."""


class Curves(NamedTuple):
    """Probabilities (B, T) of the predicted class at T shares of the pixels."""

    deletion: np.ndarray
    insertion: np.ndarray


def ranks(mask: Array, height: int, width: int) -> Array:
    """Each pixel's place when they are sorted by falling attention.

    Args:
      mask: (B, h, w).
      height: H, of the image.
      width: W.

    Returns:
      int32 (B, H, W), 0 to H W - 1, the most attended first; equally attended pixels
      in reading order.
    """
    shape = (mask.shape[0], height, width)
    large = jax.image.resize(mask.astype(jnp.float32), shape, "bilinear")
    order = jnp.argsort(-large.reshape(shape[0], -1), axis=1, stable=True)
    return jnp.argsort(order, axis=1).astype(jnp.int32).reshape(shape)


def without(images: Array, rank: Array, share: Array, insert: Array) -> Array:
    """Images of which a share of the pixels, by rank, is taken away or alone shown.

    Args:
      images: uint8 (B, H, W, C).
      rank: int32 (B, H, W), see `ranks`.
      share: 0 to 1, of the pixels.
      insert: bool; whether that share is all that is shown.

    Returns:
      uint8 (B, H, W, C); pixels taken away have the image's mean colour.
    """
    size = rank.shape[1] * rank.shape[2]
    first = rank.astype(jnp.float32) < jnp.round(share * size)
    mean = jnp.mean(images.astype(jnp.float32), axis=(1, 2), keepdims=True)
    shown = jnp.where(insert, first, ~first)[..., None]
    return jnp.where(shown, images, jnp.round(mean).astype(images.dtype))


def create_step(predict: Predict) -> Step:
    """One compiled program for every share, mask and way.

    Returns:
      A function of (variables, images, rank, share, insert, classes int32 (B,)): the
      probabilities (B,) of those classes.
    """

    @jax.jit
    def step(
        variables: Any,
        images: Array,
        rank: Array,
        share: Array,
        insert: Array,
        classes: Array,
    ) -> Array:
        seen = without(images, rank, share, insert)
        p = jax.nn.softmax(predict(variables, seen).logits.astype(jnp.float32))
        return jnp.take_along_axis(p, classes[:, None], axis=1)[:, 0]

    return step


_ranks = jax.jit(ranks, static_argnums=(1, 2))


def curves(
    step: Step,
    variables: Any,
    images: np.ndarray,
    mask: np.ndarray,
    classes: np.ndarray,
) -> Curves:
    """Both curves of every image.

    Args:
      step: see `create_step`.
      variables: the model's.
      images: uint8 (B, H, W, 3).
      mask: (B, h, w), what is attended to.
      classes: int (B,), the predicted ones.
    """
    rank = _ranks(jnp.asarray(mask), *images.shape[1:3])
    told = jnp.asarray(classes, jnp.int32)
    pixels = jnp.asarray(images)

    def ask(insert: bool) -> np.ndarray:
        found = [
            step(variables, pixels, rank, np.float32(share), np.bool_(insert), told)
            for share in SHARES
        ]
        return np.stack([np.asarray(p) for p in found], axis=1)

    return Curves(ask(False), ask(True))


def area(curve: np.ndarray) -> np.ndarray:
    """The area under (B, T) curves over `SHARES`, by trapezoids: (B,)."""
    return np.trapezoid(curve, np.asarray(SHARES), axis=1)


def shuffled(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same values of each (B, h, w) mask at random places of it."""
    flat = mask.reshape(len(mask), -1)
    return rng.permuted(flat, axis=1).reshape(mask.shape)
