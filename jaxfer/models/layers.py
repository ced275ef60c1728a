"""Layers that the models share, built on `jaxfer.ops`."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxfer import ops
from jaxfer.errors import ConfigError

Initializer = Callable[..., jax.Array]


class Conv(nn.Module):
    """Convolution with parameters `kernel` (kh, kw, C / groups, features), `bias`.

    Attributes:
      features: output channels.
      kernel_size: height and width of the kernel.
      strides: one number or a pair.
      padding: "SAME", "VALID", a number or ((lo, hi), (lo, hi)).
      use_bias: whether to add a bias.
      groups: number of channel groups; as many as channels is depthwise.
      dilation: spacing of the taps.
      dtype: of the computation; None keeps the input's.
      param_dtype: of the parameters.
      kernel_init: initialiser of the kernel.
      bias_init: initialiser of the bias.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: int | Sequence[int] = 1
    padding: ops.Padding = "SAME"
    use_bias: bool = True
    groups: int = 1
    dilation: int | Sequence[int] = 1
    dtype: jax.typing.DTypeLike | None = None
    param_dtype: jax.typing.DTypeLike = jnp.float32
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, H, W, C) to (B, H', W', features)."""
        dtype = x.dtype if self.dtype is None else self.dtype
        shape = (*self.kernel_size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        y = ops.conv(
            x.astype(dtype),
            kernel.astype(dtype),
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        if self.use_bias:
            bias = self.param(
                "bias", self.bias_init, (self.features,), self.param_dtype
            )
            y = y + bias.astype(dtype).reshape(1, 1, 1, -1)
        return y


class ConvTranspose(nn.Module):
    """Transposed convolution with parameters `kernel` (kh, kw, features, C), `bias`.

    Attributes:
      features: output channels.
      kernel_size: height and width of the kernel.
      strides: one number or a pair.
      padding: what is cut off every side.
      use_bias: whether to add a bias.
      dtype: of the computation; None keeps the input's.
      kernel_init: initialiser of the kernel.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: int | Sequence[int] = 1
    padding: int = 0
    use_bias: bool = True
    dtype: jax.typing.DTypeLike | None = None
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, H, W, C) to (B, H', W', features); see `ops.conv_transpose`."""
        dtype = x.dtype if self.dtype is None else self.dtype
        shape = (*self.kernel_size, self.features, x.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        y = ops.conv_transpose(
            x.astype(dtype),
            kernel.astype(dtype),
            strides=self.strides,
            padding=self.padding,
        )
        if self.use_bias:
            zeros = nn.initializers.zeros_init()
            bias = self.param("bias", zeros, (self.features,), jnp.float32)
            y = y + bias.astype(dtype).reshape(1, 1, 1, -1)
        return y


class BatchNorm(nn.Module):
    """Batch normalisation of (B, C) or (B, H, W, C), statistics in float32.

    Parameters `scale` and `bias`; collection `batch_stats` holds the running `mean`
    and `var`, updated when `train` and initialised to 0 and 1.

    Attributes:
      momentum: share of the running statistics that a step keeps (Keras' and Flax'
        sense; PyTorch's momentum is one minus this).
      epsilon: added to the variance.
      use_scale: whether to learn a scale.
      use_bias: whether to learn an offset.
      unbiased_running_variance: keep n / (n - 1) times the batch's variance in the
        running one, as PyTorch and Keras' fused kernel do; Flax keeps the biased one.
      dtype: of the result; None keeps the input's.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    unbiased_running_variance: bool = True
    dtype: jax.typing.DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Normalise by the batch's statistics if `train`, else by the running ones."""
        x = x if self.dtype is None else x.astype(self.dtype)
        shape = (x.shape[-1],)
        ones, zeros = nn.initializers.ones_init(), nn.initializers.zeros_init()
        f32 = jnp.float32
        scale = (
            self.param("scale", ones, shape, f32)
            if self.use_scale
            else jnp.ones(shape, f32)
        )
        bias = (
            self.param("bias", zeros, shape, f32)
            if self.use_bias
            else jnp.zeros(shape, f32)
        )
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, f32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, f32)
        if not train:
            return ops.batch_norm_inference(
                x, running_mean.value, running_var.value, scale, bias,
                epsilon=self.epsilon,
            )  # fmt: skip
        y, mean, var = ops.batch_norm(x, scale, bias, epsilon=self.epsilon)
        if not self.is_initializing():
            count = x.size // x.shape[-1]
            if self.unbiased_running_variance:
                var = var * (count / max(count - 1, 1))
            keep = self.momentum
            running_mean.value = keep * running_mean.value + (1 - keep) * mean.astype(
                f32
            )
            running_var.value = keep * running_var.value + (1 - keep) * var.astype(f32)
        return y


CONV = re.compile(r"(|.+_)conv\d*")
"""Names of convolutions that batch norm follows directly; see `norm_of`."""


def norm_of(conv: str) -> str:
    """The name of a convolution's batch norm: `bn1` of `conv1`, `x_bn` of `x_conv`."""
    before, _, after = conv.rpartition("conv")
    return f"{before}bn{after}"


def conv_norm(
    x: jax.Array,
    features: int,
    kernel_size: tuple[int, int],
    *,
    name: str = "conv",
    train: bool = False,
    fused: bool = False,
    momentum: float = 0.9,
    use_bias: bool = False,
    **options: Any,
) -> jax.Array:
    """A convolution and its batch norm, for a module's compact method.

    Networks that do so everywhere answer quicker with the pairs folded into one
    convolution each: with `fused`, and the variables of `jaxfer.models.fuse.fuse`,
    which knows the pairs by these names.

    Args:
      x: (B, H, W, C).
      features: output channels.
      kernel_size: height and width of the kernel.
      name: of the convolution in the calling module, matching `CONV`; that of the
        batch norm is `norm_of(name)`.
      train: whether batch norm uses and records the batch's statistics.
      fused: whether batch norm is folded into the convolution, which then has a bias.
      momentum: of the running statistics.
      use_bias: whether the convolution has a bias beside batch norm's.
      **options: of `Conv`.

    Returns:
      (B, H', W', features).

    Raises:
      ConfigError: `train` with `fused`.
    """
    conv = Conv(features, kernel_size, use_bias=use_bias or fused, name=name, **options)
    y = conv(x)
    if fused:
        check_inference(train)
        return y
    return BatchNorm(momentum, name=norm_of(name))(y, train=train)


def check_inference(train: bool) -> None:
    """Refuse to train a network whose batch norm is folded away."""
    if train:
        raise ConfigError(
            "a fused network has no batch norm and cannot be trained; train the "
            "network made with fused=False and fuse its variables afterwards"
        )
