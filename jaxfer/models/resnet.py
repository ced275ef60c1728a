"""ResNet-18 and ResNet-50.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016,
https://arxiv.org/abs/1512.03385. Two kinds are in use, with the same parameters:
torchvision's, and that of the VGGFace2 weights (a port from Caffe).
"""

import math
from functools import partial
from typing import ClassVar

import jax
from flax import linen as nn

from jaxfer import ops
from jaxfer.errors import ConfigError
from jaxfer.models.backbone import check_width, classify, scaled, square_conv_norm
from jaxfer.models.outputs import Outputs

Dtype = jax.typing.DTypeLike | None

STAGES = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
"""Depth to the number of blocks in each stage."""
STEMS = ("torchvision", "vggface2")


class Residual(nn.Module):
    """Convolutions, each with batch norm, beside a shortcut; ReLU between and after.

    The shortcut is a 1x1 convolution with batch norm where the shape changes.

    Attributes:
      convs: channels, kernel size and stride of each convolution.
      momentum: of batch norm's running statistics.
      fused: whether batch norms are folded into the convolutions.
      dtype: of the computation; None keeps the input's.
    """

    convs: tuple[tuple[int, int, int], ...]
    momentum: float = 0.9
    fused: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map (B, H, W, C) to (B, H', W', channels of the last convolution)."""
        conv = partial(
            square_conv_norm,
            train=train,
            fused=self.fused,
            momentum=self.momentum,
            dtype=self.dtype,
        )
        y = x
        for number, (channels, size, stride) in enumerate(self.convs, start=1):
            y = conv(y, channels, size, stride, name=f"conv{number}")
            if number < len(self.convs):
                y = nn.relu(y)
        stride = math.prod(stride for _, _, stride in self.convs)
        if stride > 1 or x.shape[-1] != y.shape[-1]:
            x = conv(x, y.shape[-1], 1, stride, name="downsample_conv")
        return nn.relu(x + y)


def check_stem(model: str, stem: str) -> None:
    """Refuse a stem that is not known."""
    if stem not in STEMS:
        raise ConfigError(
            f"{model} stem must be one of {', '.join(STEMS)}, got {stem!r}"
        )


class ResNetTrunk(nn.Module):
    """Everything before the global average pool.

    Attributes:
      depth: 18 (basic blocks) or 50 (bottlenecks).
      stem: "torchvision"; or "vggface2": the max pool has no padding but keeps a last
        incomplete window, and a bottleneck's stride lies in its first 1x1 convolution
        instead of the 3x3 one.
      width: multiplies every channel, to multiples of 8.
      small_images: begin with a 3x3 convolution of stride 1 and without a pool, as
        the paper does for images of 32 pixels.
      momentum: of batch norm's running statistics.
      fused: whether batch norms are folded into the convolutions.
      dtype: of the computation; None keeps the input's.
    """

    depth: int
    stem: str = "torchvision"
    width: float = 1.0
    small_images: bool = False
    momentum: float = 0.9
    fused: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Map (B, H, W, 3) to (B, H / 32, W / 32, C), or / 8 for small images.

        C is 512 (depth 18) or 2048 (depth 50), times the width.
        """
        x = images if self.dtype is None else images.astype(self.dtype)
        size, stride = (3, 1) if self.small_images else (7, 2)
        x = square_conv_norm(
            x,
            scaled(64, self.width),
            size,
            stride,
            name="conv1",
            train=train,
            fused=self.fused,
            momentum=self.momentum,
        )
        x = nn.relu(x)
        if not self.small_images:
            x = ops.max_pool(x, 3, strides=2, padding=self._pool_padding(x))
        for stage, count in enumerate(STAGES[self.depth]):
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                convs = self._convs(64 * 2**stage, stride)
                block = Residual(
                    convs,
                    self.momentum,
                    self.fused,
                    self.dtype,
                    name=f"layer{stage + 1}_{index}",
                )
                x = block(x, train)
        return x

    def _pool_padding(self, x: jax.Array) -> ops.Padding:
        if self.stem == "torchvision":
            return 1
        below, right = (1 - size % 2 for size in x.shape[1:3])
        return ((0, below), (0, right))

    def _convs(self, channels: int, stride: int) -> tuple[tuple[int, int, int], ...]:
        inner, outer = scaled(channels, self.width), scaled(4 * channels, self.width)
        if self.depth == 18:
            return ((inner, 3, stride), (inner, 3, 1))
        first, second = (stride, 1) if self.stem == "vggface2" else (1, stride)
        return ((inner, 1, first), (inner, 3, second), (outer, 1, 1))


class ResNet50(nn.Module):
    """ResNet-50 (23.52 M parameters at K = 7): trunk, mean, linear classifier.

    Attributes:
      num_classes: K.
      stem: see `ResNetTrunk`, as are the others.
      width: multiplies every channel, to multiples of 8.
      small_images: a stem for images of 32 to 64 pixels.
      momentum: of batch norm's running statistics.
      fused: whether batch norms are folded into the convolutions before them, by
        `jaxfer.models.fuse.fuse`; for inference alone.
      dtype: of the computation up to the logits, which are at least float32; None
        keeps the input's.

    Raises:
      ConfigError: `stem` is unknown or `width` is not positive.
    """

    num_classes: int
    stem: str = "torchvision"
    width: float = 1.0
    small_images: bool = False
    momentum: float = 0.9
    fused: bool = False
    dtype: Dtype = None

    depth: ClassVar[int] = 50

    def __post_init__(self) -> None:
        check_stem(f"resnet{self.depth}", self.stem)
        check_width(f"resnet{self.depth}", self.width)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Score images.

        Args:
          images: (B, H, W, 3).
          train: whether batch norm uses and records the batch's statistics.

        Returns:
          `logits`; `features` map (B, H', W', C) and pooled (B, C).
        """
        trunk = ResNetTrunk(
            self.depth,
            self.stem,
            self.width,
            self.small_images,
            self.momentum,
            self.fused,
            self.dtype,
            name="trunk",
        )
        return classify(self.num_classes, trunk(images, train))


class ResNet18(ResNet50):
    """ResNet-18 (11.18 M parameters at K = 7); see `ResNet50`.

    It has no bottlenecks: `stem` tells its max pool alone.
    """

    depth: ClassVar[int] = 18
