"""LFNSB with the released head; see `jaxfer.models.lfnsb`."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.torch_models.layers import conv, mean, scaled

Split = tuple[tuple[int, int], ...]

STAGES = (
    ("3", 64, ((3, 64), (5, 32)), 9, ((3, 96),)),
    ("4", 128, ((3, 128), (5, 64)), 16, ((3, 192),)),
    ("5", 256, ((3, 256), (5, 256), (7, 256)), 6, ((3, 172), (5, 170))),
)
"""Name, channels, the first bottleneck's kernels, residual ones and their kernels."""


class ConvBN(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, size: int = 1, stride: int = 1, *,
        bias: bool = False, groups: int = 1,
    ):  # fmt: skip
        super().__init__()
        self.conv = conv(inputs, outputs, size, stride, bias=bias, groups=groups)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Mixed(nn.Module):
    """Depthwise convolutions of several sizes, each on its own channels."""

    def __init__(self, split: Split, stride: int):
        super().__init__()
        self.split = split
        for size, c in split:
            part = conv(c, c, size, stride, bias=False, groups=c)
            self.add_module(f"conv{size}x{size}", part)

    def forward(self, x: Tensor) -> Tensor:
        parts = x.split([c for _, c in self.split], 1)
        done = [
            self.get_submodule(f"conv{size}x{size}")(part)
            for (size, _), part in zip(self.split, parts, strict=True)
        ]
        return torch.cat(done, 1) if len(done) > 1 else done[0]


class CoordinateAttention(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        inner = max(8, channels // 32)
        self.squeeze = ConvBN(channels, inner, bias=True)
        self.rows = conv(inner, channels, 1)
        self.columns = conv(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows, columns = x.mean(3, keepdim=True), x.mean(2).unsqueeze(3)
        z = F.hardswish(self.squeeze(torch.cat([rows, columns], 2)))
        rows, columns = z.split([height, width], 2)
        columns = self.columns(columns).transpose(2, 3)
        return x * torch.sigmoid(columns) * torch.sigmoid(self.rows(rows))


class Bottleneck(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, split: Split, stride: int, residual: bool
    ):
        super().__init__()
        inner = sum(c for _, c in split)
        self.expand, self.prelu = ConvBN(inputs, inner), nn.PReLU(inner)
        self.mixed, self.attention = Mixed(split, stride), CoordinateAttention(inner)
        self.project, self.residual = ConvBN(inner, outputs), residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.attention(self.mixed(self.prelu(self.expand(x))))
        y = self.project(y)
        return x + y if self.residual else y


class RepVGGDW(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.spatial = ConvBN(channels, channels, 3, groups=channels)
        self.point = conv(channels, channels, 1, groups=channels)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.spatial(x) + self.point(x) + x)


class Backbone(nn.Module):
    def __init__(self, width: float, depth: float):
        super().__init__()
        c = scaled(64, width)
        self.conv1, self.conv2 = ConvBN(3, c, 3, 2), ConvBN(c, c, 3, groups=c)
        self.order = []
        for stage, full, down, repeats, kernels in STAGES:
            before, c = c, scaled(full, width)
            down, kernels = (
                tuple((size, scaled(n, width)) for size, n in split)
                for split in (down, kernels)
            )
            self.order.append(f"down{stage}")
            self.add_module(self.order[-1], Bottleneck(before, c, down, 2, False))
            for i in range(max(1, round(repeats * depth))):
                self.order.append(f"stage{stage}_{i}")
                self.add_module(self.order[-1], Bottleneck(c, c, kernels, 1, True))
        self.conv6 = RepVGGDW(c)
        self.channels = c

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.conv1(x))
        for name in self.order:
            x = self.get_submodule(name)(x)
        return self.conv6(x)


class SpatialBias(nn.Module):
    def __init__(self, inputs: int, channels: int):
        super().__init__()
        self.reduce, self.mix = ConvBN(inputs, channels + 2), nn.Conv2d(4, 4, (1, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(torch.relu(self.reduce(x)), 2)
        x = self.mix(x.flatten(2).transpose(1, 2).unsqueeze(2))
        return x.squeeze(2).transpose(1, 2).flatten(1)


class LFNSB(nn.Module):
    def __init__(self, classes: int, width: float, depth: float):
        super().__init__()
        channels = scaled(64, width)
        self.backbone = Backbone(width, depth)
        self.spatial_bias = SpatialBias(self.backbone.channels, channels)
        self.logits = nn.Linear(4 * channels, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.backbone(x)
        return self.logits(self.spatial_bias(x)), mean(x)


def loss(outputs: tuple[Tensor, Tensor], labels: Tensor, centers: Tensor) -> Tensor:
    """Cross-entropy and the Cosine-Harmony loss, as released, weights 1 and 0.1."""
    logits, pooled = outputs[0].float(), outputs[1].float()

    def unit(x: Tensor) -> Tensor:
        return F.normalize(x - x.mean(1, keepdim=True), dim=1)

    own = (unit(pooled) * unit(centers)[labels]).sum(1)
    intra = (1 - own).mean()
    variance = pooled.var(0).sum()
    harmony = 0.1 * intra / variance + 0.9 * intra / (centers.shape[0] - 1)
    return F.cross_entropy(logits, labels) + harmony
