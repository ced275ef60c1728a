"""FERSNet: recognise and synthesise expressions with selective feature sharing.

Zhao et al., Deep Multi-task Learning for Facial Expression Recognition and Synthesis
Based on Selective Feature Sharing, ICPR 2020, https://arxiv.org/abs/2007.04514.
`FERSNet` has a branch for each task, which exchange features through leaky units, a
classifier, and a decoder that draws the face with another expression;
`FERSNetDiscriminator` judges such faces patch by patch. Layers, order and initialisers
follow the released PyTorch code, but every bias starts at 0.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxfer import ops
from jaxfer.errors import ConfigError
from jaxfer.models.backbone import check_width, scaled_nearest
from jaxfer.models.fersnet_blocks import (
    STEM,
    BasicBlock,
    ConvFLU,
    Decoder,
    Dtype,
    fan_in_uniform,
    leaky_relu,
)
from jaxfer.models.layers import Conv, conv_norm
from jaxfer.models.outputs import Outputs

LEVELS = (128, 256, 512)
DISCRIMINATOR = (64, 128, 256, 512)
FEATURE_SHARING = ("flu", "hard", "none")
REDUCTION = 32
"""How often the innermost features are smaller than the image."""


class FERSNet(nn.Module):
    """The network of both tasks (53.98 M parameters at K = 6).

    Each task has a branch of three levels. With `feature_sharing="flu"`, the paper's,
    a `ConvFLU` in each direction exchanges features after every level. The ablations:
    "hard" leaves these units out, so that the tasks share the stem and the joint block
    alone (the slides call this hard sharing and do not say which layers it shares);
    "none" is recognition alone, without second branch and decoder, and with a joint
    block of half the channels.

    The noise in the decoder is drawn from the rng "noise" and absent without one, as
    it should be where the answer must be reproducible. Weights of the released code
    expect images in OpenCV's channel order, BGR.

    Attributes:
      num_classes: K.
      feature_sharing: "flu", "hard" or "none".
      width: multiplies every channel, to multiples of 8.
      momentum: of batch norm's running statistics, 0.9 as released; trainings of a
        few hundred steps want less.
      fused: whether batch norms are folded into the convolutions before them, by
        `jaxfer.models.fuse.fuse`; for inference alone.
      dtype: of the computation up to the logits and the image, which are at least
        float32; None keeps the input's.

    Raises:
      ConfigError: `feature_sharing` is unknown, `width` is not positive, 32 does not
        divide the image, the target is not (B, K), or there is one with
        `feature_sharing="none"`.
    """

    num_classes: int
    feature_sharing: str = "flu"
    width: float = 1.0
    momentum: float = 0.9
    fused: bool = False
    dtype: Dtype = None

    def __post_init__(self) -> None:
        if self.feature_sharing not in FEATURE_SHARING:
            raise ConfigError(
                "fersnet feature_sharing must be one of "
                f"{', '.join(FEATURE_SHARING)}, got {self.feature_sharing!r}"
            )
        check_width("fersnet", self.width)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: jax.Array, target: jax.Array | None = None, train: bool = False
    ) -> Outputs:
        """Recognise the expression, and draw the face with another one.

        Args:
          images: (B, H, W, 3) in [0, 1], 96 x 96 in the paper.
          target: (B, K), the expression to draw, one-hot; None leaves the decoder
            out. `init` makes the decoder's parameters either way.
          train: whether batch norm uses and records the batch's statistics.

        Returns:
          `logits`; `features` pooled, which the logits are linear in; `images`
          synthesised, not limited to [0, 1], if there is a target; `maps` the gates
          leaky_xy1, memory_xy1, leaky_yx1 and so on of levels 1 to 3, where xy
          is what recognition takes from synthesis.
        """
        self._check(images, target)
        if self.dtype is not None:
            images = images.astype(self.dtype)
        conv = partial(
            conv_norm,
            kernel_size=(3, 3),
            train=train,
            fused=self.fused,
            momentum=self.momentum,
            use_bias=True,
            dtype=self.dtype,
            kernel_init=fan_in_uniform,
        )
        x = conv(images, scaled_nearest(STEM, self.width), name="stem_conv")
        x, skips, maps = self._branches(_halve(nn.relu(x)), train)
        x, y = self._joint(x, skips[-1], train)
        pooled = conv(x, x.shape[-1], name="classifier_conv")
        pooled = ops.global_avg_pool(nn.relu(pooled))
        wide = np.promote_types(pooled.dtype, np.float32)
        logits = nn.Dense(
            self.num_classes, dtype=wide, kernel_init=fan_in_uniform, name="logits"
        )(pooled)
        if self.is_initializing() and target is None:
            target = jnp.zeros_like(logits)
        faces = {}
        if target is not None and y is not None:
            decoder = Decoder(self.width, self.dtype, name="decoder")
            faces["synthesised"] = decoder(y, skips, target).astype(wide)
        return Outputs(logits, features={"pooled": pooled}, maps=maps, images=faces)

    def _branches(
        self, x: jax.Array, train: bool
    ) -> tuple[jax.Array, list[jax.Array], dict[str, jax.Array]]:
        """Both branches: recognition's last features, synthesis' ones, the gates."""
        y, skips, maps = x, [x], {}
        for level, channels in enumerate(LEVELS, start=1):
            width = scaled_nearest(channels, self.width)
            x = _halve(self._block(f"x{level}", width)(x, train))
            if self.feature_sharing == "none":
                continue
            block = self._block(f"y{level}", width, norm="instance")
            y = _halve(block(y, train))
            if self.feature_sharing == "flu":
                from_y = ConvFLU(self.dtype, name=f"flu_xy{level}")(x, y)
                from_x = ConvFLU(self.dtype, name=f"flu_yx{level}")(y, x)
                x, maps[f"leaky_xy{level}"], maps[f"memory_xy{level}"] = from_y
                y, maps[f"leaky_yx{level}"], maps[f"memory_yx{level}"] = from_x
            skips.append(y)
        return x, skips, maps

    def _joint(
        self, x: jax.Array, y: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array | None]:
        """The block of both tasks; the classifier's and the decoder's half."""
        alone = self.feature_sharing == "none"
        both = x if alone else jnp.concatenate([x, y], axis=-1)
        both = self._block("joint", both.shape[-1], project=False)(both, train)
        both = _halve(both)
        if alone:
            return both, None
        x, y = jnp.split(both, 2, axis=-1)
        return x, y

    def _block(
        self, name: str, features: int, norm: str = "batch", project: bool = True
    ) -> BasicBlock:
        return BasicBlock(
            features, norm, project, self.momentum, self.fused, self.dtype, name=name
        )

    def _check(self, images: jax.Array, target: jax.Array | None) -> None:
        height, width = images.shape[1:3]
        if height % REDUCTION or width % REDUCTION:
            raise ConfigError(
                f"fersnet halves images {REDUCTION.bit_length() - 1} times; "
                f"{height} x {width} images cannot be: use sizes that {REDUCTION} "
                "divides"
            )
        if target is None:
            return
        if self.feature_sharing == "none":
            raise ConfigError(
                "fersnet with feature_sharing='none' draws no faces: pass no target, "
                "or choose 'flu' or 'hard'"
            )
        _check_target("fersnet", target, images, self.num_classes)


class FERSNetDiscriminator(nn.Module):
    """Whether each patch of a face is real and shows the expression (2.77 M, K = 6).

    Attributes:
      num_classes: K.
      width: multiplies every channel, to multiples of 8.
      dtype: of the computation up to the map, which is at least float32; None keeps
        the input's.

    Raises:
      ConfigError: `width` is not positive, or the target is not (B, K).

    References:
      Isola et al., Image-to-Image Translation with Conditional Adversarial Networks,
      CVPR 2017, section 3.2.2 (PatchGAN).
    """

    num_classes: int
    width: float = 1.0
    dtype: Dtype = None

    def __post_init__(self) -> None:
        check_width("fersnet_discriminator", self.width)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, images: jax.Array, target: jax.Array, train: bool = False
    ) -> Outputs:
        """Judge images, real or synthesised.

        Args:
          images: (B, H, W, 3).
          target: (B, K), the expression that they should show, one-hot.
          train: changes nothing; there for the common signature.

        Returns:
          `maps` validity (B, H / 16, W / 16, 1), without final activation; `logits`
          (B, 1), its mean.
        """
        del train
        _check_target("fersnet_discriminator", target, images, self.num_classes)
        dtype = images.dtype if self.dtype is None else self.dtype
        labels = jnp.broadcast_to(
            target[:, None, None, :].astype(dtype),
            (*images.shape[:3], self.num_classes),
        )
        x = jnp.concatenate([images.astype(dtype), labels], axis=-1)
        for i, channels in enumerate(DISCRIMINATOR):
            x = Conv(
                scaled_nearest(channels, self.width),
                (4, 4),
                strides=2,
                padding=1,
                kernel_init=fan_in_uniform,
                name=f"conv{i + 1}",
            )(x)
            x = leaky_relu(x if i == 0 else ops.instance_norm(x))
        # One row and column of zeros more before than after: the size stays.
        x = Conv(
            1,
            (4, 4),
            padding=((2, 1), (2, 1)),
            kernel_init=fan_in_uniform,
            name="validity",
        )(x)
        x = x.astype(np.promote_types(x.dtype, np.float32))
        return Outputs(ops.global_avg_pool(x), maps={"validity": x})


def _halve(x: jax.Array) -> jax.Array:
    return ops.max_pool(x, 2, strides=2)


def _check_target(
    model: str, target: jax.Array, images: jax.Array, num_classes: int
) -> None:
    expected = (images.shape[0], num_classes)
    if target.shape != expected:
        raise ConfigError(
            f"{model} expects a one-hot target {expected}, one row for each image, "
            f"got {target.shape}"
        )
