"""Names of the released PyTorch code of LFN and LFNSB."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxfer import models
from jaxfer.models.lfn_blocks import Split
from jaxfer.models.lfnsb import STAGES
from jaxfer.weights.mapping import (
    TORCH_CONV,
    TORCH_LINEAR,
    Arrays,
    Entry,
    Variables,
    convert,
)

PLACES = ("conv1", "conv2_dw", "conv_23", "conv_3", "conv_34", "conv_4", "conv_45",
          "conv_5", "conv6_sep")  # fmt: skip
"""The released names of the backbone's parts; in LFNSB, `features.0` to `.8`."""

UNUSED = tuple(
    f"bn.{name}" for name in ("weight", "bias", "running_mean", "running_var")
)
"""A batch norm over the classes which LFNSB makes and never calls."""


def lfn(arrays: Arrays, *, num_classes: int | None = None, **options: Any) -> Variables:
    """Variables of `lfn` from the released face-recognition network's weights.

    Args:
      arrays: by PyTorch name, e.g. `conv_3.model.0.project.conv.weight`. The kernel
        `conv_6_dw.conv.weight` has the size of the last map.
      num_classes: changes nothing; the released network has no classes.
      **options: of the model.
    """
    del num_classes
    model = models.create("lfn", 0, **options)
    entries = [
        *backbone_entries(PLACES, model.depth),
        *conv_bn_entries("conv_6_dw", "conv6_dw", conv="conv"),
        Entry("linear.weight", "params/linear/conv/kernel", TORCH_LINEAR),
        *batch_norm_entries("bn", "linear/bn"),
    ]
    kernel = np.shape(arrays.get("conv_6_dw.conv.weight", ()))
    side = 8 * model.stem_stride * (kernel[2] if len(kernel) == 4 else 7)
    template = _template(model, side)
    return fill("lfn", entries, arrays, template, "params/linear/conv/kernel")


def lfnsb(
    arrays: Arrays, *, num_classes: int | None = None, **options: Any
) -> Variables:
    """Variables of `lfnsb` from the released network's weights.

    The released network makes a batch norm over its classes, `bn`, and never calls
    it: its four arrays are accepted, whatever they hold, and left out.

    Args:
      arrays: by PyTorch name, e.g. `features.3.model.0.project.conv.weight`.
      num_classes: K; None takes it from the arrays.
      **options: of the model.
    """
    bias = np.shape(arrays.get("fc.bias", ()))
    classes = num_classes or (bias[0] if len(bias) == 1 else 1)
    model = models.create("lfnsb", classes, **options)
    entries = [
        *backbone_entries([f"features.{i}" for i in range(len(PLACES))], model.depth),
        Entry("fc.weight", "params/logits/kernel", TORCH_LINEAR),
        Entry("fc.bias", "params/logits/bias"),
    ]
    narrow = []
    if model.spatial_bias:
        entries += spatial_bias_entries("sb", "spatial_bias")
        narrow = ["params/spatial_bias/mix/kernel"]
    used = {name: array for name, array in arrays.items() if name not in UNUSED}
    return fill("lfnsb", entries, used, _template(model, 112), *narrow)


def _template(model: nn.Module, side: int) -> Any:
    images = jnp.zeros((1, side, side, 3))
    return jax.eval_shape(model.init, jax.random.key(0), images)


def fill(
    name: str, entries: Sequence[Entry], arrays: Arrays, template: Any, *narrow: str
) -> Variables:
    """`convert`, where arrays lack the axes of length 1 of our kernels at `narrow`."""
    shapes = flatten_dict(template, sep="/")
    wide = {path: shapes[path].shape for path in narrow}
    for path, shape in wide.items():
        squeezed = tuple(n for n in shape if n > 1)
        shapes[path] = jax.ShapeDtypeStruct(squeezed, shapes[path].dtype)
    variables = convert(name, entries, arrays, unflatten_dict(shapes, sep="/"))
    flat = flatten_dict(variables, sep="/")
    flat |= {path: flat[path].reshape(shape) for path, shape in wide.items()}
    return unflatten_dict(flat, sep="/")


def backbone_entries(places: Sequence[str], depth: float) -> Iterator[Entry]:
    """Entries of the backbone, given the released names of its nine parts."""
    stem, stem_dw, *stages, last = places
    yield from conv_bn_entries(stem, "backbone/conv1")
    yield from conv_bn_entries(stem_dw, "backbone/conv2")
    for i, stage in enumerate(STAGES):
        down, residual = stages[2 * i : 2 * i + 2]
        yield from bottleneck_entries(down, f"backbone/down{stage.name}", stage.down)
        for j in range(max(1, round(stage.repeats * depth))):
            yield from bottleneck_entries(
                f"{residual}.model.{j}", f"backbone/stage{stage.name}_{j}", stage.split
            )
    yield from repvgg_entries(last, "backbone/conv6")


def repvgg_entries(official: str, ours: str) -> Iterator[Entry]:
    """Entries of a released RepVGGDW."""
    yield from conv_bn_entries(f"{official}.conv", f"{ours}/spatial")
    yield from conv_entries(f"{official}.conv1", f"{ours}/point", bias=True)
    yield from batch_norm_entries(f"{official}.bn", f"{ours}/bn")


def spatial_bias_entries(official: str, ours: str) -> Iterator[Entry]:
    """Entries of a released Spatial_bias; `mix/kernel` lacks the axis of length 1."""
    reduce, mix = f"{official}.feature_reduction", f"{official}.sb_conv"
    yield from conv_entries(f"{reduce}.0", f"{ours}/reduce/conv")
    yield from batch_norm_entries(f"{reduce}.1", f"{ours}/reduce/bn")
    yield Entry(f"{mix}.weight", f"params/{ours}/mix/kernel", (2, 1, 0))
    yield Entry(f"{mix}.bias", f"params/{ours}/mix/bias")


def attention_entries(official: str, ours: str) -> Iterator[Entry]:
    """Entries of a released CoordAtt."""
    yield from conv_entries(f"{official}.conv1", f"{ours}/squeeze/conv", bias=True)
    yield from batch_norm_entries(f"{official}.bn1", f"{ours}/squeeze/bn")
    yield from conv_entries(f"{official}.conv2", f"{ours}/rows", bias=True)
    yield from conv_entries(f"{official}.conv3", f"{ours}/columns", bias=True)


def bottleneck_entries(official: str, ours: str, split: Split) -> Iterator[Entry]:
    """Entries of a released Mix_Depth_Wise, `split` naming its depthwise kernels."""
    yield from conv_bn_entries(f"{official}.conv", f"{ours}/expand", conv="conv")
    yield Entry(f"{official}.conv.prelu.weight", f"params/{ours}/prelu/slope")
    for i, (size, _) in enumerate(split):
        conv = f"{official}.conv_dw.mixed_depthwise_conv.{i}"
        yield from conv_entries(conv, f"{ours}/mixed/conv{size}x{size}")
    yield from attention_entries(f"{official}.CA", f"{ours}/attention")
    yield from conv_bn_entries(f"{official}.project", f"{ours}/project", conv="conv")


def conv_bn_entries(official: str, ours: str, *, conv: str = "c") -> Iterator[Entry]:
    """Entries of a convolution and its batch norm, named `conv` and bn."""
    yield from conv_entries(f"{official}.{conv}", f"{ours}/conv")
    yield from batch_norm_entries(f"{official}.bn", f"{ours}/bn")


def conv_entries(official: str, ours: str, *, bias: bool = False) -> Iterator[Entry]:
    """Entries of a convolution."""
    yield Entry(f"{official}.weight", f"params/{ours}/kernel", TORCH_CONV)
    if bias:
        yield Entry(f"{official}.bias", f"params/{ours}/bias")


def batch_norm_entries(official: str, ours: str) -> Iterator[Entry]:
    """Entries of a batch norm."""
    yield Entry(f"{official}.weight", f"params/{ours}/scale")
    yield Entry(f"{official}.bias", f"params/{ours}/bias")
    yield Entry(f"{official}.running_mean", f"batch_stats/{ours}/mean")
    yield Entry(f"{official}.running_var", f"batch_stats/{ours}/var")
