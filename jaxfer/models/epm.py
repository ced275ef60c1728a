"""EPM: expression pattern-maps.

Zhang and Yu, Improving the Facial Expression Recognition and Its Interpretability via
Generating Expression Pattern-map. Three modules: `EFE` extracts features and a coarse
attention mask, `EMR` refines the mask by a recurrent network, `EPMG` makes of the
masked features a compact embedding, the decision, and a picture of the expression.
There is no released code; what the paper leaves open is said where it is decided.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxfer import ops
from jaxfer.errors import ConfigError
from jaxfer.models.backbone import check_width, he_fan_in, normal
from jaxfer.models.fersnet_blocks import fan_in_uniform
from jaxfer.models.layers import Conv, ConvTranspose
from jaxfer.models.outputs import Outputs
from jaxfer.models.vgg import BLOCKS, VGGTrunk

Dtype = jax.typing.DTypeLike | None

GRID = 7
"""Side of the feature map and of the masks."""
HIDDEN = 16
"""Hidden units of the recurrent network."""
ENCODER = (256, 128)
DECODER = (64, 32, 16, 8, 4, 2)
"""Channels of the decoder before the last layer, which has one."""
CLASSIFIER = 64


class Coarse(NamedTuple):
    """What `EFE` finds.

    Attributes:
      features: (B, 7, 7, C), of the trunk.
      mask: (B, 7, 7, 1), in (0, 1).
      masked: their product, (B, 7, 7, C).
      logits: (B, K), of the masked features.
    """

    features: jax.Array
    mask: jax.Array
    masked: jax.Array
    logits: jax.Array


class Pattern(NamedTuple):
    """What `EPMG` makes.

    Attributes:
      embedding: (B, D).
      logits: (B, K).
      image: (B, H, W, 1), in (0, 1): the pattern map.
    """

    embedding: jax.Array
    logits: jax.Array
    image: jax.Array


def pools(height: int, width: int) -> int:
    """How often images are halved to become 7 x 7.

    Raises:
      ConfigError: they cannot be, between once and five times.
    """
    for count in range(1, len(BLOCKS) + 1):
        if height == width == GRID * 2**count:
            return count
    sizes = ", ".join(str(GRID * 2**count) for count in range(1, len(BLOCKS) + 1))
    raise ConfigError(
        f"epm halves square images until they are {GRID} x {GRID}: expected a side of"
        f" {sizes}, found {height} x {width}"
    )


class EFE(nn.Module):
    """Expression feature extractor: VGG-16, a mask net, a classifier.

    M = sigmoid(W * G + b), of one 1x1 convolution; G_ms = M . G

    The paper does not say what classifies G_ms: it is the mean over its positions and
    a linear layer.

    Attributes:
      num_classes: K.
      width: multiplies the trunk's channels, to multiples of 8.
      group_norm: see `VGGTrunk`.
      dtype: of the computation up to the logits, which are at least float32; None
        keeps the input's.
    """

    num_classes: int
    width: float = 1.0
    group_norm: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(self, images: jax.Array) -> Coarse:
        """Find features and mask of (B, H, W, 3) images."""
        count = pools(*images.shape[1:3])
        trunk = VGGTrunk(self.width, count, self.group_norm, self.dtype, name="trunk")
        features = trunk(images)
        # Masks differ by little, and the refiner adds up 49 of their values.
        wide = np.promote_types(features.dtype, np.float32)
        mask = Conv(1, (1, 1), dtype=wide, kernel_init=fan_in_uniform, name="mask")
        found = nn.sigmoid(mask(features))
        masked = found.astype(features.dtype) * features
        pooled = ops.global_avg_pool(masked)
        logits = _dense(self.num_classes, wide, "classifier")(pooled)
        return Coarse(features, found, masked, logits)


class EMR(nn.Module):
    """Expression mask refiner: the mask's 49 values, read one after the other.

    h_t = tanh(W_h x_t + U_h h_(t-1) + b_h),  y_t = sigmoid(W_y h_t + b_y),  h_0 = 0

    Rows are read from the top, each from the left.
    """

    @nn.compact
    def __call__(self, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Refine masks (B, 7, 7, 1) to M' (B, 7, 7, 1); and the last h (B, 16)."""
        size, dtype = mask.shape[0], mask.dtype
        x = mask.reshape(size, -1, 1).transpose(1, 0, 2)
        inputs = _dense(HIDDEN, dtype, "input")(x)
        shape = (HIDDEN, HIDDEN)
        recurrent = self.param("recurrent", fan_in_uniform, shape).astype(dtype)

        def advance(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = jnp.tanh(x + h @ recurrent)
            return h, h

        last, hidden = jax.lax.scan(advance, jnp.zeros((size, HIDDEN), dtype), inputs)
        refined = nn.sigmoid(_dense(1, dtype, "output")(hidden))
        return refined.transpose(1, 0, 2).reshape(mask.shape), last


class EPMG(nn.Module):
    """Expression pattern-map generator: encoder, classifier, decoder.

    Encoder: 4x4 convolution, ReLU (7 -> 4), 4x4 convolution, sigmoid (4 -> 1): e.
    Classifier: 128 -> 64, ReLU, -> K. Decoder: transposed 4x4 convolutions with ReLU,
    the last with a sigmoid: 1 -> 4 -> 7, then twice the size each time, with 64, 32,
    16, 8, 4, 2 and 1 channels for 224 x 224 images. Smaller pattern maps need fewer
    doublings; the channels before the last, single one are then the first of these.

    Attributes:
      num_classes: K.
      dtype: of the computation up to the logits and the pattern map, which are at
        least float32; None keeps the input's.
    """

    num_classes: int
    dtype: Dtype = None

    @nn.compact
    def __call__(self, masked: jax.Array, doublings: int) -> Pattern:
        """Make of (B, 7, 7, C) a pattern map of side 7 times 2^doublings."""
        x = masked
        for number, channels in enumerate(ENCODER, start=1):
            last = number == len(ENCODER)
            x = Conv(
                channels,
                (4, 4),
                padding="VALID",
                dtype=self.dtype,
                kernel_init=fan_in_uniform if last else he_fan_in,
                name=f"encoder{number}",
            )(x)
            x = nn.sigmoid(x) if last else nn.relu(x)
        embedding = x.reshape(x.shape[0], -1)
        y = nn.relu(_dense(CLASSIFIER, embedding.dtype, "hidden")(embedding))
        wide = np.promote_types(y.dtype, np.float32)
        logits = _dense(self.num_classes, wide, "classifier")(y)
        return Pattern(embedding, logits, self._decode(x, doublings).astype(wide))

    def _decode(self, x: jax.Array, doublings: int) -> jax.Array:
        layers = (*DECODER[: doublings + 1], 1)
        for number, channels in enumerate(layers, start=1):
            grows = number > 2  # the first two add three pixels each
            x = ConvTranspose(
                channels,
                (4, 4),
                strides=2 if grows else 1,
                padding=1 if grows else 0,
                dtype=self.dtype,
                kernel_init=_he_transposed(1 if number == 1 else 4),
                name=f"decoder{number}",
            )(x)
            x = nn.relu(x) if number < len(layers) else nn.sigmoid(x)
        return x


class EPM(nn.Module):
    """The three modules together (17.52 M parameters at K = 7).

    Each alone: `model.apply({"params": {"efe": ...}}, images, method=EPM.extract)`,
    and likewise `refine` and `generate`.

    Smaller images than the paper's keep the 7 x 7 grid: 112 x 112 pass four of the
    trunk's five pools, 56 x 56 three and so on, and the pattern map has the image's
    size.

    Attributes:
      num_classes: K.
      width: multiplies the trunk's channels, to multiples of 8.
      group_norm: normalises them, see `VGGTrunk`; the paper's trunk does not.
      dtype: of the computation up to logits, masks and pattern map, which are at
        least float32; None keeps the input's.

    Raises:
      ConfigError: `width` is not positive, or images cannot be halved to 7 x 7.
    """

    num_classes: int
    width: float = 1.0
    group_norm: bool = False
    dtype: Dtype = None

    def __post_init__(self) -> None:
        check_width("epm", self.width)
        super().__post_init__()

    def setup(self) -> None:
        """Name the three modules."""
        self.efe = EFE(self.num_classes, self.width, self.group_norm, self.dtype)
        self.emr = EMR()
        self.epmg = EPMG(self.num_classes, self.dtype)

    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Score images, with all that explains the score.

        Args:
          images: (B, H, H, 3), H one of 14, 28, 56, 112, 224.
          train: changes nothing; there for the common signature.

        Returns:
          `logits`, of `EPMG`; `heads` efe, the first classifier's; `features` map
          (B, 7, 7, C) before the mask, embedding (B, 128), hidden (B, 16), the
          refiner's last state; `maps` mask and refined_mask (B, 7, 7, 1); `images`
          pattern (B, H, H, 1), in (0, 1).
        """
        del train
        coarse = self.extract(images)
        refined, hidden = self.refine(coarse.mask)
        pattern = self.generate(coarse.masked, pools(*images.shape[1:3]))
        return Outputs(
            pattern.logits,
            heads={"efe": coarse.logits},
            features={
                "map": coarse.features,
                "embedding": pattern.embedding,
                "hidden": hidden,
            },
            maps={"mask": coarse.mask, "refined_mask": refined},
            images={"pattern": pattern.image},
        )

    def extract(self, images: jax.Array) -> Coarse:
        """Apply `EFE` alone."""
        return self.efe(images)

    def refine(self, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Apply `EMR` alone."""
        return self.emr(mask)

    def generate(self, masked: jax.Array, doublings: int) -> Pattern:
        """Apply `EPMG` alone."""
        return self.epmg(masked, doublings)


def _dense(units: int, dtype: jax.typing.DTypeLike, name: str) -> nn.Dense:
    return nn.Dense(units, dtype=dtype, kernel_init=fan_in_uniform, name=name)


def _he_transposed(taps: int) -> Callable[..., jax.Array]:
    """He's initialiser where `taps` of a kernel's positions meet in a pixel.

    Counting all positions, as for a convolution, would divide the picture's contrast
    by a hundred on its way through the decoder.
    """

    def draw(
        key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike
    ) -> jax.Array:
        return normal(key, shape, dtype, math.sqrt(2 / (taps * shape[-1])))

    return draw
