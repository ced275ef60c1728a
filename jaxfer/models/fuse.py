"""Fold batch norms into the convolutions before them, for inference.

`fold_batch_norm` is the arithmetic for one pair; `fuse` does it for all variables of
a network built of `layers.conv_norm` and `lfn_blocks.RepVGGDW`, whose module with
`fused=True` then computes the same outputs with one convolution for each pair:

    fused = models.create("lfnsb", 7, fused=True)
    outputs = fused.apply(fuse(jax.device_get(variables)), images)

`deployed` gives both, of every network that has the attribute `fused`: ResNet,
MobileNetV2 and EAC, LFN and LFNSB, FERSNet.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from jaxfer.errors import ConfigError
from jaxfer.models.layers import CONV, norm_of

Variables = Mapping[str, Any]
Array = jax.Array | np.ndarray
Layer = Mapping[str, Array]


def fold_batch_norm(
    kernel: Array,
    bias: Array | None,
    norm: Layer,
    statistics: Layer,
    *,
    epsilon: float = 1e-5,
) -> tuple[Array, Array]:
    """The kernel and bias of BN(conv(x)): BN must follow with nothing between.

    kernel' = kernel * f and bias' = (bias - mean) * f + offset, where
    f = scale / sqrt(var + epsilon).

    A batch norm after the activation (CFNet's) would have to go into the next
    convolution, which padding with zeros and a max pool between them forbid.

    Args:
      kernel: (..., O), of a convolution (depthwise too) or a dense layer.
      bias: (O,), or None for none.
      norm: parameters `scale` (O,) and `bias` (O,); ones and zeros where missing.
      statistics: running `mean` (O,) and `var` (O,).
      epsilon: of the batch norm.

    Returns:
      A kernel like `kernel`, and a bias (O,).

    References:
      Jacob et al., Quantization and training of neural networks for efficient
      integer-arithmetic-only inference, CVPR 2018.
    """
    factor = (statistics["var"] + epsilon) ** -0.5
    if "scale" in norm:
        factor = factor * norm["scale"]
    offset = -statistics["mean"] if bias is None else bias - statistics["mean"]
    offset = offset * factor
    if "bias" in norm:
        offset = offset + norm["bias"]
    return kernel * factor.reshape(*(1,) * (kernel.ndim - 1), -1), offset


def deployed(network: nn.Module) -> tuple[nn.Module, Callable[[Any], Any]]:
    """A network as it answers, and the function that makes its variables.

    Args:
      network: in training.

    Returns:
      The network with `fused=True`, and `fuse` on the host; where it has no such
      attribute, the network itself, and a function that changes nothing.
    """
    if hasattr(network, "fused"):
        # On a device, hundreds of small operations would be compiled one by one.
        return network.clone(fused=True), lambda v: fuse(jax.device_get(v))
    return network, lambda variables: variables


def fuse(variables: Variables, *, epsilon: float = 1e-5) -> dict[str, Any]:
    """Variables of the fused network from those of the trained one.

    A pure function. It can be compiled; not compiled it is quickest with NumPy arrays
    (`jax.device_get(variables)`), which stay NumPy arrays. A batch norm is known by the
    name that `layers.norm_of` gives it, a `RepVGGDW` by its children `spatial`, `point`
    and `bn`.

    Args:
      variables: `params` and `batch_stats` of a network with `fused=False`.
      epsilon: of its batch norms.

    Returns:
      `params` for the same network with `fused=True`, which has no `batch_stats`.

    Raises:
      ConfigError: there is a batch norm of another kind, which cannot be folded so.
    """
    statistics = variables.get("batch_stats", {})
    return {"params": _fuse(variables["params"], statistics, epsilon, ())}


def _fuse(
    params: Variables, statistics: Variables, epsilon: float, path: tuple[str, ...]
) -> dict[str, Any]:
    if set(params) == {"spatial", "point", "bn"}:
        return {"conv": _fold_depthwise(params, statistics, epsilon)}
    norms = {name for name, child in statistics.items() if "mean" in child}
    pairs = {name: norm_of(name) for name in params if CONV.fullmatch(name)}
    for norm in sorted(norms - set(pairs.values())):
        raise ConfigError(
            f"cannot fuse the batch norm at {'/'.join((*path, norm))}: only one that "
            "directly follows its convolution can be folded, made with it by "
            "layers.conv_norm; use this network unfused"
        )
    fused: dict[str, Any] = {}
    for name, child in params.items():
        if name in norms:
            continue
        norm = pairs.get(name, "")
        if norm in norms:
            fused[name] = _fold(child, params.get(norm, {}), statistics[norm], epsilon)
        elif isinstance(child, Mapping):
            fused[name] = _fuse(child, statistics.get(name, {}), epsilon, (*path, name))
        else:
            fused[name] = child
    return fused


def _fold(
    conv: Layer, norm: Layer, statistics: Layer, epsilon: float
) -> dict[str, Array]:
    kernel, bias = fold_batch_norm(
        conv["kernel"], conv.get("bias"), norm, statistics, epsilon=epsilon
    )
    return {"kernel": kernel, "bias": bias}


def _fold_depthwise(
    params: Variables, statistics: Variables, epsilon: float
) -> dict[str, Array]:
    """BN(BN(3x3) + 1x1 + identity) as one 3x3: both are kernels of its centre."""
    spatial, point = params["spatial"], params["point"]
    inner = _fold(spatial["conv"], spatial["bn"], statistics["spatial"]["bn"], epsilon)
    centre = np.zeros((3, 3, 1, 1), inner["kernel"].dtype)
    centre[1, 1] = 1
    whole = {
        "kernel": inner["kernel"] + centre * (point["kernel"] + 1),
        "bias": inner["bias"] + point["bias"],
    }
    return _fold(whole, params["bn"], statistics["bn"], epsilon)
