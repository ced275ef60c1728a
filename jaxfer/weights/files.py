"""Reading files of official weights into named arrays."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file as read_safetensors

from jaxfer.errors import WeightsError
from jaxfer.weights import torch_files


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Put the file's name before a `WeightsError` from within that lacks it."""
    try:
        yield
    except WeightsError as error:
        if str(path) in str(error):
            raise
        raise WeightsError(f"{path}: {error}") from error


def load_file(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays of a weights file, for `from_official`.

    No format here runs code from the file.

    Args:
      path: an .npz archive; a checkpoint of PyTorch (.pth, .pt, .bin, .tar) or a
        pickle of named arrays (.pkl), for which PyTorch is not needed; a .safetensors
        file; or an .h5 or .hdf5 file of Keras (needs the package h5py), of weights or
        of a whole model.

    Returns:
      Arrays by name; Keras' as `conv2d_3/kernel`.

    Raises:
      WeightsError: no such file, an unknown or damaged format, or h5py is
        needed and not installed.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
        ".npz": _read_npz,
        ".safetensors": read_safetensors,
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


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return dict(archive)


def _read_keras(path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError as error:
        raise WeightsError(
            f"{path}: reading {path.suffix} needs the package h5py; install it"
            " (pip install h5py) or convert the file to .npz"
        ) from error
    arrays: dict[str, np.ndarray] = {}

    def visit(name: str, item: object) -> None:
        # A weight lies at layer/layer/kernel:0; the group above may be the model's.
        if isinstance(item, h5py.Dataset):
            arrays["/".join(name.split("/")[-2:]).removesuffix(":0")] = item[()]

    with h5py.File(path, "r") as file:
        file.get("model_weights", file).visititems(visit)
    return arrays
