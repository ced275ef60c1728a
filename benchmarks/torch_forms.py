"""Training steps and answers in PyTorch, eager or compiled, with its own defaults.

On an accelerator images and weights lie channels last, and bfloat16 is autocast's.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import cases
from benchmarks.cases import Case
from benchmarks.torch_models import cfnet, eac, fersnet, layers, lfnsb


class Program:
    """A step or an answer that is called again and again."""

    def __init__(self, case: Case):
        """Build, fill and, if asked to, compile, which takes the first call."""
        self.case = case
        self.device = torch.device("cuda" if case.device == "gpu" else "cpu")
        if case.device == "cpu":
            torch.set_num_threads(case.threads)
        self.model = self._placed(create(case), "network")
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.batch = {name: self._tensor(x) for name, x in cases.batch(case).items()}
        self.flops = None
        self.compile_s: float | None = None
        if case.task in ("latency", "throughput"):
            self.model.eval()
            self._call = self._answer()
        else:
            self.model.train()
            self._call = self._train()
        if case.form == "torch.compile":
            start = time.perf_counter()
            self._first = self.call()
            self.compile_s = time.perf_counter() - start

    def call(self) -> list[float]:
        """Run once, to the end; the loss, or the scores."""
        first, self._first = getattr(self, "_first", None), None
        if first is not None:
            return first
        return self.run().float().reshape(-1).tolist()

    def run(self) -> Tensor:
        """Run once, until the device is done."""
        with torch.autocast(
            self.device.type, torch.bfloat16, self.case.precision == "bfloat16"
        ):
            result = self._call()
        if self.case.device == "gpu":
            torch.cuda.synchronize()
        return result

    def _tensor(self, value: Any) -> Tensor:
        tensor = torch.from_numpy(value)
        if tensor.ndim == 4:
            tensor = tensor.permute(0, 3, 1, 2).contiguous()
            return tensor.to(self.device, memory_format=self._format())
        tensor = tensor.long() if tensor.dtype == torch.int32 else tensor
        return tensor.to(self.device)

    def _placed(self, model: nn.Module, prefix: str) -> nn.Module:
        layers.fill(model, prefix)
        return model.to(self.device, memory_format=self._format())

    def _format(self) -> torch.memory_format:
        if self.case.device == "gpu":
            return torch.channels_last
        return torch.contiguous_format

    def _compiled(self, function: Callable) -> Callable:
        if self.case.form == "torch.compile":
            return torch.compile(function)
        return function

    def _answer(self) -> Callable[[], Tensor]:
        answer = self._compiled(Answer(self.case.system, self.model).eval())

        def call() -> Tensor:
            with torch.inference_mode():
                return answer(self.batch["images"])

        return call

    def _train(self) -> Callable[[], Tensor]:
        if self.case.system == "fersnet":
            return self._train_fersnet()
        batch, model, trained = self.batch, self.model, [*self.model.parameters()]
        if self.case.system == "lfnsb":
            shape = (self.case.classes, model.backbone.channels)
            centers = nn.Parameter(self._tensor(cases.weight("centers", shape)))
            trained.append(centers)

        def loss(images: Tensor, labels: Tensor) -> Tensor:
            if self.case.system == "cfnet":
                return cfnet.loss(model(images), labels)
            if self.case.system == "lfnsb":
                return lfnsb.loss(model(images), labels, centers)
            return eac.loss(model, images, labels)

        objective, optimizer = self._compiled(loss), sgd(trained)
        return lambda: step(
            optimizer, partial(objective, batch["images"], batch["labels"])
        )

    def _train_fersnet(self) -> Callable[[], Tensor]:
        case, batch, model = self.case, self.batch, self.model
        judge = self._placed(fersnet.Discriminator(case.classes, case.width), "judge")
        light = self._placed(fersnet.LightCNN9(), "light").requires_grad_(False)
        judging, drawing = sgd([*judge.parameters()]), sgd([*model.parameters()])
        draw = self._compiled(model)
        tell = self._compiled(partial(fersnet.discriminator_loss, judge))
        objective = self._compiled(partial(fersnet.generator_loss, model, judge, light))

        def call() -> Tensor:
            model.eval()
            with torch.no_grad():
                _, fake = draw(batch["images"], batch["target"])
            for _ in range(3):
                step(judging, partial(tell, batch["faces"], fake, batch["target"]))
            model.train()
            judge.requires_grad_(False)
            loss = step(drawing, partial(objective, batch))
            judge.requires_grad_(True)
            return loss

        return call


class Answer(nn.Module):
    """Class scores alone."""

    def __init__(self, system: str, model: nn.Module):
        super().__init__()
        self.system, self.model = system, model

    def forward(self, images: Tensor) -> Tensor:
        outputs = self.model(images)
        return torch.stack(outputs) if self.system == "cfnet" else outputs[0]


def create(case: Case) -> nn.Module:
    if case.system == "cfnet":
        return cfnet.CFNet(case.classes, case.width)
    if case.system == "lfnsb":
        return lfnsb.LFNSB(case.classes, case.width, case.depth)
    if case.system == "fersnet":
        return fersnet.FERSNet(case.classes, case.width)
    return eac.EAC(case.system.removeprefix("eac_"), case.classes, case.width)


def sgd(parameters: list[nn.Parameter]) -> torch.optim.SGD:
    return torch.optim.SGD(parameters, cases.LEARNING_RATE, cases.MOMENTUM)


def step(optimizer: torch.optim.Optimizer, objective: Callable[[], Tensor]) -> Tensor:
    optimizer.zero_grad(set_to_none=True)
    loss = objective()
    loss.backward()
    optimizer.step()
    return loss.detach()


def peak_bytes() -> int | None:
    """Of the accelerator's memory."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def describe() -> str:
    return f"torch {torch.__version__}"
