"""What the networks in PyTorch share; modules bear the names they have in Flax."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import cases


def scaled(channels: int, width: float) -> int:
    """`channels * width` to a multiple of 8, as in the Flax models that this is for."""
    return channels if width == 1 else max(8, 8 * round(channels * width / 8))


def conv(
    inputs: int, outputs: int, size: int, stride: int = 1, *, bias: bool = True,
    groups: int = 1,
) -> nn.Conv2d:  # fmt: skip
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=bias)


def max_pool_same(x: Tensor, window: int, stride: int) -> Tensor:
    """Padding "SAME" for windows of 3, and of 2 with stride 2 on even sizes."""
    if window == 3 and (stride == 1 or x.shape[-1] % 2):
        return F.max_pool2d(x, window, stride, padding=1)
    return F.max_pool2d(x, window, stride, ceil_mode=True)


def mean(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def fill(module: nn.Module, prefix: str) -> int:
    """Set all weights by `cases.weight`; the number of parameters."""
    for path, part in module.named_modules():
        for name, tensor in part.named_parameters(recurse=False):
            flax, order = _in_flax(part, name)
            full = "/".join([prefix, *path.split("."), flax]).replace("//", "/")
            shape = tuple(np.asarray(tensor.shape)[np.argsort(order)])
            value = cases.weight(full, tuple(int(n) for n in shape)).transpose(order)
            with torch.no_grad():
                tensor.copy_(torch.from_numpy(np.ascontiguousarray(value)))
    return sum(p.numel() for p in module.parameters())


def _in_flax(part: nn.Module, name: str) -> tuple[str, tuple[int, ...]]:
    """The name in Flax, and the axes there in PyTorch's order."""
    if name == "weight":
        if isinstance(part, nn.ConvTranspose2d | nn.Conv2d):
            return "kernel", (3, 2, 0, 1)
        if isinstance(part, nn.Linear):
            return "kernel", (1, 0)
        return ("slope" if isinstance(part, nn.PReLU) else "scale"), (0,)
    return name, tuple(range(getattr(part, name).ndim))
