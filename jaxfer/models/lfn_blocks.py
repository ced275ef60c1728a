"""Building blocks of LFN and LFNSB, each usable alone.

Paddings are PyTorch's (half the kernel on every side), batch norm keeps 0.9 of its
running statistics at each step. With `fused=True` a block has no batch norm but the
biases that `jaxfer.models.fuse.fuse` computes; it cannot be trained then.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxfer import ops
from jaxfer.errors import ConfigError
from jaxfer.models import layers
from jaxfer.models.layers import BatchNorm, check_inference, conv_norm

Dtype = jax.typing.DTypeLike | None
Split = tuple[tuple[int, int], ...]
"""Pairs of kernel size and channels."""


def lecun_uniform(
    key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32
) -> jax.Array:
    """Uniform within sqrt(3 / fan in), so that a kernel keeps the variance.

    Drawn flat: a network of 200 kernels is initialised in a program of which most is
    these draws, and those of one axis compile sooner.
    """
    size = math.prod(shape)
    limit = math.sqrt(3 * shape[-1] / size)
    return jax.random.uniform(key, (size,), dtype, -limit, limit).reshape(shape)


Conv = partial(layers.Conv, kernel_init=lecun_uniform)


class PReLU(nn.Module):
    """max(x, 0) + slope min(x, 0), one `slope` per channel, 0.25 at first."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (..., C) to the same shape."""
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],))
        slope = jnp.expand_dims(slope.astype(x.dtype), range(x.ndim - 1))
        return jnp.where(x > 0, x, slope * x)


class ConvBN(nn.Module):
    """Convolution and batch norm, without activation; one convolution if fused.

    Attributes:
      features: output channels.
      kernel_size: height and width of the kernel.
      strides: of the kernel.
      padding: as of `layers.Conv`; None adds half the kernel on every side.
      depthwise: whether each channel is convolved by itself; `features` are then
        those of the input.
      use_bias: whether the convolution has a bias beside batch norm's.
      fused: whether batch norm is folded into the convolution.
      dtype: of the computation; None keeps the input's.
    """

    features: int
    kernel_size: tuple[int, int] = (1, 1)
    strides: int = 1
    padding: ops.Padding | None = None
    depthwise: bool = False
    use_bias: bool = False
    fused: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map (B, H, W, C) to (B, H', W', features)."""
        return conv_norm(
            x,
            self.features,
            self.kernel_size,
            train=train,
            fused=self.fused,
            use_bias=self.use_bias,
            strides=self.strides,
            padding=_half(self.kernel_size) if self.padding is None else self.padding,
            groups=x.shape[-1] if self.depthwise else 1,
            dtype=self.dtype,
            kernel_init=lecun_uniform,
        )


class MixedDepthwiseConv(nn.Module):
    """Depthwise convolutions with several kernel sizes, each on its own channels.

    Attributes:
      split: pairs of kernel size and channels, in the order of the channels.
      strides: of all kernels.
      dtype: of the computation; None keeps the input's.

    References:
      Tan and Le, MixConv: mixed depthwise convolutional kernels, 2019.
    """

    split: Split
    strides: int = 1
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, H, W, C), C the sum of the split's channels, to (B, H', W', C)."""
        if x.shape[-1] != sum(channels for _, channels in self.split):
            raise ConfigError(
                f"the split {self.split} does not add up to {x.shape[-1]} channels"
            )
        parts, start = [], 0
        for size, channels in self.split:
            conv = Conv(
                channels,
                (size, size),
                strides=self.strides,
                padding=size // 2,
                use_bias=False,
                groups=channels,
                dtype=self.dtype,
                name=f"conv{size}x{size}",
            )
            parts.append(conv(x[..., start : start + channels]))
            start += channels
        return jnp.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]


class CoordinateAttention(nn.Module):
    """Gates for rows and columns from the means over columns and rows.

    y = x sigmoid(h(z_h)) sigmoid(w(z_w)), where z = hard_swish(BN(conv([mean over
    width, mean over height]))) has max(8, C // 32) channels (C the input's).

    Attributes:
      fused: whether batch norm is folded into the convolution.
      dtype: of the computation; None keeps the input's.

    References:
      Hou et al., Coordinate attention for efficient mobile network design, CVPR
      2021.
    """

    fused: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map (B, H, W, C) to the same shape."""
        b, h, w, c = x.shape
        rows, columns = jnp.mean(x, axis=2), jnp.mean(x, axis=1)
        z = jnp.concatenate([rows, columns], axis=1).reshape(b, h + w, 1, c)
        squeeze = ConvBN(
            max(8, c // 32),
            use_bias=True,
            fused=self.fused,
            dtype=self.dtype,
            name="squeeze",
        )
        z = jax.nn.hard_swish(squeeze(z, train=train))
        rows = Conv(c, (1, 1), dtype=self.dtype, name="rows")(z[:, :h])
        columns = Conv(c, (1, 1), dtype=self.dtype, name="columns")(z[:, h:])
        columns = columns.reshape(b, 1, w, c)
        return x * nn.sigmoid(columns) * nn.sigmoid(rows)


class MixBottleneck(nn.Module):
    """Expand, mixed depthwise convolution, coordinate attention, project.

    Expanding is a 1x1 convolution, batch norm and PReLU to the channels that the
    split adds up to; projecting a 1x1 convolution and batch norm. Nothing stands
    between the depthwise convolution and the attention.

    Attributes:
      features: output channels.
      split: pairs of kernel size and channels of the depthwise convolution.
      strides: of the depthwise convolution.
      residual: whether the input is added.
      fused: whether batch norms are folded into the convolutions.
      dtype: of the computation; None keeps the input's.
    """

    features: int
    split: Split
    strides: int = 1
    residual: bool = False
    fused: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map (B, H, W, C) to (B, H', W', features)."""
        expanded = sum(channels for _, channels in self.split)
        expand = ConvBN(expanded, fused=self.fused, dtype=self.dtype, name="expand")
        y = PReLU(name="prelu")(expand(x, train=train))
        y = MixedDepthwiseConv(self.split, self.strides, self.dtype, name="mixed")(y)
        y = CoordinateAttention(self.fused, self.dtype, name="attention")(y, train)
        project = ConvBN(
            self.features, fused=self.fused, dtype=self.dtype, name="project"
        )
        y = project(y, train=train)
        return x + y if self.residual else y


class RepVGGDW(nn.Module):
    """BN(BN(depthwise 3x3) + depthwise 1x1 + identity); one depthwise 3x3 if fused.

    Attributes:
      fused: whether it is one convolution.
      dtype: of the computation; None keeps the input's.

    References:
      Ding et al., RepVGG: making VGG-style ConvNets great again, CVPR 2021; here
      depthwise and with one more batch norm.
    """

    fused: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map (B, H, W, C) to the same shape."""
        c = x.shape[-1]
        if self.fused:
            check_inference(train)
            return Conv(
                c, (3, 3), padding=1, groups=c, dtype=self.dtype, name="conv"
            )(x)  # fmt: skip
        spatial = ConvBN(c, (3, 3), depthwise=True, dtype=self.dtype, name="spatial")
        point = Conv(c, (1, 1), groups=c, dtype=self.dtype, name="point")
        y = spatial(x, train=train) + point(x) + x
        return BatchNorm(name="bn")(y, train=train)


def _half(kernel_size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    height, width = kernel_size[0] // 2, kernel_size[1] // 2
    return (height, height), (width, width)
