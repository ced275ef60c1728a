"""Names of the released PyTorch code of FERSNet and of its discriminator."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxfer import models
from jaxfer.errors import WeightsError
from jaxfer.models.fersnet import REDUCTION
from jaxfer.weights.mapping import (
    TORCH_CONV,
    TORCH_LINEAR,
    Arrays,
    Entry,
    Variables,
    convert,
)

BATCH_NORM = {
    "weight": "params/{}/scale",
    "bias": "params/{}/bias",
    "running_mean": "batch_stats/{}/mean",
    "running_var": "batch_stats/{}/var",
}

UPS = {0: "up4", 7: "up3", 14: "up2", 21: "up1"}
CONVS = {1: "conv4a", 4: "conv4b", 8: "conv3a", 11: "conv3b", 15: "conv2a"}
CONVS |= {18: "conv2b", 22: "conv1a", 25: "conv1b", 31: "conv0a", 34: "conv0b"}
"""Our names of the decoder's modules, by their index in the released list."""

PATCH_CONVS = {0: "conv1", 2: "conv2", 5: "conv3", 8: "conv4", 12: "validity"}
"""Our names of the discriminator's layers, by their index in the released list."""


def fersnet(
    arrays: Arrays, *, num_classes: int | None = None, **options: Any
) -> Variables:
    """Variables of `fersnet` from the released network's weights.

    They expect images in OpenCV's channel order, BGR.

    Args:
      arrays: by PyTorch name, e.g. `leakyunitxy1.W_r.weight`.
      num_classes: K; None takes it from the arrays.
      **options: of the model.

    Raises:
      WeightsError: the model is an ablation, for which nothing was released.
    """
    if options.get("feature_sharing", "flu") != "flu":
        raise WeightsError(
            "the released weights of fersnet belong to feature_sharing='flu', got "
            f"{options['feature_sharing']!r}: train the ablation instead"
        )
    classes = num_classes or _length(arrays, "classifier.classifier.bias")
    model = models.create("fersnet", classes, **options)
    template = _template(model, classes)
    return convert("fersnet", fersnet_entries(), arrays, template)


def fersnet_discriminator(
    arrays: Arrays, *, num_classes: int | None = None, **options: Any
) -> Variables:
    """Variables of `fersnet_discriminator` from the released network's weights.

    Args:
      arrays: by PyTorch name, e.g. `model.0.weight`.
      num_classes: K; None takes it from the arrays.
      **options: of the model.
    """
    first = arrays.get("model.0.weight")
    found = first.shape[1] - 3 if first is not None and first.ndim == 4 else 1
    classes = num_classes or max(found, 1)
    model = models.create("fersnet_discriminator", classes, **options)
    template = _template(model, classes)
    return convert("fersnet_discriminator", discriminator_entries(), arrays, template)


def fersnet_entries() -> list[Entry]:
    """The name map of the recogniser and generator."""
    entries = [*layer("stem.0", "stem_conv", bias=True), *norm("stem.1", "stem_bn")]
    for level in (1, 2, 3):
        entries += block(f"conv{level}x", f"x{level}", norms=True, project=True)
        entries += block(f"conv{level}y", f"y{level}", norms=False, project=True)
        for way in ("xy", "yx"):
            for name in ("W_r", "W", "U", "W_z"):
                official = f"leakyunit{way}{level}.{name}"
                entries += layer(official, f"flu_{way}{level}/{name}")
    entries += block("conv4xy", "joint", norms=True, project=False)
    entries += layer("classifier.pooling.0", "classifier_conv", bias=True)
    entries += norm("classifier.pooling.1", "classifier_bn")
    entries += layer("classifier.classifier", "logits", TORCH_LINEAR, bias=True)
    entries += transform("decoder.transform", "decoder/transform")
    for index, ours in UPS.items():
        official = f"decoder.module.{index}"
        entries += layer(f"{official}.model.0", f"decoder/{ours}/up")
        entries += transform(f"{official}.transform", f"decoder/{ours}/transform")
    for index, ours in CONVS.items():
        entries += layer(f"decoder.module.{index}", f"decoder/{ours}", bias=True)
    entries += layer("decoder.module.28", "decoder/up0")
    entries += layer("decoder.out_layer", "decoder/out", bias=True)
    return entries


def discriminator_entries() -> list[Entry]:
    """The name map of the discriminator."""
    return [
        entry
        for index, ours in PATCH_CONVS.items()
        for entry in layer(f"model.{index}", ours, bias=True)
    ]


def layer(
    official: str,
    ours: str,
    axes: tuple[int, ...] = TORCH_CONV,
    *,
    bias: bool = False,
) -> list[Entry]:
    """Entries of a (transposed) convolution or, by its axes, a linear layer."""
    entries = [Entry(f"{official}.weight", f"params/{ours}/kernel", axes)]
    if bias:
        entries.append(Entry(f"{official}.bias", f"params/{ours}/bias"))
    return entries


def norm(official: str, ours: str) -> list[Entry]:
    """Entries of a batch norm."""
    return [
        Entry(f"{official}.{name}", path.format(ours))
        for name, path in BATCH_NORM.items()
    ]


def block(official: str, ours: str, *, norms: bool, project: bool) -> list[Entry]:
    """Entries of a residual block."""
    entries = []
    for i in (1, 2):
        entries += layer(f"{official}.conv{i}", f"{ours}/conv{i}")
        if norms:
            entries += norm(f"{official}.bn{i}", f"{ours}/bn{i}")
    if project:
        entries += layer(f"{official}.downsample", f"{ours}/projection")
    return entries


def transform(official: str, ours: str) -> list[Entry]:
    """Entries of a `Transform`."""
    style = layer(f"{official}.style_1d", f"{ours}/style", TORCH_LINEAR, bias=True)
    return [*style, Entry(f"{official}.noise.weight", f"params/{ours}/noise")]


def _length(arrays: Arrays, name: str) -> int:
    """Length of a vector; 1 if it is missing, which `convert` will say."""
    vector = arrays.get(name)
    return len(vector) if vector is not None and vector.ndim == 1 else 1


def _template(model: Any, classes: int) -> Any:
    images = jnp.zeros((1, REDUCTION, REDUCTION, 3))
    target = jnp.zeros((1, classes))
    return jax.eval_shape(model.init, jax.random.key(0), images, target)
