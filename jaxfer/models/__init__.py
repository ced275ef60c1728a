"""Networks: one paper, one file; `create` makes them by name; blocks of LFN."""

import dataclasses
import difflib
import importlib
from collections.abc import Iterable
from typing import Any

from flax import linen as nn

from jaxfer.errors import ConfigError
from jaxfer.models.lfn_blocks import ConvBN as ConvBN
from jaxfer.models.lfn_blocks import CoordinateAttention as CoordinateAttention
from jaxfer.models.lfn_blocks import MixBottleneck as MixBottleneck
from jaxfer.models.lfn_blocks import MixedDepthwiseConv as MixedDepthwiseConv
from jaxfer.models.lfn_blocks import RepVGGDW as RepVGGDW
from jaxfer.models.outputs import Outputs as Outputs
from jaxfer.models.spatial_bias import SpatialBias as SpatialBias

REGISTRY: dict[str, tuple[str, str]] = {
    "cfnet": ("jaxfer.models.cfnet", "CFNet"),
    "cfnet_fusion": ("jaxfer.models.cfnet", "CFNetFusion"),
    "eac": ("jaxfer.models.eac", "EAC"),
    "epm": ("jaxfer.models.epm", "EPM"),
    "lfn": ("jaxfer.models.lfnsb", "LFN"),
    "lfnsb": ("jaxfer.models.lfnsb", "LFNSB"),
    "fersnet": ("jaxfer.models.fersnet", "FERSNet"),
    "fersnet_discriminator": ("jaxfer.models.fersnet", "FERSNetDiscriminator"),
    "lightcnn9": ("jaxfer.models.lightcnn", "LightCNN9"),
    "lightcnn29v2": ("jaxfer.models.lightcnn", "LightCNN29v2"),
    "mobilenet_v2": ("jaxfer.models.mobilenet", "MobileNetV2"),
    "resnet18": ("jaxfer.models.resnet", "ResNet18"),
    "resnet50": ("jaxfer.models.resnet", "ResNet50"),
    "vgg16": ("jaxfer.models.vgg", "VGG16"),
}
"""Name to module and class; the module is imported when first asked for."""


def create(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Make a network by name.

    Args:
      name: one of `REGISTRY`.
      num_classes: K, the width of the logits.
      **options: attributes of the network's class, e.g. `heads="separate"`.

    Returns:
      A Linen module; `module.apply(variables, inputs, train=False)` gives `Outputs`.

    Raises:
      ConfigError: the name, an option or the value of an option is unknown.
    """
    if name not in REGISTRY:
        raise ConfigError(f"no model is called {name!r}{_hint(name, REGISTRY)}")
    module, class_name = REGISTRY[name]
    cls = getattr(importlib.import_module(module), class_name)
    known = {f.name for f in dataclasses.fields(cls) if f.init}
    known -= {"num_classes", "parent", "name"}
    for option in options:
        if option not in known:
            raise ConfigError(
                f"model {name!r} has no option {option!r}{_hint(option, known)}"
            )
    return cls(num_classes=num_classes, **options)


def _hint(word: str, known: Iterable[str]) -> str:
    """The nearest known word, and all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1)
    nearest = f"; did you mean {near[0]!r}?" if near else ";"
    return f"{nearest} It takes {', '.join(known)}"
