"""What is measured, and the numbers that every form of it begins with.

NumPy alone: read by processes of every framework. All forms get equal weights, made
of the parameters' names, so that their outputs and losses can be compared.
"""

import dataclasses
import math
import zlib

import numpy as np

SYSTEMS = {
    "cfnet": 224,
    "eac_resnet50": 224,
    "eac_mobilenet_v2": 224,
    "lfnsb": 112,
    "fersnet": 96,
}
"""Name to the side of the images."""
SHORT_SIZES = {"cfnet": 28, "eac_resnet50": 48, "eac_mobilenet_v2": 48, "fersnet": 64}
TRAIN_BATCH, THROUGHPUT_BATCH = 16, 32

FORMS = ("plain", "unfused", "ours", "torch", "torch.compile", "onnxruntime")
"""Unfused is ours with its batch norms kept, where answers are measured."""
TASKS = ("train", "latency", "throughput", "folds", "largest")
"""A step; answers to 1 and to 32 images; ten folds at once; how large a batch fits."""

LEARNING_RATE, MOMENTUM = 1e-4, 0.9
"""Of SGD, for every system: small, so that random weights stay finite."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One task of one system in one form; a process measures it.

    Attributes:
      system: of `SYSTEMS`.
      task: of `TASKS`.
      form: of `FORMS`.
      batch: images a call.
      size: side of the images.
      width: multiplies the channels, below 1 in a short run alone.
      depth: multiplies LFNSB's residual blocks, likewise.
      precision: float32 or bfloat16.
      device: cpu or gpu.
      threads: CPUs that the process may use.
      folds: how many are trained at once.
      steps: of each fold, of an epoch of CK+ at batch 16.
    """

    system: str
    task: str
    form: str
    batch: int
    size: int
    width: float = 1.0
    depth: float = 1.0
    precision: str = "float32"
    device: str = "cpu"
    threads: int = 2
    folds: int = 10
    steps: int = 55

    @property
    def classes(self) -> int:
        return 6 if self.system == "fersnet" else 7


def batch(case: Case) -> dict[str, np.ndarray]:
    """Images (B, H, W, 3), and FERSNet's real faces with the target expression."""
    rng = np.random.default_rng(7)
    shape = (case.batch, case.size, case.size, 3)
    numbers = np.arange(case.batch, dtype=np.int32)
    found = {
        "images": rng.random(shape, np.float32),
        "labels": numbers % case.classes,
    }
    if case.system == "fersnet":
        eye = np.eye(case.classes, dtype=np.float32)
        found["faces"] = rng.random(shape, np.float32)
        found["source"] = eye[numbers % case.classes]
        found["target"] = eye[(numbers + 1) % case.classes]
    return found


def weight(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of one of Flax's variables, in Flax' layout."""
    name = path.rsplit("/", 1)[-1]
    if name in ("scale", "var"):
        return np.ones(shape, np.float32)
    if name == "slope":
        return np.full(shape, 0.25, np.float32)
    if name not in ("kernel", "centers"):
        return np.zeros(shape, np.float32)
    draw = np.random.default_rng(zlib.crc32(path.encode()))
    fan_in = math.prod(shape[:-1]) if name == "kernel" else 1
    return draw.standard_normal(shape, np.float32) / np.float32(math.sqrt(fan_in))
