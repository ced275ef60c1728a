"""EAC with ResNet-50 or MobileNetV2; see `jaxfer.models.eac`."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.torch_models.layers import conv, mean, scaled

BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""MobileNetV2: expansion, channels, repetitions, first stride."""


class Residual(nn.Module):
    """A bottleneck whose stride lies in its first convolution."""

    def __init__(self, inputs: int, inner: int, outer: int, stride: int):
        super().__init__()
        self.conv1 = conv(inputs, inner, 1, stride, bias=False)
        self.conv2 = conv(inner, inner, 3, bias=False)
        self.conv3 = conv(inner, outer, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(inner), nn.BatchNorm2d(inner)
        self.bn3 = nn.BatchNorm2d(outer)
        self.shortcut = stride > 1 or inputs != outer
        if self.shortcut:
            self.downsample_conv = conv(inputs, outer, 1, stride, bias=False)
            self.downsample_bn = nn.BatchNorm2d(outer)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.shortcut:
            x = self.downsample_bn(self.downsample_conv(x))
        return torch.relu(x + y)


class ResNetTrunk(nn.Module):
    """ResNet-50 of the VGGFace2 weights."""

    def __init__(self, width: float):
        super().__init__()
        channels = scaled(64, width)
        self.conv1 = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.blocks: list[str] = []
        for stage, count in enumerate((3, 4, 6, 3)):
            inner, outer = (scaled(n * 64 * 2**stage, width) for n in (1, 4))
            for i in range(count):
                stride = 2 if stage and not i else 1
                name = f"layer{stage + 1}_{i}"
                self.add_module(name, Residual(channels, inner, outer, stride))
                self.blocks.append(name)
                channels = outer
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return x


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self.expand_conv = conv(inputs, inner, 1, bias=False)
            self.expand_bn = nn.BatchNorm2d(inner)
        self.depthwise_conv = conv(inner, inner, 3, stride, bias=False, groups=inner)
        self.depthwise_bn = nn.BatchNorm2d(inner)
        self.project_conv = conv(inner, outputs, 1, bias=False)
        self.project_bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.expands:
            y = F.relu6(self.expand_bn(self.expand_conv(y)))
        y = F.relu6(self.depthwise_bn(self.depthwise_conv(y)))
        y = self.project_bn(self.project_conv(y))
        return x + y if self.adds else y


class MobileNetTrunk(nn.Module):
    def __init__(self, width: float):
        super().__init__()
        channels, blocks = scaled(32, width), []
        self.stem_conv = conv(3, channels, 3, 2, bias=False)
        self.stem_bn = nn.BatchNorm2d(channels)
        for expansion, full, count, stride in BLOCKS:
            for i in range(count):
                outputs, blocks = scaled(full, width), [*blocks, f"b{len(blocks)}"]
                block = InvertedResidual(
                    channels, outputs, 1 if i else stride, expansion
                )
                self.add_module(f"block{len(blocks)}", block)
                channels = outputs
        self.count, self.channels = len(blocks), scaled(1280, width)
        self.head_conv = conv(channels, self.channels, 1, bias=False)
        self.head_bn = nn.BatchNorm2d(self.channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.stem_bn(self.stem_conv(x)))
        for i in range(self.count):
            x = self.get_submodule(f"block{i + 1}")(x)
        return F.relu6(self.head_bn(self.head_conv(x)))


class EAC(nn.Module):
    def __init__(self, backbone: str, classes: int, width: float):
        super().__init__()
        self.trunk = (ResNetTrunk if backbone == "resnet50" else MobileNetTrunk)(width)
        self.classifier = nn.Linear(self.trunk.channels, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(x)
        return self.classifier(mean(features)), features


def loss(model: EAC, images: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of one view, and the attention of both, as released."""
    logits, first = model(images)
    _, second = model(images.flip(3))
    kernel = model.classifier.weight.detach()
    first, second = (
        torch.einsum("bchw,kc->bkhw", x.float(), kernel) for x in (first, second)
    )
    consistency = torch.mean((first - second.flip(3)) ** 2)
    return F.cross_entropy(logits.float(), labels) + 5.0 * consistency
