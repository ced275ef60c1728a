"""MobileNetV2.

Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018,
https://arxiv.org/abs/1801.04381. Layers and padding follow torchvision.
"""

from functools import partial

import jax
from flax import linen as nn

from jaxfer.models.backbone import check_width, classify, scaled, square_conv_norm
from jaxfer.models.outputs import Outputs

Dtype = jax.typing.DTypeLike | None

BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Table 2 of the paper: expansion t, channels c, repetitions n, first stride s."""


class InvertedResidual(nn.Module):
    """Widen by 1x1, filter each channel by 3x3, narrow by 1x1 without activation.

    The input is added where the shape stays. An expansion of 1 has no widening.

    Attributes:
      channels: of the output.
      stride: of the 3x3 convolution.
      expansion: inner channels over input channels.
      momentum: of batch norm's running statistics.
      fused: whether batch norms are folded into the convolutions.
      dtype: of the computation; None keeps the input's.
    """

    channels: int
    stride: int
    expansion: int
    momentum: float = 0.9
    fused: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map (B, H, W, C) to (B, H / stride, W / stride, channels)."""
        inner = x.shape[-1] * self.expansion
        conv = partial(
            square_conv_norm,
            train=train,
            fused=self.fused,
            momentum=self.momentum,
            dtype=self.dtype,
        )
        y = x
        if self.expansion > 1:
            y = nn.relu6(conv(y, inner, 1, name="expand_conv"))
        y = conv(y, inner, 3, self.stride, groups=inner, name="depthwise_conv")
        y = conv(nn.relu6(y), self.channels, 1, name="project_conv")
        return x + y if self.stride == 1 and x.shape[-1] == self.channels else y


class MobileNetV2Trunk(nn.Module):
    """Everything before the global average pool.

    Attributes:
      width: multiplies every channel, to multiples of 8; also those of the last
        convolution, which the paper never narrows.
      small_images: begin with stride 1 instead of 2.
      momentum: of batch norm's running statistics.
      fused: whether batch norms are folded into the convolutions.
      dtype: of the computation; None keeps the input's.
    """

    width: float = 1.0
    small_images: bool = False
    momentum: float = 0.9
    fused: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Map (B, H, W, 3) to (B, H / 32, W / 32, C), or / 16 for small images.

        C is 1280 times the width.
        """
        x = images if self.dtype is None else images.astype(self.dtype)
        conv = partial(
            square_conv_norm,
            train=train,
            fused=self.fused,
            momentum=self.momentum,
            dtype=self.dtype,
        )
        stride = 1 if self.small_images else 2
        x = nn.relu6(conv(x, scaled(32, self.width), 3, stride, name="stem_conv"))
        number = 0
        for expansion, channels, count, first_stride in BLOCKS:
            for index in range(count):
                number += 1
                x = InvertedResidual(
                    scaled(channels, self.width),
                    first_stride if index == 0 else 1,
                    expansion,
                    self.momentum,
                    self.fused,
                    self.dtype,
                    name=f"block{number}",
                )(x, train)
        return nn.relu6(conv(x, scaled(1280, self.width), 1, name="head_conv"))


class MobileNetV2(nn.Module):
    """MobileNetV2 (2.23 M parameters at K = 7): trunk, mean, linear classifier.

    torchvision drops 20 % of the pooled features in training; here none are dropped.

    Attributes:
      num_classes: K.
      width: multiplies every channel, to multiples of 8.
      small_images: a stem for images of 32 to 64 pixels.
      momentum: of batch norm's running statistics.
      fused: whether batch norms are folded into the convolutions before them, by
        `jaxfer.models.fuse.fuse`; for inference alone.
      dtype: of the computation up to the logits, which are at least float32; None
        keeps the input's.

    Raises:
      ConfigError: `width` is not positive.
    """

    num_classes: int
    width: float = 1.0
    small_images: bool = False
    momentum: float = 0.9
    fused: bool = False
    dtype: Dtype = None

    def __post_init__(self) -> None:
        check_width("mobilenet_v2", self.width)
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
        trunk = MobileNetV2Trunk(
            self.width,
            self.small_images,
            self.momentum,
            self.fused,
            self.dtype,
            name="trunk",
        )
        return classify(self.num_classes, trunk(images, train))
