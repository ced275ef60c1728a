"""EAC: erasing attention consistency, the network.

Zhang et al., Learn from All: Erasing Attention Consistency for Noisy Label Facial
Expression Recognition, ECCV 2022, https://arxiv.org/abs/2207.10299. A backbone, the
mean over its last feature map, a linear classifier, and the class activation maps
whose consistency under a flip is asked for in training.
"""

import jax
from flax import linen as nn

from jaxfer import ops
from jaxfer.errors import ConfigError
from jaxfer.models.backbone import check_width, classify
from jaxfer.models.mobilenet import MobileNetV2Trunk
from jaxfer.models.outputs import Outputs
from jaxfer.models.resnet import ResNetTrunk, check_stem

Dtype = jax.typing.DTypeLike | None

BACKBONES = ("resnet50", "resnet18", "mobilenet_v2")


class EAC(nn.Module):
    """A backbone with a linear classifier and class activation maps.

    23.52 M parameters with ResNet-50 at K = 7, 2.23 M with MobileNetV2. The released
    code has ResNet-50; the other backbones are put in its place.

    Attributes:
      num_classes: K.
      backbone: "resnet50", "resnet18" or "mobilenet_v2".
      stem: of a ResNet, see `ResNetTrunk`; None is "vggface2" for resnet50, as
        released, and "torchvision" for the others.
      detach_classifier: keep the gradient of the maps from the classifier's kernel,
        as the released code does; it reaches the features alone.
      width: multiplies every channel of the backbone, to multiples of 8.
      small_images: a stem for images of 32 to 64 pixels.
      momentum: of batch norm's running statistics.
      fused: whether batch norms are folded into the convolutions before them, by
        `jaxfer.models.fuse.fuse`; for inference alone.
      dtype: of the computation up to logits and maps, which are at least float32;
        None keeps the input's.

    Raises:
      ConfigError: `backbone` or `stem` is unknown, they do not go together, or
        `width` is not positive.
    """

    num_classes: int
    backbone: str = "resnet50"
    stem: str | None = None
    detach_classifier: bool = True
    width: float = 1.0
    small_images: bool = False
    momentum: float = 0.9
    fused: bool = False
    dtype: Dtype = None

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ConfigError(
                f"eac backbone must be one of {', '.join(BACKBONES)}, "
                f"got {self.backbone!r}"
            )
        if self.stem is not None:
            check_stem("eac", self.stem)
        if self.backbone == "mobilenet_v2" and self.stem == "vggface2":
            raise ConfigError(
                "eac stem 'vggface2' is a kind of ResNet; with backbone "
                "'mobilenet_v2' leave the stem out"
            )
        check_width("eac", self.width)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Score images and say where each class is seen.

        Args:
          images: (B, H, W, 3), 224 x 224 as released.
          train: whether batch norm uses and records the batch's statistics.

        Returns:
          `logits`; `features` map (B, H', W', C) and pooled (B, C); `maps` attention
          (B, H', W', K), M_k(h, w) = sum_c W_kc F_c(h, w), without the bias.
        """
        features = self._trunk()(images, train)
        outputs = classify(self.num_classes, features)
        kernel = self.variables["params"]["classifier"]["kernel"]
        if self.detach_classifier:
            kernel = jax.lax.stop_gradient(kernel)
        attention = ops.class_activation_map(features, kernel)
        return outputs._replace(maps={"attention": attention})

    def _trunk(self) -> nn.Module:
        shared = {
            "width": self.width,
            "small_images": self.small_images,
            "momentum": self.momentum,
            "fused": self.fused,
            "dtype": self.dtype,
            "name": "trunk",
        }
        if self.backbone == "mobilenet_v2":
            return MobileNetV2Trunk(**shared)
        depth = int(self.backbone.removeprefix("resnet"))
        default = "vggface2" if depth == 50 else "torchvision"
        return ResNetTrunk(depth, self.stem or default, **shared)
