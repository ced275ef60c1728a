"""CFNet's joint network with shared heads; see `jaxfer.models.cfnet`."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.torch_models.layers import conv, max_pool_same, mean, scaled

GRID = 7


class Branch(nn.Module):
    def __init__(self, inputs: int, channels: tuple[int, ...], width: float):
        super().__init__()
        for block, full in zip(("1a", "1b", "2", "3", "4"), channels, strict=True):
            c = scaled(full, width)
            self.add_module(f"conv{block}", conv(inputs, c, 7 if block == "1a" else 3))
            self.add_module(f"bn{block}", nn.BatchNorm2d(c, 1.1e-5, momentum=0.01))
            inputs = c

    def forward(self, x: Tensor) -> Tensor:
        for block in ("1a", "1b", "2", "3", "4"):
            x = torch.relu(getattr(self, f"conv{block}")(x))
            x = getattr(self, f"bn{block}")(x)
            x = max_pool_same(x, 3, 1 if block == "1a" else 2)
        return mean(x)


class CFNet(nn.Module):
    def __init__(self, classes: int, width: float):
        super().__init__()
        half, hidden = scaled(512, width), scaled(2048, width)
        patches = 3 * GRID * GRID
        self.add_module("local", Branch(patches, (128, 128, 256, 512, 512), width))
        self.add_module("global", Branch(3, (64, 64, 128, 256, 512), width))
        self.local_dense = nn.Linear(half, 2 * half)
        self.global_dense = nn.Linear(half, 2 * half)
        self.shared_dense_1 = nn.Linear(2 * half, hidden)
        self.shared_dense_2 = nn.Linear(hidden, hidden)
        self.local_logits = nn.Linear(hidden, classes)
        self.global_logits = nn.Linear(hidden, classes)
        self.fused_logits = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b, c, h, w = x.shape
        cut = x.reshape(b, c, GRID, h // GRID, GRID, w // GRID)
        cut = cut.permute(0, 4, 2, 1, 3, 5).reshape(b, -1, h // GRID, w // GRID)
        local, whole = self.get_submodule("local")(cut), self.get_submodule("global")(x)
        fused = torch.cat([local, whole], 1)
        local = torch.relu(self.local_dense(local))
        whole = torch.relu(self.global_dense(whole))

        def hidden(x: Tensor) -> Tensor:
            return torch.relu(self.shared_dense_2(torch.relu(self.shared_dense_1(x))))

        return (
            self.local_logits(hidden(local)),
            self.global_logits(hidden(whole)),
            self.fused_logits(hidden(fused)),
        )


def loss(heads: tuple[Tensor, Tensor, Tensor], labels: Tensor) -> Tensor:
    """The sum of three cross-entropies."""
    parts = [F.cross_entropy(head.float(), labels) for head in heads]
    return parts[0] + parts[1] + parts[2]
