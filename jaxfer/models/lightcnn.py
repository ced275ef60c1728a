"""LightCNN: face features whose distance measures identity.

Wu et al., A Light CNN for Deep Face Representation with Noisy Labels, IEEE TIFS 2018,
https://arxiv.org/abs/1511.02683. Every convolution is a max-feature-map. FERSNet
compares the features of two faces before the fully connected layers, which therefore
take images of any size; `embedding=True` adds the 256 numbers that LightCNN was made
for, of 128 x 128 images.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxfer import ops
from jaxfer.errors import ConfigError
from jaxfer.models.layers import Conv
from jaxfer.models.outputs import Outputs

Dtype = jax.typing.DTypeLike | None

EMBEDDING = 256
EMBEDDING_SIZE = 128
"""Height and width of the images that have an embedding."""


def max_feature_map(x: jax.Array) -> jax.Array:
    """The larger of each channel of the first half and its fellow of the second.

    Args:
      x: (..., 2 C).

    Returns:
      (..., C).

    References:
      Wu et al., equation 3 (MFM 2/1).
    """
    return jnp.maximum(*jnp.split(x, 2, axis=-1))


class MFM(nn.Module):
    """A convolution to twice the channels, then the max-feature-map.

    Attributes:
      features: output channels.
      size: height and width of the kernel, odd.
      dtype: of the computation; None keeps the input's.
    """

    features: int
    size: int = 3
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, H, W, C) to (B, H, W, features)."""
        window = (self.size, self.size)
        conv = Conv(2 * self.features, window, dtype=self.dtype, name="filter")
        return max_feature_map(conv(x))


class Group(nn.Module):
    """A 1x1 max-feature-map of as many channels, then a 3x3 one.

    Attributes:
      features: output channels.
      dtype: of the computation; None keeps the input's.
    """

    features: int
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, H, W, C) to (B, H, W, features)."""
        x = MFM(x.shape[-1], 1, self.dtype, name="conv_a")(x)
        return MFM(self.features, 3, self.dtype, name="conv")(x)


class ResBlock(nn.Module):
    """The input plus two 3x3 max-feature-maps of it.

    Attributes:
      dtype: of the computation; None keeps the input's.
    """

    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, H, W, C) to the same."""
        y = MFM(x.shape[-1], 3, self.dtype, name="conv1")(x)
        return x + MFM(x.shape[-1], 3, self.dtype, name="conv2")(y)


class LightCNN(nn.Module):
    """What both networks share; they differ in `_map` and `_embed`.

    Attributes:
      num_classes: unused, there is no classifier; for the common signature.
      embedding: whether to compute the embedding, of 128 x 128 images.
      dtype: of the computation; None keeps the input's.

    Raises:
      ConfigError: the images are not grey, or not 128 x 128 with an embedding.
    """

    num_classes: int = 0
    embedding: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Compute features of grey faces.

        Args:
          images: (B, H, W, 1) in [0, 1].
          train: changes nothing; there for the common signature.

        Returns:
          `features` map (B, h, w, 128), see the networks; pooled (B, 128), its mean;
          and embedding (B, 256) if asked for; `logits` (B, 0), as there is no
          classifier.
        """
        del train
        _check_images(type(self).__name__.lower(), images, self.embedding)
        x = images if self.dtype is None else images.astype(self.dtype)
        x = self._map(x)
        features = {"map": x, "pooled": ops.global_avg_pool(x)}
        if self.embedding:
            features["embedding"] = self._embed(x)
        none = jnp.zeros((x.shape[0], 0), jnp.float32)
        return Outputs(none, features=features)

    def _map(self, x: jax.Array) -> jax.Array:
        raise NotImplementedError

    def _embed(self, x: jax.Array) -> jax.Array:
        raise NotImplementedError


class LightCNN9(LightCNN):
    """The 9-layer network (1.29 M parameters without the embedding); see `LightCNN`.

    Its map is H / 16 x W / 16, sizes rounded up.
    """

    def _map(self, x: jax.Array) -> jax.Array:
        x = _halve(MFM(48, 5, self.dtype, name="conv1")(x))
        x = _halve(Group(96, self.dtype, name="group1")(x))
        x = _halve(Group(192, self.dtype, name="group2")(x))
        x = Group(128, self.dtype, name="group3")(x)
        return _halve(Group(128, self.dtype, name="group4")(x))

    def _embed(self, x: jax.Array) -> jax.Array:
        dense = nn.Dense(2 * EMBEDDING, dtype=x.dtype, name="fc")
        return max_feature_map(dense(_flatten(x)))


class LightCNN29v2(LightCNN):
    """The 29-layer network, version 2: max and average pooling, added; see `LightCNN`.

    Its map is H / 8 x W / 8, sizes rounded down, before the fourth pooling, where
    FERSNet takes it.
    """

    def _map(self, x: jax.Array) -> jax.Array:
        x = MFM(48, 5, self.dtype, name="conv1")(x)
        for level, (blocks, features) in enumerate(
            zip((1, 2, 3, 4), (96, 192, 128, 128), strict=True), start=1
        ):
            if level < 4:
                x = _add_pools(x)
            for i in range(blocks):
                x = ResBlock(self.dtype, name=f"block{level}_{i}")(x)
            x = Group(features, self.dtype, name=f"group{level}")(x)
        return x

    def _embed(self, x: jax.Array) -> jax.Array:
        dense = nn.Dense(EMBEDDING, dtype=x.dtype, name="fc")
        return dense(_flatten(_add_pools(x)))


def _halve(x: jax.Array) -> jax.Array:
    return ops.max_pool(x, 2, strides=2)


def _add_pools(x: jax.Array) -> jax.Array:
    pooled = ops.max_pool(x, 2, strides=2, padding="VALID")
    return pooled + ops.avg_pool(x, 2, strides=2, padding="VALID")


def _flatten(x: jax.Array) -> jax.Array:
    """Channel by channel, as the released weights of the next layer expect."""
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)


def _check_images(model: str, images: jax.Array, embedding: bool) -> None:
    if images.shape[-1] != 1:
        raise ConfigError(
            f"{model} expects grey images (B, H, W, 1), got {images.shape}; "
            "weigh the colours first"
        )
    size = (EMBEDDING_SIZE, EMBEDDING_SIZE)
    if embedding and images.shape[1:3] != size:
        raise ConfigError(
            f"the embedding of {model} is of {EMBEDDING_SIZE} x {EMBEDDING_SIZE} "
            f"images, got {images.shape[1]} x {images.shape[2]}; resize them, or "
            "leave embedding off"
        )
