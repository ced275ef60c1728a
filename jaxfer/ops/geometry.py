"""Strides, padding and windows of convolutions and poolings."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]
Padding = str | int | Sequence[Sequence[int]]


class Geometry(NamedTuple):
    """How a kernel visits an image; hashable, so usable as a static argument."""

    strides: Pair
    pads: Pads
    dilation: Pair
    groups: int


def pair(value: int | Sequence[int]) -> Pair:
    """The same number for both axes, or a number for each."""
    if isinstance(value, int):
        return value, value
    first, second = value
    return int(first), int(second)


def extent(window: Sequence[int], dilation: Sequence[int]) -> Pair:
    """Height and width that a dilated window covers."""
    return (window[0] - 1) * dilation[0] + 1, (window[1] - 1) * dilation[1] + 1


def explicit_padding(
    padding: Padding, size: Sequence[int], window: Sequence[int], strides: Sequence[int]
) -> Pads:
    """Rows and columns to add, ((top, bottom), (left, right)).

    Args:
      padding: "SAME" (as TensorFlow), "VALID", one number for all sides, or pairs.
      size: height and width of the input.
      window: height and width of the (dilated) window.
      strides: vertical and horizontal stride.

    Raises:
      ValueError: the name of the padding is unknown.
    """
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(
                'padding must be "SAME", "VALID", a number or two pairs,'
                f" found {padding!r}"
            )
        padding = lax.padtype_to_pads(size, window, strides, padding)
    vertical, horizontal = padding
    return pair(vertical), pair(horizontal)


def spatial_pad(x: jax.Array, pads: Pads, value: float = 0.0) -> jax.Array:
    """Pad height and width of (B, H, W, C); negative numbers crop."""
    config = ((0, 0, 0), (*pads[0], 0), (*pads[1], 0), (0, 0, 0))
    return lax.pad(x, jnp.asarray(value, x.dtype), config)


def spatial_slice(
    x: jax.Array, start: Sequence[int], count: Sequence[int], strides: Sequence[int]
) -> jax.Array:
    """Cut `count` rows and columns out of (B, H, W, C), `strides` apart."""
    limit = [i + (n - 1) * s + 1 for i, n, s in zip(start, count, strides, strict=True)]
    return lax.slice(
        x,
        (0, start[0], start[1], 0),
        (x.shape[0], limit[0], limit[1], x.shape[3]),
        (1, strides[0], strides[1], 1),
    )
