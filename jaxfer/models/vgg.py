"""VGG-16, configuration D, without batch norm.

Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image
Recognition, ICLR 2015, https://arxiv.org/abs/1409.1556. VGG-Face (Parkhi et al.,
Deep Face Recognition, BMVC 2015) is the same network.
"""

import jax
import numpy as np
from flax import linen as nn

from jaxfer import ops
from jaxfer.models.backbone import check_width, he_fan_in, scaled
from jaxfer.models.layers import Conv
from jaxfer.models.outputs import Outputs

Dtype = jax.typing.DTypeLike | None

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of convolutions before each of the five pools."""
CONVOLUTIONS = tuple(
    f"conv{block}_{index}"
    for block, (_, count) in enumerate(BLOCKS, start=1)
    for index in range(1, count + 1)
)
"""Names of the 13 convolutions, from the image on."""
GRID = 7
"""Side of the map that the classifier takes."""
HIDDEN = 4096
GROUP = 8
"""Channels of a group where `VGGTrunk` normalises them."""


class VGGTrunk(nn.Module):
    """The 13 convolutions, `conv1_1` to `conv5_3`, to the fifth pool.

    Fresh kernels keep the size of the activations, which no batch norm restores: with
    He's other initialiser, torchvision's, features begin three times smaller, and a
    training from random weights stays at chance for longer.

    Attributes:
      width: multiplies every channel, to multiples of 8.
      pools: how many of the five blocks, from the first, end in a max pool; fewer
        keep the resolution of small images.
      group_norm: whether each convolution is followed by group norm, groups of 8
        channels. Not VGG's, and for training from random weights alone: thirteen
        layers without any normalisation give all faces nearly the same features, and
        are at chance for hundreds of steps. Unlike batch norm it keeps no statistics,
        which a frozen part would have to leave alone.
      dtype: of the computation; None keeps the input's.
    """

    width: float = 1.0
    pools: int = len(BLOCKS)
    group_norm: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Map (B, H, W, 3) to (B, H / 2^pools, W / 2^pools, 512 times the width)."""
        x = images if self.dtype is None else images.astype(self.dtype)
        for block, (channels, count) in enumerate(BLOCKS, start=1):
            for index in range(1, count + 1):
                x = Conv(
                    scaled(channels, self.width),
                    (3, 3),
                    kernel_init=he_fan_in,
                    name=f"conv{block}_{index}",
                )(x)
                if self.group_norm:
                    x = nn.GroupNorm(
                        num_groups=None,
                        group_size=GROUP,
                        dtype=self.dtype,
                        name=f"norm{block}_{index}",
                    )(x)
                x = nn.relu(x)
            if block <= self.pools:
                x = ops.max_pool(x, 2, strides=2, padding="VALID")
        return x


class VGG16(nn.Module):
    """VGG-16 (134.29 M parameters at K = 7): trunk and three dense layers.

    The released networks drop half of both hidden layers in training; here none is
    dropped.

    Attributes:
      num_classes: K.
      width: multiplies every channel and hidden unit, to multiples of 8.
      dtype: of the computation up to the logits, which are at least float32; None
        keeps the input's.

    Raises:
      ConfigError: `width` is not positive.
    """

    num_classes: int
    width: float = 1.0
    dtype: Dtype = None

    def __post_init__(self) -> None:
        check_width("vgg16", self.width)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Score images.

        Args:
          images: (B, H, W, 3), at least 32 x 32.
          train: changes nothing; there for the common signature.

        Returns:
          `logits`; `features` map (B, H / 32, W / 32, C), pooled (B, C), its mean,
          and hidden (B, D), the last hidden activations.
        """
        del train
        features = VGGTrunk(self.width, dtype=self.dtype, name="trunk")(images)
        grid = ops.adaptive_avg_pool(features, GRID)
        # Official weights count by channel, then row, then column.
        x = grid.transpose(0, 3, 1, 2).reshape(grid.shape[0], -1)
        for name in ("fc6", "fc7"):
            units = scaled(HIDDEN, self.width)
            x = nn.relu(self._dense(units, features.dtype, name)(x))
        wide = np.promote_types(features.dtype, np.float32)
        logits = self._dense(self.num_classes, wide, "fc8")(x)
        pooled = ops.global_avg_pool(features)
        return Outputs(
            logits, features={"map": features, "pooled": pooled, "hidden": x}
        )

    def _dense(self, units: int, dtype: jax.typing.DTypeLike, name: str) -> nn.Dense:
        init = nn.initializers.normal(0.01)
        return nn.Dense(units, dtype=dtype, kernel_init=init, name=name)
