"""The spatial bias: global context of a feature map, as a small map."""

import jax
from flax import linen as nn

from jaxfer import ops
from jaxfer.models.lfn_blocks import Conv, ConvBN, Dtype


class SpatialBias(nn.Module):
    """Global context as a small map: a convolution along the channels.

    A 1x1 convolution to `features + 2` channels, batch norm and ReLU, adaptive mean
    pooling to `size` x `size` positions; then a convolution of width 3 along the
    channel axis, which mixes all positions and leaves `features` channels.

    Attributes:
      features: channels of the result.
      size: height and width of the result.
      fused: whether batch norm is folded into the convolution.
      dtype: of the computation; None keeps the input's.

    References:
      Go and Ryu, Spatial bias for attention-free non-local neural networks, Expert
      Systems with Applications 238, 2024.
    """

    features: int
    size: int
    fused: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map (B, H, W, C) to (B, size, size, features)."""
        positions = self.size * self.size
        reduce = ConvBN(
            self.features + 2, fused=self.fused, dtype=self.dtype, name="reduce"
        )
        x = ops.adaptive_avg_pool(nn.relu(reduce(x, train=train)), self.size)
        x = x.reshape(-1, 1, positions, self.features + 2).transpose(0, 1, 3, 2)
        x = Conv(
            positions, (1, 3), padding="VALID", dtype=self.dtype, name="mix"
        )(x)  # fmt: skip
        return x.transpose(0, 1, 3, 2).reshape(-1, self.size, self.size, self.features)
