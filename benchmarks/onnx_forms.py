"""Answers by onnxruntime, of PyTorch's network as its exporter writes it.

    python -m benchmarks.onnx_forms CASE FILE

exports: in a process of its own, whose memory is not onnxruntime's.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import cases
from benchmarks.cases import Case


class Program:
    """An inference session of the exported network, on one device."""

    def __init__(self, case: Case):
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "model.onnx")
            given = json.dumps(dataclasses.asdict(case))
            command = [sys.executable, "-m", "benchmarks.onnx_forms", given, path]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise RuntimeError(f"PyTorch's export to ONNX failed: {last}")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = case.threads
            asked = ["CPUExecutionProvider"]
            if case.device == "gpu":
                asked = ["CUDAExecutionProvider", *asked]
            self.session = onnxruntime.InferenceSession(path, options, providers=asked)
        if case.device == "gpu" and "CUDA" not in self.session.get_providers()[0]:
            raise RuntimeError("this onnxruntime has no support for the accelerator")
        images = cases.batch(case)["images"].transpose(0, 3, 1, 2).copy()
        self.inputs = {self.session.get_inputs()[0].name: images}
        self.parameters = self.flops = self.compile_s = None

    def call(self) -> list[float]:
        """Run once; the scores."""
        return self.run().reshape(-1).tolist()

    def run(self):
        """Run once."""
        return self.session.run(None, self.inputs)[0]


def peak_bytes() -> None:
    """Of the accelerator's memory, which onnxruntime does not tell."""


def describe() -> str:
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def export(case: Case, path: str) -> None:
    import torch

    from benchmarks import torch_forms
    from benchmarks.torch_models import layers

    model = torch_forms.create(case)
    layers.fill(model, "network")
    images = torch.zeros(case.batch, 3, case.size, case.size)
    answer = torch_forms.Answer(case.system, model).eval()
    torch.onnx.export(answer, (images,), path, dynamo=True, external_data=False)


if __name__ == "__main__":
    export(Case(**json.loads(sys.argv[1])), sys.argv[2])
