"""Reading files of official weights into named arrays."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np

from jaxfer.errors import WeightsError
from jaxfer.weights import torch_files


def load_file(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays of a weights file, for `from_official`.

    No format here runs code from the file.

    Args:
      path: an .npz archive; a checkpoint of PyTorch (.pth, .pt, .bin, .tar) or a
        pickle of named arrays (.pkl), for which PyTorch is not needed; a .safetensors
        file (needs the package safetensors); or an .h5 or .hdf5 file of Keras (needs
        h5py), of weights or of a whole model.

    Returns:
      Arrays by name; Keras' as `conv2d_3/kernel`.

    Raises:
      WeightsError: no such file, an unknown or damaged format, or the package that
        reads it is not installed.
    """
    path = Path(path)
    readers = {
        ".npz": _read_npz,
        ".safetensors": _read_safetensors,
        ".h5": _read_keras,
        ".hdf5": _read_keras,
        **dict.fromkeys((".pth", ".pt", ".bin", ".tar", ".pkl"), torch_files.load),
    }
    if path.suffix not in readers:
        raise WeightsError(
            f"{path}: expected a file that ends in {', '.join(readers)}, "
            f"found {path.suffix or 'no ending'}"
        )
    if not path.is_file():
        raise WeightsError(f"{path}: no such file of weights")
    try:
        return readers[path.suffix](path)
    except WeightsError:
        raise
    except Exception as error:  # each reader has its own family of errors
        raise WeightsError(
            f"{path}: cannot be read as {path.suffix}; it may be damaged or cut "
            f"short, fetch it again ({error})"
        ) from error


def _optional(module: str, path: Path) -> ModuleType:
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise WeightsError(
            f"{path}: reading {path.suffix} needs the package {package}; "
            f"install it (pip install {package}) or convert the file to .npz"
        ) from error


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return dict(archive)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    return _optional("safetensors.numpy", path).load_file(path)


def _read_keras(path: Path) -> dict[str, np.ndarray]:
    h5py = _optional("h5py", path)
    arrays: dict[str, np.ndarray] = {}

    def visit(name: str, item: object) -> None:
        # A weight lies at layer/layer/kernel:0; the group above may be the model's.
        if isinstance(item, h5py.Dataset):
            arrays["/".join(name.split("/")[-2:]).removesuffix(":0")] = item[()]

    with h5py.File(path, "r") as file:
        file.get("model_weights", file).visititems(visit)
    return arrays
