"""What the backbones share: channel widths, initialisers, the linear classifier."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxfer import ops
from jaxfer.errors import ConfigError
from jaxfer.models.layers import conv_norm
from jaxfer.models.outputs import Outputs


def scaled(channels: int, width: float) -> int:
    """`channels * width` to a multiple of 8, at least 8 and never below 90 % of it.

    References:
      Howard et al., MobileNets, 2017, https://arxiv.org/abs/1704.04861: the width
      multiplier; the rounding is that of the released MobileNet code.
    """
    wanted = channels * width
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest


def scaled_nearest(channels: int, width: float) -> int:
    """`channels * width`, to the nearest multiple of 8, at least 8."""
    return max(8, 8 * round(channels * width / 8))


def check_width(model: str, width: float) -> None:
    """Refuse a channel multiplier that is not positive."""
    if not width > 0:
        raise ConfigError(f"{model} width must be positive, got {width}")


def he_fan_out(
    key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32
) -> jax.Array:
    """Normal kernel of deviation sqrt(2 / (kh kw O)), for (kh, kw, I, O).

    References:
      He et al., Delving Deep into Rectifiers, ICCV 2015, equation 14,
      https://arxiv.org/abs/1502.01852.
    """
    return normal(key, shape, dtype, math.sqrt(2 * shape[-2] / math.prod(shape)))


def he_fan_in(
    key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32
) -> jax.Array:
    """Normal kernel of deviation sqrt(2 / (kh kw I)), for (kh, kw, I, O).

    References:
      He et al., Delving Deep into Rectifiers, ICCV 2015, equation 10,
      https://arxiv.org/abs/1502.01852.
    """
    return normal(key, shape, dtype, math.sqrt(2 * shape[-1] / math.prod(shape)))


def square_conv_norm(
    x: jax.Array, channels: int, size: int, stride: int = 1, **options: Any
) -> jax.Array:
    """`layers.conv_norm` with a square kernel, half of it as padding, He's start.

    Args:
      x: (B, H, W, C).
      channels: of the output.
      size: side of the kernel.
      stride: of the kernel.
      **options: of `layers.conv_norm`.
    """
    return conv_norm(
        x,
        channels,
        (size, size),
        strides=stride,
        padding=size // 2,
        kernel_init=he_fan_out,
        **options,
    )


def normal(
    key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike, spread: float
) -> jax.Array:
    """Values of a normal distribution of mean 0 and deviation `spread`.

    Drawn flat, which compiles quicker on a CPU than four axes and gives the same
    bits.
    """
    values = jax.random.normal(key, (math.prod(shape),), dtype) * spread
    return values.reshape(shape)


def classify(num_classes: int, features: jax.Array) -> Outputs:
    """Global average pool and a linear layer; call it in a module's `__call__`.

    The layer's kernel (C, K), which class activation maps need, is the calling
    module's `variables["params"]["classifier"]["kernel"]`. Kernels start uniform
    within 1 / sqrt(C), as PyTorch's do, and biases at zero.

    Args:
      num_classes: K.
      features: (B, H, W, C).

    Returns:
      `logits`, in float32 or wider; `features` map and pooled (B, C).
    """
    pooled = ops.global_avg_pool(features)
    logits = nn.Dense(
        num_classes,
        dtype=np.promote_types(pooled.dtype, np.float32),
        kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
        name="classifier",
    )(pooled)
    return Outputs(logits, features={"map": features, "pooled": pooled})
