"""Names of PyTorch checkpoints of ResNet, MobileNetV2, VGG-16 and EAC.

Known are the names of torchvision, of timm (those of its ResNets are torchvision's,
and so are those of the VGGFace2 files), of EAC's released code, and of VGG-Face.
Which of them a file uses is seen from its names.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxfer import models
from jaxfer.models import mobilenet, vgg
from jaxfer.weights.mapping import (
    KEEP,
    TORCH_CONV,
    TORCH_LINEAR,
    Arrays,
    Entry,
    Variables,
    convert,
)

Names = Callable[[str], str]
"""Our module, e.g. `trunk/layer1_0/conv1`, to theirs, e.g. `layer1.0.conv1`."""

LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
CLASSIFIER = re.compile(r"(fc[678]?|classifier|pre_logits|head)\.")
"""Beginnings of the names of classifiers."""


def resnet18(arrays: Arrays, **options: Any) -> Variables:
    """Variables of `resnet18`; see `resnet50`."""
    return _convert("resnet18", arrays, (_resnet, _released_resnet), **options)


def resnet50(arrays: Arrays, **options: Any) -> Variables:
    """Variables of `resnet50` from torchvision's, timm's or VGGFace2's names.

    torchvision's and timm's weights expect RGB images in [0, 1], less the mean
    (0.485, 0.456, 0.406), over the deviation (0.229, 0.224, 0.225). VGGFace2's want
    `stem="vggface2"`, and BGR images in [0, 255] less (91.4953, 103.8827, 131.0912),
    though EAC's authors feed them as torchvision's.

    Args:
      arrays: by PyTorch name, e.g. `layer1.0.conv1.weight`.
      **options: those of the model; `num_classes`, else taken from the arrays; and
        `trunk_only`, to leave out the classifier: its arrays are dropped, and the
        result holds `trunk` alone, to be laid over fresh variables.
    """
    return _convert("resnet50", arrays, (_resnet, _released_resnet), **options)


def mobilenet_v2(arrays: Arrays, **options: Any) -> Variables:
    """Variables of `mobilenet_v2` from torchvision's or timm's names.

    Both expect images as `resnet50` says.

    Args:
      arrays: by PyTorch name, e.g. `features.1.conv.1.weight` (torchvision) or
        `blocks.0.0.conv_pw.weight` (timm).
      **options: as for `resnet50`.
    """
    return _convert("mobilenet_v2", arrays, MOBILENET, **options)


def eac(arrays: Arrays, **options: Any) -> Variables:
    """Variables of `eac` from the released code's names, or those of its backbone.

    Args:
      arrays: by PyTorch name, e.g. `features.4.0.conv1.weight`.
      **options: as for `resnet50`, `backbone` among them.
    """
    mobile = options.get("backbone") == "mobilenet_v2"
    dialects = MOBILENET if mobile else (_released_resnet, _resnet)
    return _convert("eac", arrays, dialects, **options)


def vgg16(arrays: Arrays, **options: Any) -> Variables:
    """Variables of `vgg16` from torchvision's or VGG-Face's names.

    torchvision's expect images as `resnet50` says; VGG-Face's, RGB images in
    [0, 255] less the mean (129.1863, 104.7624, 93.5940).

    Args:
      arrays: by PyTorch name, e.g. `features.0.weight` (torchvision) or
        `conv1_1.weight` (VGG-Face).
      **options: as for `resnet50`.
    """
    dialects = (_torchvision_vgg, _vgg_face)
    return _convert("vgg16", arrays, dialects, last="fc8", **options)


def _convert(
    name: str,
    arrays: Arrays,
    dialects: Sequence[Names],
    *,
    last: str = "classifier",
    num_classes: int | None = None,
    trunk_only: bool = False,
    **options: Any,
) -> Variables:
    """Fill a model from arrays, by the dialect that explains most of their names."""
    biases = [arrays.get(f"{names(last)}.bias") for names in dialects]
    found = [len(bias) for bias in biases if bias is not None and bias.ndim == 1]
    classes = num_classes or next(iter(found), 1)
    model = models.create(name, classes, **options)
    template = jax.eval_shape(
        model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3), jnp.float32)
    )
    if trunk_only:
        template = {kind: {"trunk": tree["trunk"]} for kind, tree in template.items()}
        arrays = {
            name: array for name, array in arrays.items() if not CLASSIFIER.match(name)
        }
    # Where names of none are in the file, that of the most similar ones.
    parts = {name.partition(".")[0] for name in arrays}
    entries = max(
        (_entries(template, names) for names in dialects),
        key=lambda entries: (
            sum(entry.official in arrays for entry in entries),
            sum(entry.official.partition(".")[0] in parts for entry in entries),
        ),
    )
    return convert(name, entries, arrays, template)


def _entries(template: Variables, names: Names) -> list[Entry]:
    layouts = {4: TORCH_CONV, 2: TORCH_LINEAR, 1: KEEP}
    entries = []
    for path, leaf in traverse_util.flatten_dict(template).items():
        official = f"{names('/'.join(path[1:-1]))}.{LEAVES[path[-1]]}"
        entries.append(Entry(official, "/".join(path), layouts[leaf.ndim]))
    return entries


def _resnet(module: str) -> str:
    if module == "classifier":
        return "fc"
    module = module.removeprefix("trunk/").replace("/", ".")
    module = re.sub(r"^layer(\d)_", r"layer\1.", module)
    return module.replace("downsample_conv", "downsample.0").replace(
        "downsample_bn", "downsample.1"
    )


def _released_resnet(module: str) -> str:
    """EAC's: the layers of the trunk counted, with ReLU and pool."""
    places = {"conv1": 0, "bn1": 1, **{f"layer{i}": i + 3 for i in range(1, 5)}}
    first, dot, rest = _resnet(module).partition(".")
    return f"features.{places[first]}{dot}{rest}" if first in places else first


def _torchvision_mobilenet(module: str) -> str:
    if module == "classifier":
        return "classifier.1"
    block, role, part = _mobilenet_place(module)
    index = ("conv", "bn").index(part)
    if block == 0:
        last = sum(count for _, _, count, _ in mobilenet.BLOCKS) + 1
        return f"features.{0 if role == 'stem' else last}.{index}"
    roles = ("expand", "depthwise", "project")[block == 1 :]
    if role == "project":  # without activation, hence not in a group of its own
        return f"features.{block}.conv.{len(roles) - 1 + index}"
    return f"features.{block}.conv.{roles.index(role)}.{index}"


def _eac_mobilenet(module: str) -> str:
    return "fc" if module == "classifier" else _torchvision_mobilenet(module)


def _timm_mobilenet(module: str) -> str:
    if module == "classifier":
        return "classifier"
    block, role, part = _mobilenet_place(module)
    if block == 0:
        names = {"stem": ("conv_stem", "bn1"), "head": ("conv_head", "bn2")}
        return names[role][part == "bn"]
    counts = enumerate(count for _, _, count, _ in mobilenet.BLOCKS)
    places = [(stage, index) for stage, count in counts for index in range(count)]
    stage, index = places[block - 1]
    roles = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
    if block == 1:
        roles = {"depthwise": "conv_dw", "project": "conv_pw"}
    name = roles[role] if part == "conv" else f"bn{list(roles).index(role) + 1}"
    return f"blocks.{stage}.{index}.{name}"


def _mobilenet_place(module: str) -> tuple[int, str, str]:
    """Block, or 0 outside them; what the convolution is for; conv or bn."""
    *block, layer = module.removeprefix("trunk/").split("/")
    role, part = layer.split("_")
    return int(block[0].removeprefix("block")) if block else 0, role, part


MOBILENET: tuple[Names, ...] = (_torchvision_mobilenet, _eac_mobilenet, _timm_mobilenet)


def _torchvision_vgg(module: str) -> str:
    dense = {"fc6": 0, "fc7": 3, "fc8": 6}
    if module in dense:
        return f"classifier.{dense[module]}"
    block, index = map(int, module.removeprefix("trunk/conv").split("_"))
    before = sum(2 * count + 1 for _, count in vgg.BLOCKS[: block - 1])
    return f"features.{before + 2 * (index - 1)}"


def _vgg_face(module: str) -> str:
    return module.removeprefix("trunk/")
