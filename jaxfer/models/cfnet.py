"""CFNet: constraint fusion under multi-task joint learning.

Applied Soft Computing 141, 2023, https://doi.org/10.1016/j.asoc.2023.110312.
Stage 1 is `CFNet`: a local branch that sees the image's patches stacked on the
channels, a global branch that sees the image, and three heads trained together.
Stage 2 is `CFNetFusion`, trained on the last hidden activations of those heads.
Layers, order and initialisers follow the released Keras code.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxfer import ops
from jaxfer.errors import ConfigError
from jaxfer.models.backbone import check_width, scaled_nearest
from jaxfer.models.layers import BatchNorm, Conv
from jaxfer.models.outputs import Outputs

Dtype = jax.typing.DTypeLike | None

BLOCKS = ("1a", "1b", "2", "3", "4")
LOCAL_CHANNELS = (128, 128, 256, 512, 512)
GLOBAL_CHANNELS = (64, 64, 128, 256, 512)
HEADS = ("local", "global", "fused")
SEPARATE_UNITS = {"local": (512, 1024), "global": (512, 1024), "fused": (1024, 2048)}
EPSILON = 1.1e-5
"""Of batch norm, as released."""


def glorot_uniform(
    key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32
) -> jax.Array:
    """Keras' default initialiser: uniform within sqrt(6 / (fan in + fan out)).

    Drawn flat: the random bits of an array of one axis compile in a third of the time
    of four axes on a CPU, and are the same bits.
    """
    size = math.prod(shape)
    limit = math.sqrt(6 / (size // shape[-1] + size // shape[-2]))
    return jax.random.uniform(key, (size,), dtype, -limit, limit).reshape(shape)


def dense_relu(
    units: int, dtype: jax.typing.DTypeLike, name: str
) -> Callable[[jax.Array], jax.Array]:
    """A Dense layer and its ReLU; called again, it uses the same weights."""
    layer = nn.Dense(units, dtype=dtype, kernel_init=glorot_uniform, name=name)
    return lambda x: nn.relu(layer(x))


def class_scores(num_classes: int, x: jax.Array, name: str) -> jax.Array:
    """A Dense layer without activation, in float32 or wider."""
    dtype = np.promote_types(x.dtype, np.float32)
    return nn.Dense(num_classes, dtype=dtype, kernel_init=glorot_uniform, name=name)(x)


class Branch(nn.Module):
    """Five blocks of convolution, ReLU, batch norm, 3x3 max pool.

    Attributes:
      channels: of the five blocks.
      momentum: of batch norm's running statistics.
      dtype: of the computation; None keeps the input's.
    """

    channels: tuple[int, ...]
    momentum: float = 0.99
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map (B, H, W, C) to (B, h, w, channels[-1])."""
        for block, channels in zip(BLOCKS, self.channels, strict=True):
            kernel = (7, 7) if block == "1a" else (3, 3)
            x = Conv(
                channels,
                kernel,
                dtype=self.dtype,
                kernel_init=glorot_uniform,
                name=f"conv{block}",
            )(x)
            norm = BatchNorm(self.momentum, EPSILON, name=f"bn{block}")
            x = norm(nn.relu(x), train=train)
            x = ops.max_pool(x, 3, strides=1 if block == "1a" else 2)
        return x


class CFNet(nn.Module):
    """The joint network of stage 1.

    With `heads="shared"` (the paper; 13.90 M parameters at K = 7) the three heads use
    the same two hidden layers; with "separate" (released for MMI and RAF-DB; 11.26 M)
    each has its own.

    The running variances of batch norm keep the unbiased n / (n - 1) estimate, as the
    released code does through Keras' fused float32 kernel. Weights of that code
    expect images in OpenCV's channel order, BGR.

    Attributes:
      num_classes: K.
      heads: "shared" or "separate".
      width: multiplies every channel and hidden unit, to multiples of 8.
      grid: patches per side of the local branch's input.
      momentum: of batch norm's running statistics, 0.99 as released; trainings of a
        few hundred steps want less.
      dtype: of the computation up to the logits, which are at least float32; None
        keeps the input's.

    Raises:
      ConfigError: `heads` is neither, `width` is not positive, or `grid` does not
        divide the image.
    """

    num_classes: int
    heads: str = "shared"
    width: float = 1.0
    grid: int = 7
    momentum: float = 0.99
    dtype: Dtype = None

    def __post_init__(self) -> None:
        if self.heads not in ("shared", "separate"):
            raise ConfigError(
                f"cfnet heads must be 'shared' or 'separate', got {self.heads!r}"
            )
        check_width("cfnet", self.width)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Score images.

        Args:
          images: (B, H, W, 3) in [0, 1], 224 x 224 in the paper.
          train: whether batch norm uses and records the batch's statistics.

        Returns:
          `logits`, the fused head's; `heads` local, global and fused; `features` of
          the same names, the last hidden activations: 2048 units each (shared), or
          1024, 1024 and 2048 (separate); `maps` global, the last feature map of that
          branch, (B, h, w, 512).
        """
        if images.shape[1] % self.grid or images.shape[2] % self.grid:
            raise ConfigError(
                f"cfnet cuts images into a grid of {self.grid} x {self.grid}; "
                f"{images.shape[1]} x {images.shape[2]} images cannot be cut so: "
                f"use sizes that {self.grid} divides"
            )
        if self.dtype is not None:
            images = images.astype(self.dtype)

        def branch(name: str, channels: tuple[int, ...], x: jax.Array) -> jax.Array:
            channels = tuple(scaled_nearest(c, self.width) for c in channels)
            return Branch(channels, self.momentum, self.dtype, name=name)(x, train)

        patches = ops.patches_to_channels(images, self.grid)
        local = ops.global_avg_pool(branch("local", LOCAL_CHANNELS, patches))
        global_map = branch("global", GLOBAL_CHANNELS, images)
        global_ = ops.global_avg_pool(global_map)
        fused = jnp.concatenate([local, global_], axis=-1)
        hidden = self._shared if self.heads == "shared" else self._separate
        features = hidden({"local": local, "global": global_, "fused": fused})
        logits = {
            head: class_scores(self.num_classes, features[head], f"{head}_logits")
            for head in HEADS
        }
        return Outputs(
            logits["fused"],
            heads=logits,
            features=features,
            maps={"global": global_map},
        )

    def _shared(self, inputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Widen local and global to fused's width, then two layers for all three."""
        fused = inputs["fused"]
        widened = {
            head: dense_relu(fused.shape[-1], fused.dtype, f"{head}_dense")(
                inputs[head]
            )
            for head in ("local", "global")
        }
        inputs = {**widened, "fused": fused}
        units = scaled_nearest(2048, self.width)
        first = dense_relu(units, fused.dtype, "shared_dense_1")
        second = dense_relu(units, fused.dtype, "shared_dense_2")
        return {head: second(first(inputs[head])) for head in HEADS}

    def _separate(self, inputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Two layers of its own for each head."""
        features = {}
        for head in HEADS:
            x = inputs[head]
            for i, units in enumerate(SEPARATE_UNITS[head], start=1):
                width = scaled_nearest(units, self.width)
                x = dense_relu(width, x.dtype, f"{head}_dense_{i}")(x)
            features[head] = x
        return features


class CFNetFusion(nn.Module):
    """The fusion network of stage 2 (8.42 M parameters at K = 7, separate heads).

    Attributes:
      num_classes: K.
      width: multiplies the hidden units, to multiples of 8.
      dtype: of the computation up to the logits, which are at least float32; None
        keeps the input's.

    Raises:
      ConfigError: `width` is not positive.
    """

    num_classes: int
    width: float = 1.0
    dtype: Dtype = None

    def __post_init__(self) -> None:
        check_width("cfnet_fusion", self.width)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        local: jax.Array,
        global_: jax.Array,
        fused: jax.Array,
        train: bool = False,
    ) -> Outputs:
        """Score images by the last hidden activations of `CFNet`'s heads.

        Args:
          local: (B, D_l).
          global_: (B, D_g).
          fused: (B, D_c).
          train: changes nothing; there for the common signature.

        Returns:
          `logits`; `features` alpha_local, alpha_global, cosine_local and
          cosine_global, each (B,).
        """
        del train
        units = scaled_nearest(2048, self.width)
        dtype = local.dtype if self.dtype is None else self.dtype
        local = dense_relu(units, dtype, "local")(local)
        global_ = dense_relu(units, dtype, "global")(global_)
        fused = dense_relu(units, dtype, "fused")(fused)
        alpha_local, alpha_global = ops.constraint_weights(local, global_, fused)
        weighted = ops.constraint_fusion(local, global_, fused)
        logits = class_scores(self.num_classes, weighted, "logits")
        features = {
            "alpha_local": alpha_local,
            "alpha_global": alpha_global,
            "cosine_local": ops.cosine_similarity(local, fused),
            "cosine_global": ops.cosine_similarity(global_, fused),
        }
        return Outputs(logits, features=features)
