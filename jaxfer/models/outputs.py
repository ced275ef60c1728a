"""The record that every model returns."""

from typing import NamedTuple

from jax import Array


class Outputs(NamedTuple):
    """What a model says of a batch of B images, K classes. A pytree.

    Attributes:
      logits: (B, K), the decision, before softmax.
      heads: further logits by name, each (B, K).
      features: named activations or per-image scalars, leading axis B.
      maps: named spatial maps, (B, H, W, C).
      images: named images, (B, H, W, C).

    A field that a model lacks is an empty dict.
    """

    logits: Array
    heads: dict[str, Array] = {}  # noqa: RUF012 (never mutated; a pytree wants a dict)
    features: dict[str, Array] = {}  # noqa: RUF012
    maps: dict[str, Array] = {}  # noqa: RUF012
    images: dict[str, Array] = {}  # noqa: RUF012
