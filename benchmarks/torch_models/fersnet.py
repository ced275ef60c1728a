"""FERSNet, its discriminator and LightCNN-9; see `jaxfer.models.fersnet`."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.torch_models.layers import conv, mean, scaled

LEVELS = (128, 256, 512)
DECODER = ((512, 512, 512), (256, 512, 256), (128, 256, 128), (64, 128, 128))
LUMA_BGR = (0.1140, 0.5870, 0.2989)


def halve(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2)


def normed(x: Tensor) -> Tensor:
    return F.leaky_relu(F.instance_norm(x), 0.2)


class BasicBlock(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, batch: bool = True, project: bool = True
    ):
        super().__init__()
        self.conv1 = conv(inputs, outputs, 3, bias=False)
        self.conv2 = conv(outputs, outputs, 3, bias=False)
        self.batch, self.project = batch, project
        if batch:
            self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        if project:
            self.projection = conv(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        y = torch.relu(self.bn1(y) if self.batch else F.instance_norm(y))
        y = self.conv2(y)
        y = self.bn2(y) if self.batch else F.instance_norm(y)
        return torch.relu(y + (self.projection(x) if self.project else x))


class ConvFLU(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.W_r = conv(2 * channels, channels, 1, bias=False)
        self.W_z = conv(2 * channels, channels, 1, bias=False)
        self.U = conv(channels, channels, 1, bias=False)
        self.W = conv(channels, channels, 1, bias=False)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        both = torch.cat([own, other], 1)
        leaky, memory = torch.sigmoid(self.W_r(both)), torch.sigmoid(self.W_z(both))
        fresh = torch.tanh(self.U(own) + self.W(leaky * other))
        return memory * own + (1 - memory) * fresh


class Transform(nn.Module):
    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.noise = nn.Parameter(torch.zeros(1))  # none is drawn here
        self.style = nn.Linear(classes, 2 * channels)

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        gamma, beta = self.style(target)[:, :, None, None].chunk(2, 1)
        return gamma * F.instance_norm(x) + beta


class Up(nn.Module):
    def __init__(self, inputs: int, outputs: int, skipped: int, classes: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
        self.transform = Transform(skipped, classes)

    def forward(self, x: Tensor, skip: Tensor, target: Tensor) -> Tensor:
        x = torch.relu(F.instance_norm(self.up(x)))
        return torch.cat([x, self.transform(skip, target)], 1)


class Decoder(nn.Module):
    def __init__(self, classes: int, width: float):
        super().__init__()
        skipped = [scaled(c, width) for c in (64, *LEVELS)]
        c = skipped[-1]
        self.transform = Transform(c, classes)
        for level, full in zip((4, 3, 2, 1), DECODER, strict=True):
            up, first, second = (scaled(n, width) for n in full)
            skip = skipped[level - 1]
            self.add_module(f"up{level}", Up(c, up, skip, classes))
            self.add_module(f"conv{level}a", conv(up + skip, first, 3))
            self.add_module(f"conv{level}b", conv(first, second, 3))
            c = second
        last = scaled(64, width)
        self.up0 = nn.ConvTranspose2d(c, last, 4, 2, 1, bias=False)
        self.conv0a, self.conv0b = conv(last, last, 3), conv(last, last, 3)
        self.out = conv(last, 3, 3)

    def forward(self, x: Tensor, skips: list[Tensor], target: Tensor) -> Tensor:
        x = self.transform(x, target)
        for level in (4, 3, 2, 1):
            x = self.get_submodule(f"up{level}")(x, skips[level - 1], target)
            x = normed(self.get_submodule(f"conv{level}a")(x))
            x = normed(self.get_submodule(f"conv{level}b")(x))
        x = normed(self.up0(x))
        return self.out(normed(self.conv0b(normed(self.conv0a(x)))))


class FERSNet(nn.Module):
    def __init__(self, classes: int, width: float):
        super().__init__()
        c = scaled(64, width)
        self.stem_conv, self.stem_bn = conv(3, c, 3), nn.BatchNorm2d(c)
        for level, full in enumerate(LEVELS, start=1):
            before, c = c, scaled(full, width)
            self.add_module(f"x{level}", BasicBlock(before, c))
            self.add_module(f"y{level}", BasicBlock(before, c, batch=False))
            self.add_module(f"flu_xy{level}", ConvFLU(c))
            self.add_module(f"flu_yx{level}", ConvFLU(c))
        self.joint = BasicBlock(2 * c, 2 * c, project=False)
        self.classifier_conv, self.classifier_bn = conv(c, c, 3), nn.BatchNorm2d(c)
        self.logits = nn.Linear(c, classes)
        self.decoder = Decoder(classes, width)

    def forward(
        self, x: Tensor, target: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        x = halve(torch.relu(self.stem_bn(self.stem_conv(x))))
        y, skips = x, [x]
        for level in (1, 2, 3):
            x = halve(self.get_submodule(f"x{level}")(x))
            y = halve(self.get_submodule(f"y{level}")(y))
            from_y = self.get_submodule(f"flu_xy{level}")(x, y)
            from_x = self.get_submodule(f"flu_yx{level}")(y, x)
            x, y = from_y, from_x
            skips.append(y)
        x, y = halve(self.joint(torch.cat([x, y], 1))).chunk(2, 1)
        pooled = mean(torch.relu(self.classifier_bn(self.classifier_conv(x))))
        drawn = None if target is None else self.decoder(y, skips, target)
        return self.logits(pooled), drawn


class Discriminator(nn.Module):
    def __init__(self, classes: int, width: float):
        super().__init__()
        channels = [3 + classes, *(scaled(c, width) for c in (64, 128, 256, 512))]
        for i, (before, c) in enumerate(pairwise(channels), start=1):
            self.add_module(f"conv{i}", nn.Conv2d(before, c, 4, 2, 1))
        self.validity = nn.Conv2d(channels[-1], 1, 4)

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        labels = target[:, :, None, None].expand(-1, -1, *x.shape[2:])
        x = F.leaky_relu(self.get_submodule("conv1")(torch.cat([x, labels], 1)), 0.2)
        for i in (2, 3, 4):
            x = normed(self.get_submodule(f"conv{i}")(x))
        return self.validity(F.pad(x, (2, 1, 2, 1)))


class MFM(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int):
        super().__init__()
        self.filter = conv(inputs, 2 * outputs, size)

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(*self.filter(x).chunk(2, 1))


class Group(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv_a, self.conv = MFM(inputs, inputs, 1), MFM(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv_a(x))


class LightCNN9(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = MFM(1, 48, 5)
        self.group1, self.group2 = Group(48, 96), Group(96, 192)
        self.group3, self.group4 = Group(192, 128), Group(128, 128)

    def forward(self, x: Tensor) -> Tensor:
        x = halve(self.group2(halve(self.group1(halve(self.conv1(x))))))
        return halve(self.group4(self.group3(x)))


def grayscale(x: Tensor) -> Tensor:
    weights = torch.tensor(LUMA_BGR, device=x.device).reshape(1, 3, 1, 1)
    return (x.float() * weights).sum(1, keepdim=True)


def discriminator_loss(
    judge: Discriminator, faces: Tensor, fake: Tensor, target: Tensor
) -> Tensor:
    real, fake = judge(faces, target).float(), judge(fake, target).float()
    return ((real - 1).square().mean() + fake.square().mean()) / 2


def generator_loss(
    model: FERSNet, judge: Discriminator, light: LightCNN9, batch: dict[str, Tensor]
) -> Tensor:
    """The released loss: there and back, identity, realism, recognition."""
    logits, drawn = model(batch["images"], batch["target"])
    _, back = model(drawn, batch["source"])
    grey, real = grayscale(drawn), grayscale(batch["faces"])
    with torch.no_grad():
        expected = light(real).float()
    return (
        F.cross_entropy(logits.float(), batch["labels"])
        + (grey - real).abs().mean()
        + 0.05 * (light(grey).float() - expected).square().mean()
        + 0.3 * (judge(drawn, batch["target"]).float() - 1).square().mean()
        + 0.5 * (batch["images"] - back.float()).square().mean()
    )
