"""A trained model in one file: arrays by their path in the variables, and facts.

The header of a .safetensors file names the classes, the config and the figures of the
run. Reading it runs no code from the file.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxfer.errors import CheckpointError

SUFFIX = ".safetensors"
HEADER = "jaxfer"
PRECISIONS = ("float16", "float32")


def write(
    path: str | Path,
    variables: Mapping[str, Any],
    facts: Mapping[str, Any],
    *,
    precision: str = "float16",
) -> Path:
    """Write converted variables (`Method.deployed.convert`) and facts of a model.

    Args:
      path: ends in .safetensors.
      variables: nested dicts of float arrays.
      facts: JSON-able; `config`, `class_names` and `image_size` are needed to read.
      precision: of the stored floats; float16 halves the file and is an error where
        a value would overflow.

    Raises:
      CheckpointError: the ending is another, or float16 cannot hold the values.
    """
    from safetensors.numpy import save_file

    path = Path(path)
    if path.suffix != SUFFIX:
        raise CheckpointError(f"{path}: expected a name that ends in {SUFFIX}")
    arrays = {}
    for name, array in _flatten(variables).items():
        with np.errstate(over="ignore"):  # found below, and named
            arrays[name] = np.ascontiguousarray(array, dtype=precision)
        if not np.isfinite(arrays[name]).all():
            raise CheckpointError(
                f"{name} does not fit into {precision}: its largest magnitude is"
                f" {np.abs(array).max():g}; export with float32"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays, path, metadata={HEADER: json.dumps(facts, sort_keys=True)})
    return path


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The variables, in float32, and the facts of a file that `write` made.

    Raises:
      CheckpointError: no such file, damaged, or not of this project.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        with safe_open(path, framework="np") as file:
            header = (file.metadata() or {}).get(HEADER)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} cannot be read as {SUFFIX}; it may be damaged or cut short: copy"
            f" or export it again ({error})"
        ) from error
    if header is None:
        raise CheckpointError(
            f"{path} holds no model of jaxfer: expected a file that `jaxfer export`"
            " wrote"
        )
    variables: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, leaf = name.split("/")
        tree = variables
        for parent in parents:
            tree = tree.setdefault(parent, {})
        tree[leaf] = array.astype(np.float32)
    return variables, json.loads(header)


def is_ours(path: str | Path) -> bool:
    """Whether a .safetensors file has this project's header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(Path(path), framework="np") as file:
            return HEADER in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False  # whoever reads it says what is wrong


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    flat: dict[str, np.ndarray] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{name}/")
        else:
            flat[name] = np.asarray(value)
    return flat
