"""LFN and LFNSB: a lightweight facial network with spatial bias.

A Lightweight Model Enhancing Facial Expression Recognition with Spatial Bias and
Cosine-Harmony Loss, preprint, 2024. Layers and order follow the released PyTorch
code, which its table 1 describes but for one row: the nine residual blocks at a
quarter of the input's side keep 64 channels, where the table prints 128. Images are
normalised by ImageNet's mean and standard deviation, 112 x 112 in the paper.

`LFNSB` with the released head has 2,676,147 parameters at K = 7 (the released code
has 14 more in a batch norm that it never calls: 2,676,161) and takes 387.24 million
multiply-adds. The paper prints 2.676 M and 397.35 MFLOPs: of parameters, it is the
network without concatenation that matches. With `head="paper"` there are 2.677 M and
387.36 M, and with the larger spatial bias that the released code leaves unused
(`bias_size=7, bias_channels=256`) 2.735 M and 391.66 M: of operations, no reading gives
its figure (`jaxfer.models.counts` counts ours).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxfer import ops
from jaxfer.errors import ConfigError
from jaxfer.models.backbone import scaled_nearest
from jaxfer.models.lfn_blocks import (
    ConvBN,
    MixBottleneck,
    RepVGGDW,
    Split,
)
from jaxfer.models.outputs import Outputs
from jaxfer.models.spatial_bias import SpatialBias

Dtype = jax.typing.DTypeLike | None


class Stage(NamedTuple):
    """A bottleneck that halves the image, and residual ones after it."""

    name: str
    features: int
    down: Split
    repeats: int
    split: Split


STAGES = (
    Stage("3", 64, ((3, 64), (5, 32)), 9, ((3, 96),)),
    Stage("4", 128, ((3, 128), (5, 64)), 16, ((3, 192),)),
    Stage("5", 256, ((3, 256), (5, 256), (7, 256)), 6, ((3, 172), (5, 170))),
)
# Equal blocks are traced once, which takes a third of the time, and compiled once
# where the network is applied outside of a compiled function.
Bottleneck = nn.jit(MixBottleneck, static_argnums=(2,))


def scaled(channels: int, width: float) -> int:
    """`channels` if `width` is 1, else `channels * width` to a multiple of 8."""
    return channels if width == 1 else scaled_nearest(channels, width)


class Backbone(nn.Module):
    """The layers of LFN up to its feature map, a 16th of the image's sides.

    Attributes:
      stem_stride: 2 as published; 1 keeps the resolution for small images.
      width: multiplies the channels.
      depth: multiplies the number of residual bottlenecks, at least one a stage.
      fused: whether batch norms are folded into the convolutions.
      dtype: of the computation; None keeps the input's.
    """

    stem_stride: int = 2
    width: float = 1.0
    depth: float = 1.0
    fused: bool = False
    dtype: Dtype = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map (B, H, W, 3) to (B, H / 16, W / 16, 256), at `stem_stride` 2."""

        def split(pairs: Split) -> Split:
            return tuple((size, scaled(c, self.width)) for size, c in pairs)

        conv = partial(ConvBN, fused=self.fused, dtype=self.dtype)
        bottleneck = partial(Bottleneck, fused=self.fused, dtype=self.dtype)
        stem = scaled(64, self.width)
        x = x if self.dtype is None else x.astype(self.dtype)
        x = conv(stem, (3, 3), self.stem_stride, name="conv1")(x, train)
        x = conv(stem, (3, 3), depthwise=True, name="conv2")(x, train)
        for stage, features, down, repeats, kernels in STAGES:
            features = scaled(features, self.width)
            x = bottleneck(features, split(down), 2, name=f"down{stage}")(x, train)
            for i in range(max(1, round(repeats * self.depth))):
                block = bottleneck(
                    features,
                    split(kernels),
                    residual=True,
                    name=f"stage{stage}_{i}",
                )
                x = block(x, train)
        return RepVGGDW(self.fused, self.dtype, name="conv6")(x, train)


class LFN(nn.Module):
    """The face-recognition network of which LFNSB takes the backbone (2.736 M).

    After the backbone, a depthwise convolution as large as the map and batch norm, a
    linear layer and batch norm, divided by its Euclidean norm. That norm is kept from
    being smaller than 1e-12, which the released code does not do.

    Pretrained on identities by a loss with a margin (`losses.angular_margin_logits`,
    given the embedding and the parameter `identities`), its `backbone` fits LFNSB's.

    Attributes:
      num_classes: K, the identities; 0 for the embedding alone, as released.
      embedding_size: of the embedding; None is 256 times `width`.
      stem_stride: of the first convolution; 1 keeps the resolution of small images.
      width: multiplies every channel, to multiples of 8.
      depth: multiplies the number of residual bottlenecks, at least one a stage.
      fused: whether batch norms are folded into the convolutions before them, by
        `jaxfer.models.fuse.fuse`; for inference alone.
      dtype: of the computation up to the embedding, which is at least float32; None
        keeps the input's.

    Raises:
      ConfigError: `stem_stride` is neither 1 nor 2, or `width` is not positive.
    """

    num_classes: int = 0
    embedding_size: int | None = None
    stem_stride: int = 2
    width: float = 1.0
    depth: float = 1.0
    fused: bool = False
    dtype: Dtype = None

    def __post_init__(self) -> None:
        _check("lfn", self.stem_stride, self.width)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Embed images.

        Args:
          images: (B, H, W, 3). The depthwise kernel has the size of the last map, so
            that variables belong to one size of images.
          train: whether batch norm uses and records the batch's statistics.

        Returns:
          `features`: map (B, H / 16, W / 16, 256), pooled (B, 256) and embedding
          (B, `embedding_size`), of norm 1; `logits` its cosines (B, K) with the
          identities, or without any the embedding.
        """
        x = _backbone(self)(images, train)
        size = self.embedding_size or scaled(256, self.width)
        y = ConvBN(
            x.shape[-1],
            x.shape[1:3],
            padding="VALID",
            depthwise=True,
            fused=self.fused,
            dtype=self.dtype,
            name="conv6_dw",
        )(x, train)
        y = ConvBN(size, fused=self.fused, dtype=self.dtype, name="linear")(y, train)
        y = y.reshape(-1, size).astype(np.promote_types(y.dtype, np.float32))
        norm = jnp.sum(jnp.square(y), axis=-1, keepdims=True)
        embedding = y * jax.lax.rsqrt(jnp.maximum(norm, 1e-24))
        features = {"map": x, "pooled": ops.global_avg_pool(x), "embedding": embedding}
        if not self.num_classes:
            return Outputs(embedding, features=features)
        normal = nn.initializers.normal(0.01)
        identities = self.param("identities", normal, (self.num_classes, size))
        identities = identities.astype(embedding.dtype)
        norm = jnp.sum(jnp.square(identities), axis=-1, keepdims=True)
        identities = identities * jax.lax.rsqrt(jnp.maximum(norm, 1e-24))
        return Outputs(embedding @ identities.T, features=features)


class LFNSB(nn.Module):
    """LFN's backbone with a classifier on the spatial bias of its features.

    With `head="released"` the spatial bias alone (2 x 2 positions, 64 channels) is
    flattened and classified; the features reach the loss besides. With "paper" it is
    enlarged bilinearly to the feature map and joined to it on the channels, and the
    mean over the image is classified. The released code has a spatial bias of 7 x 7
    positions and 256 channels beside the one that it uses (`bias_size=7,
    bias_channels=256`); the paper gives neither number.

    Attributes:
      num_classes: K.
      head: "released" or "paper".
      stem_stride: of the first convolution; 1 keeps the resolution of small images.
      width: multiplies every channel, to multiples of 8.
      depth: multiplies the number of residual bottlenecks, at least one a stage.
      bias_channels: of the spatial bias, before `width`.
      bias_size: its height and width.
      spatial_bias: False classifies the mean of the features instead (the paper's
        ablation), whatever the head.
      dropout: share of the classifier's inputs set to 0 in training; wants an rng
        "dropout" then.
      fused: whether batch norms are folded into the convolutions before them, by
        `jaxfer.models.fuse.fuse`; for inference alone.
      dtype: of the computation up to the logits, which are at least float32; None
        keeps the input's.

    Raises:
      ConfigError: `head` is neither, `stem_stride` is neither 1 nor 2, `width` is not
        positive, or `dropout` is not in [0, 1).
    """

    num_classes: int
    head: str = "released"
    stem_stride: int = 2
    width: float = 1.0
    depth: float = 1.0
    bias_channels: int = 64
    bias_size: int = 2
    spatial_bias: bool = True
    dropout: float = 0.0
    fused: bool = False
    dtype: Dtype = None

    def __post_init__(self) -> None:
        if self.head not in ("released", "paper"):
            raise ConfigError(
                f"lfnsb head must be 'released' or 'paper', got {self.head!r}"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"lfnsb dropout must be in [0, 1), got {self.dropout}")
        _check("lfnsb", self.stem_stride, self.width)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Score images.

        Args:
          images: (B, H, W, 3), normalised; 112 x 112 in the paper, any size works.
          train: whether batch norm uses and records the batch's statistics, and
            dropout drops.

        Returns:
          `logits`; `features` map (B, H / 16, W / 16, 256) and pooled (B, 256), its
          mean over the image, for the Cosine-Harmony loss; `maps` spatial_bias
          (B, 2, 2, 64) by default, with the head "paper" enlarged to the map's size;
          and attention, the class activation maps of what is classified, with the
          classifier held fixed: (B, H / 16, W / 16, K), whose mean is the logit
          without the bias, with the head "paper" or no spatial bias; else
          (B, 2, 2, K), whose sum is.
        """
        x = _backbone(self)(images, train)
        pooled = ops.global_avg_pool(x)
        maps, located = {}, x
        if self.spatial_bias:
            bias = SpatialBias(
                scaled(self.bias_channels, self.width),
                self.bias_size,
                fused=self.fused,
                dtype=self.dtype,
                name="spatial_bias",
            )(x, train)
            if self.head == "paper":
                shape = (*x.shape[:3], bias.shape[-1])
                bias = jax.image.resize(bias, shape, "bilinear", antialias=False)
                located = jnp.concatenate([x, bias], axis=-1)
                y = ops.global_avg_pool(located)
            else:
                located = bias
                y = bias.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
            maps["spatial_bias"] = bias
        else:
            y = pooled
        y = y.astype(np.promote_types(y.dtype, np.float32))
        if self.dropout:
            y = nn.Dropout(self.dropout, deterministic=not train)(y)
        classifier = nn.Dense(self.num_classes, dtype=y.dtype, name="logits")
        logits = classifier(y)
        kernel = jax.lax.stop_gradient(classifier.variables["params"]["kernel"])
        if kernel.shape[0] != located.shape[-1]:  # of the flattened map, as above
            _, height, width, channels = located.shape
            kernel = kernel.reshape(channels, height, width, -1).transpose(1, 2, 0, 3)
        maps["attention"] = ops.class_activation_map(
            located.astype(y.dtype), kernel.astype(y.dtype)
        )
        return Outputs(logits, features={"map": x, "pooled": pooled}, maps=maps)


def _backbone(model: LFN | LFNSB) -> Backbone:
    return Backbone(
        model.stem_stride,
        model.width,
        model.depth,
        model.fused,
        model.dtype,
        name="backbone",
    )


def _check(model: str, stem_stride: int, width: float) -> None:
    if stem_stride not in (1, 2):
        raise ConfigError(f"{model} stem_stride must be 1 or 2, got {stem_stride}")
    if not width > 0:
        raise ConfigError(f"{model} width must be positive, got {width}")
