"""Reading pickles of tensors and arrays without running anything they ask for.

A pickle is a program that names functions and calls them. Here every name that it may
use stands for an inert object of this file, and any other name is an error; no class
or function of PyTorch, NumPy or the standard library is ever handed to it.
"""

import pickle
from collections.abc import Callable, Mapping
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from jaxfer.errors import WeightsError

STORAGES: dict[str, Any] = {
    "BFloat16Storage": ml_dtypes.bfloat16,
    "BoolStorage": np.bool_,
    "ByteStorage": np.uint8,
    "CharStorage": np.int8,
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "IntStorage": np.int32,
    "LongStorage": np.int64,
    "ShortStorage": np.int16,
}
"""PyTorch's names of one-dimensional memory, to what it holds."""


class StorageType(NamedTuple):
    """Stands for a class of `STORAGES`."""

    dtype: np.dtype


class Storage(NamedTuple):
    """Memory that tensors share, by its key in the file.

    Attributes:
      key: in the file.
      dtype: of its numbers.
      length: how many they are.
      offset: where, in the file's memory of that key, they begin.
    """

    key: str
    dtype: np.dtype
    length: int
    offset: int = 0


class Tensor(NamedTuple):
    """A view of a storage: its offset, shape and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Dict(dict[Any, Any]):
    """Stands for OrderedDict; forgets the attributes that PyTorch hangs on it."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Attributes, e.g. `_metadata`, say nothing of the weights."""


class DtypeState:
    """Stands for a NumPy dtype that is being rebuilt."""

    def __init__(self, code: object, *_: object) -> None:
        self.dtype = np.dtype(code if isinstance(code, str) else "O")
        if self.dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"an array of {code!r}, not of numbers")

    def __setstate__(self, state: Any) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class ArrayState:
    """Stands for a NumPy array that is being rebuilt."""

    array: np.ndarray

    def __setstate__(self, state: Any) -> None:
        shape, dtype, fortran, data = state[-4:]
        self.array = _array(data, dtype, shape, "F" if fortran else "C")


class Inert:
    """A function that a pickle may call, but not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *args: object) -> object:
        """Call the function."""
        return self._function(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it sets attributes of a function")


def _array(data: Any, dtype: DtypeState, shape: Any, order: Any) -> np.ndarray:
    # Python 2 wrote bytes as a string, which is read as latin-1.
    data = data.encode("latin1") if isinstance(data, str) else data
    array = np.frombuffer(data, dtype.dtype).reshape(shape, order=order)
    return array.astype(dtype.dtype.newbyteorder("="), copy=False)


def _bytes(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, by which Python 3 writes bytes in old protocols."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _tensor(storage: Storage, offset: int, size: Any, stride: Any, *_: Any) -> Tensor:
    return Tensor(storage, offset, tuple(size), tuple(stride))


def _allowed() -> dict[tuple[str, str], object]:
    functions: dict[tuple[str, str], Callable[..., object]] = {
        ("collections", "OrderedDict"): Dict,
        ("_codecs", "encode"): _bytes,
        ("torch", "Size"): lambda size: tuple(size),
        ("torch._utils", "_rebuild_tensor"): _tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        ("numpy", "ndarray"): tuple,
        ("numpy", "dtype"): DtypeState,
    }
    for core in ("numpy.core", "numpy._core"):
        functions[f"{core}.multiarray", "_reconstruct"] = lambda *_: ArrayState()
        functions[f"{core}.multiarray", "scalar"] = lambda dtype, data: _array(
            data, dtype, (), "C"
        )
        functions[f"{core}.numeric", "_frombuffer"] = _array
    table: dict[tuple[str, str], object] = {
        name: Inert(function) for name, function in functions.items()
    }
    for name, dtype in STORAGES.items():
        table["torch", name] = StorageType(np.dtype(dtype))
    return table


ALLOWED: Mapping[tuple[str, str], object] = _allowed()
"""Module and name, to what stands for it."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], path: object) -> None:
        super().__init__(file, encoding="latin1")
        self.storages: dict[str, Storage] = {}
        self._path = path

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        raise WeightsError(
            f"{self._path}: refused, it asks for {module}.{name}; only tensors, arrays "
            "and plain containers are read, because anything else could run code. "
            "Save the state_dict of the model alone, where you trust the file"
        )

    def persistent_load(self, pid: Any) -> Storage:
        kind, storage_type, key, _, count, *view = pid
        if kind != "storage" or not isinstance(storage_type, StorageType):
            raise WeightsError(
                f"{self._path}: refused, it holds a {kind}, not tensors alone; save "
                "the state_dict of the model"
            )
        storage = Storage(str(key), storage_type.dtype, int(count))
        self.storages[storage.key] = storage
        if view and view[0] is not None:  # only very old files
            _, offset, size = view[0]
            return storage._replace(offset=int(offset), length=int(size))
        return storage


def load(file: IO[bytes], path: object) -> tuple[Any, dict[str, Storage]]:
    """Read the next pickle of a file.

    Args:
      file: binary, at the beginning of a pickle; left behind its end.
      path: of the file, for messages.

    Returns:
      What was pickled, with `Tensor`s and `ArrayState`s for tensors and arrays; and
      the storages that it names, by key.

    Raises:
      WeightsError: it asks for a name that is not in `ALLOWED`.
      Exception: of many kinds, if it is damaged.
    """
    unpickler = _Unpickler(file, path)
    return unpickler.load(), unpickler.storages
