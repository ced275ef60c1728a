"""Checkpoints of PyTorch, read without PyTorch and without running code.

Three formats: the zip archive of `torch.save`; what it wrote before version 1.6, a
sequence of pickles followed by the memory of the tensors; and plain pickles of a dict
of NumPy arrays, Python 2's too.
"""

import functools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxfer.errors import WeightsError, first_of
from jaxfer.weights import pickles
from jaxfer.weights.pickles import ArrayState, Storage, Tensor

MAGIC = 0x1950A86A20F9469CFC6C
"""First pickle of a file in the sequential format."""

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Entries under which checkpoints keep the weights, beside epochs and optimisers."""

TENSORS = (Tensor, ArrayState, np.ndarray)
"""What stands for a tensor in the content of a file."""

Memory = Callable[[Storage], np.ndarray]
"""Reads a storage: one axis, native byte order."""


def load(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a checkpoint.

    Where the checkpoint is a dict with an entry of `WRAPPERS` that is itself a dict of
    tensors, that one is read and the others are left; likewise where it has no tensors
    of its own and one such dict under any other name. A prefix `module.`, which
    `torch.nn.DataParallel` writes, is removed.

    Args:
      path: of the file.

    Returns:
      Arrays by name, read-only, some of them views of the same memory; bfloat16 as
      `ml_dtypes.bfloat16`.

    Raises:
      WeightsError: the file asks for anything but tensors, arrays and plain
        containers, holds no dict of tensors, or is cut short.
      Exception: of many kinds, if it is damaged.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _named(path, *_read_zip(path, archive))
    with path.open("rb") as file:
        if file.read(4) == b"PK\x03\x04":
            raise _cut_short(path, "the end of its zip archive is missing")
        file.seek(0)
        content, _ = pickles.load(file, path)
        if content == MAGIC:
            return _named(path, *_read_sequence(path, file))
        return _named(path, content, _no_memory)


def _read_zip(path: Path, archive: zipfile.ZipFile) -> tuple[Any, Memory]:
    names = archive.namelist()
    found = [name for name in names if name.split("/")[1:] == ["data.pkl"]]
    if not found:
        raise WeightsError(
            f"{path}: expected a zip archive of torch.save, with <name>/data.pkl; "
            f"found {', '.join(names[:5]) or 'nothing in it'}"
        )
    folder = found[0].partition("/")[0]
    order = "little"
    if f"{folder}/byteorder" in names:
        order = archive.read(f"{folder}/byteorder").decode("ascii")
    with archive.open(found[0]) as file:
        content, _ = pickles.load(file, path)

    @functools.cache
    def memory(storage: Storage) -> np.ndarray:
        name = f"{folder}/data/{storage.key}"
        if name not in names:
            raise _cut_short(path, f"{name} is missing")
        return _numbers(path, archive.read(name), storage, order)

    return content, memory


def _read_sequence(path: Path, file: IO[bytes]) -> tuple[Any, Memory]:
    pickles.load(file, path)  # the version of the protocol
    system, _ = pickles.load(file, path)
    order = "little" if system["little_endian"] else "big"
    content, storages = pickles.load(file, path)
    keys, _ = pickles.load(file, path)
    data = {}
    for key in map(str, keys):
        size = 8 + storages[key].length * storages[key].dtype.itemsize
        data[key] = file.read(size)[8:]  # behind the number of elements

    @functools.cache
    def memory(storage: Storage) -> np.ndarray:
        return _numbers(path, data[storage.key], storage, order)

    return content, memory


def _no_memory(storage: Storage) -> np.ndarray:
    raise KeyError(f"a plain pickle has no storage {storage.key}")


def _numbers(path: Path, data: bytes, storage: Storage, order: str) -> np.ndarray:
    """The elements of a storage, in native byte order."""
    size = storage.dtype.itemsize
    if len(data) < (storage.offset + storage.length) * size:
        raise _cut_short(
            path,
            f"storage {storage.key} should have {storage.length} elements of "
            f"{size} bytes, found {len(data)} bytes",
        )
    code = "<" if order == "little" else ">"
    words = np.frombuffer(data, f"{code}u{size}", storage.length, storage.offset * size)
    return words.astype(f"=u{size}", copy=False).view(storage.dtype)


def _named(path: Path, content: Any, memory: Memory) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by name."""
    content = _unwrapped(content)
    odd = _odd(content)
    if odd:
        raise WeightsError(
            f"{path}: expected a dict of named tensors, perhaps under "
            f"{' or '.join(WRAPPERS)}, or as the one such dict under another name; "
            f"found {first_of(odd)}. Save the state_dict of the model alone"
        )
    return {
        name.removeprefix("module."): _array(path, name, value, memory)
        for name, value in content.items()
    }


def _odd(content: Any) -> list[str]:
    """What of a checkpoint's content is not a named tensor."""
    if not isinstance(content, dict):
        return [type(content).__name__]
    return [
        f"{name!r} ({type(value).__name__})"
        for name, value in content.items()
        if not isinstance(name, str) or not isinstance(value, TENSORS)
    ]


def _unwrapped(content: Any) -> Any:
    """The dict of tensors within a checkpoint, where there is one."""
    if not isinstance(content, dict):
        return content
    inner = {key: value for key, value in content.items() if isinstance(value, dict)}
    tensors = {key: value for key, value in inner.items() if value and not _odd(value)}
    for key in WRAPPERS:
        if key in tensors:
            return tensors[key]
    own = any(isinstance(value, TENSORS) for value in content.values())
    if len(tensors) == 1 and not own:
        return next(iter(tensors.values()))
    return next((inner[key] for key in WRAPPERS if key in inner), content)


def _array(path: Path, name: str, value: Any, memory: Memory) -> np.ndarray:
    if isinstance(value, ArrayState):
        return value.array
    if isinstance(value, np.ndarray):
        return value
    storage, offset, shape, strides = value
    steps = [(size - 1) * stride for size, stride in zip(shape, strides, strict=True)]
    empty = 0 in shape
    if min((offset, *shape, *strides)) < 0 or (
        not empty and offset + sum(steps) >= storage.length
    ):
        raise WeightsError(
            f"{path}: damaged, {name} of shape {shape}, strides {strides} and offset "
            f"{offset} does not lie within its {storage.length} elements"
        )
    if empty:
        return np.zeros(shape, storage.dtype)
    numbers = memory(storage)[offset:]
    size = storage.dtype.itemsize
    return np.lib.stride_tricks.as_strided(
        numbers, shape, [size * stride for stride in strides], writeable=False
    )


def _cut_short(path: Path, finding: str) -> WeightsError:
    return WeightsError(f"{path}: cut short or damaged, fetch it again ({finding})")
