"""Blocks of FERSNet: the convolutional feature leaky unit, and those around it."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxfer import ops
from jaxfer.models import layers
from jaxfer.models.backbone import scaled_nearest
from jaxfer.models.layers import Conv, conv_norm

Dtype = jax.typing.DTypeLike | None

STEM = 64
"""Channels of the outermost layers, where the network begins and ends."""
DECODER = ((512, 512, 512), (256, 512, 256), (128, 256, 128), (64, 128, 128))
"""Of each level: transposed convolution, first and second convolution."""


def fan_in_uniform(
    key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32
) -> jax.Array:
    """PyTorch's default initialiser: uniform within 1 / sqrt(fan in).

    The fan in is the product of all axes but the last, which for the kernel of a
    transposed convolution (kh, kw, O, C) is what PyTorch counts there too. Drawn flat,
    which compiles faster on a CPU.
    """
    size = math.prod(shape)
    limit = 1 / math.sqrt(size // shape[-1])
    return jax.random.uniform(key, (size,), dtype, -limit, limit).reshape(shape)


ConvTranspose = partial(
    layers.ConvTranspose,
    kernel_size=(4, 4),
    strides=2,
    padding=1,
    use_bias=False,
    kernel_init=fan_in_uniform,
)
"""Twice the size."""


def leaky_relu(x: jax.Array) -> jax.Array:
    """Leaky ReLU of slope 0.2."""
    return nn.leaky_relu(x, 0.2)


def conv3x3(name: str, channels: int, x: jax.Array, dtype: Dtype) -> jax.Array:
    """A 3x3 convolution with bias, inside a compact method."""
    return Conv(channels, (3, 3), dtype=dtype, kernel_init=fan_in_uniform, name=name)(x)


class ConvFLU(nn.Module):
    """Convolutional feature leaky unit: what one task takes from another.

    r = sigmoid(W_r * [x, y]),  z = sigmoid(W_z * [x, y]),
    f = tanh(W * (r . y) + U * x),  out = z . x + (1 - z) . f

    with 1x1 convolutions without bias. The leaky gate r decides what of the other
    task's features passes, the memory gate z what of the own ones is kept. The slides
    print out = (1 - z) . x + z . f, the same with z renamed; this is the released
    code's z.

    Attributes:
      dtype: of the computation; None keeps the input's.

    References:
      Zhao et al., ICPR 2020, "Convolutional Feature Leaky Unit".
    """

    dtype: Dtype = None

    @nn.compact
    def __call__(
        self, own: jax.Array, other: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Merge features of another task into one's own.

        Args:
          own: (B, H, W, C), x.
          other: (B, H, W, C), y.

        Returns:
          The merged features, the leaky gate r and the memory gate z, each
          (B, H, W, C).
        """

        def pointwise(name: str, x: jax.Array) -> jax.Array:
            return Conv(
                own.shape[-1],
                (1, 1),
                use_bias=False,
                dtype=self.dtype,
                kernel_init=fan_in_uniform,
                name=name,
            )(x)

        both = jnp.concatenate([own, other], axis=-1)
        leaky = nn.sigmoid(pointwise("W_r", both))
        memory = nn.sigmoid(pointwise("W_z", both))
        fresh = jnp.tanh(pointwise("U", own) + pointwise("W", leaky * other))
        return memory * own + (1 - memory) * fresh, leaky, memory


class BasicBlock(nn.Module):
    """Residual block: two 3x3 convolutions, each normalised; ReLU after the sum.

    Attributes:
      features: output channels.
      norm: "batch" (learned scale and bias, running statistics) or "instance".
      project: whether a 1x1 convolution, not normalised, carries the input past.
      momentum: of batch norm's running statistics.
      fused: whether batch norms are folded into the convolutions.
      dtype: of the computation; None keeps the input's.
    """

    features: int
    norm: str = "batch"
    project: bool = True
    momentum: float = 0.9
    fused: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map (B, H, W, C) to (B, H, W, features)."""
        shared: dict[str, Any] = {"dtype": self.dtype, "kernel_init": fan_in_uniform}

        def conv(name: str, size: int, x: jax.Array) -> jax.Array:
            window = (size, size)
            return Conv(self.features, window, use_bias=False, name=name, **shared)(x)

        def normalised(name: str, x: jax.Array) -> jax.Array:
            if self.norm == "instance":
                return ops.instance_norm(conv(name, 3, x))
            return conv_norm(
                x,
                self.features,
                (3, 3),
                name=name,
                train=train,
                fused=self.fused,
                momentum=self.momentum,
                **shared,
            )

        y = normalised("conv2", nn.relu(normalised("conv1", x)))
        return nn.relu(y + (conv("projection", 1, x) if self.project else x))


class Transform(nn.Module):
    """Give features the statistics that a target expression asks for.

    gamma . instance_norm(x + w n) + beta,  [gamma, beta] = A target + b

    with one learned scalar w, 0 at first, and standard normal noise n, one map for all
    channels. The noise is drawn from the rng "noise" if there is one, and left out
    otherwise; the released code always draws it, without a seed.

    Attributes:
      dtype: of the computation; None keeps the input's.
    """

    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array, target: jax.Array) -> jax.Array:
        """Map (B, H, W, C) and targets (B, K) to (B, H, W, C)."""
        dtype = x.dtype if self.dtype is None else self.dtype
        weight = self.param("noise", nn.initializers.zeros_init(), (1,), jnp.float32)
        style = nn.Dense(
            2 * x.shape[-1],
            dtype=dtype,
            # Xavier's normal distribution, times 0.1
            kernel_init=nn.initializers.variance_scaling(0.01, "fan_avg", "normal"),
            name="style",
        )(target.astype(dtype))
        gamma, beta = jnp.split(style[:, None, None, :], 2, axis=-1)
        x = x.astype(dtype)
        if self.has_rng("noise"):
            shape = (*x.shape[:-1], 1)
            noise = jax.random.normal(self.make_rng("noise"), shape, dtype)
            x = x + weight.astype(dtype).reshape(1, 1, 1, 1) * noise
        return gamma * ops.instance_norm(x) + beta


class Up(nn.Module):
    """Twice the size, and beside it the skipped features, transformed.

    Attributes:
      features: output channels of the transposed convolution.
      dtype: of the computation; None keeps the input's.
    """

    features: int
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array, skip: jax.Array, target: jax.Array) -> jax.Array:
        """Map (B, H, W, C), (B, 2 H, 2 W, S), (B, K) to (B, 2 H, 2 W, features + S)."""
        x = ConvTranspose(self.features, dtype=self.dtype, name="up")(x)
        x = nn.relu(ops.instance_norm(x))
        skip = Transform(self.dtype, name="transform")(skip, target)
        return jnp.concatenate([x, skip], axis=-1)


class Decoder(nn.Module):
    """Draw a face with the target's expression, from the inside out.

    Attributes:
      width: multiplies every channel, to multiples of 8.
      dtype: of the computation; None keeps the input's.
    """

    width: float = 1.0
    dtype: Dtype = None

    @nn.compact
    def __call__(
        self, x: jax.Array, skips: list[jax.Array], target: jax.Array
    ) -> jax.Array:
        """Map the innermost features to images.

        Args:
          x: (B, H, W, C).
          skips: features of 16, 8, 4 and 2 times that height and width.
          target: (B, K), one-hot.

        Returns:
          (B, 32 H, 32 W, 3).
        """
        x = Transform(self.dtype, name="transform")(x, target)
        for level, channels in zip((4, 3, 2, 1), DECODER, strict=True):
            up, first, second = (scaled_nearest(c, self.width) for c in channels)
            x = Up(up, self.dtype, name=f"up{level}")(x, skips[level - 1], target)
            x = self._conv(f"conv{level}a", first, x)
            x = self._conv(f"conv{level}b", second, x)
        outermost = scaled_nearest(STEM, self.width)
        x = ConvTranspose(outermost, dtype=self.dtype, name="up0")(x)
        x = leaky_relu(ops.instance_norm(x))
        x = self._conv("conv0a", outermost, x)
        x = self._conv("conv0b", outermost, x)
        return conv3x3("out", 3, x, self.dtype)

    def _conv(self, name: str, channels: int, x: jax.Array) -> jax.Array:
        return leaky_relu(ops.instance_norm(conv3x3(name, channels, x, self.dtype)))
