"""From named official arrays to Flax variables: the engine of all name maps."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxfer.errors import WeightsError, first_of

Arrays = Mapping[str, np.ndarray]
Variables = dict[str, Any]

KEEP: tuple[int, ...] = ()
"""Layout that needs no change: vectors, and everything of Keras."""
TORCH_CONV = (2, 3, 1, 0)
"""OIHW to HWIO; a depthwise (C, 1, kh, kw) becomes (kh, kw, 1, C)."""
TORCH_LINEAR = (1, 0)
"""(out, in) to (in, out)."""

IGNORED = re.compile(r"(^|\.)num_batches_tracked$")
"""Entries of PyTorch checkpoints that have no counterpart."""


class Entry(NamedTuple):
    """One official parameter and its place among the variables.

    Attributes:
      official: name in the released code.
      path: collection, modules and parameter, e.g. `params/local/conv1a/kernel`.
      axes: axes of the official array in the order of ours; `KEEP`, `TORCH_CONV`,
        `TORCH_LINEAR` or any permutation.
    """

    official: str
    path: str
    axes: tuple[int, ...] = KEEP


def check_fits(like: Any, part: Any) -> None:
    """Check that all of `part` has a place among variables.

    Args:
      like: variables or their `jax.ShapeDtypeStruct`s.
      part: nested dicts of arrays.

    Raises:
      WeightsError: the part has arrays that the variables lack, or of other shapes;
        lists the first.
    """
    places = {
        name: leaf.shape
        for name, leaf in traverse_util.flatten_dict(like, sep="/").items()
    }
    wrong = [
        f"{name} is {np.shape(array)}, expected {places[name]}"
        if name in places
        else f"{name}: the network has no such array"
        for name, array in traverse_util.flatten_dict(part, sep="/").items()
        if places.get(name) != np.shape(array)
    ]
    if wrong:
        raise WeightsError(
            f"these weights do not fit the network ({len(wrong)} arrays):"
            f" {first_of(wrong)}. Check that they are of this network, and the options"
            " that give its size."
        )


def convert(
    model: str, entries: Sequence[Entry], arrays: Arrays, template: Any
) -> Variables:
    """Fill a model's variables from official arrays.

    Args:
      model: name for messages.
      entries: the name map, one entry for each leaf of the template.
      arrays: by official name; `num_batches_tracked` is ignored.
      template: variables or their `jax.ShapeDtypeStruct`s, which give the shapes.

    Returns:
      Variables of the template's structure, float32 (float64 where the official
      array is and x64 is enabled).

    Raises:
      WeightsError: names are missing, unknown or have another shape; lists the first
        of each kind.
    """
    shapes = traverse_util.flatten_dict(template, sep="/")
    if set(shapes) != {entry.path for entry in entries}:
        odd = set(shapes) ^ {entry.path for entry in entries}
        raise AssertionError(f"the name map of {model} and its variables differ: {odd}")
    wanted = {
        entry.official: _official_shape(shapes[entry.path].shape, entry.axes)
        for entry in entries
    }
    _check(model, wanted, arrays)
    flat = {e.path: _to_jax(arrays[e.official], e.axes) for e in entries}
    return traverse_util.unflatten_dict(flat, sep="/")


def _official_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[i] for i in np.argsort(axes)) if axes else shape


def _to_jax(array: np.ndarray, axes: tuple[int, ...]) -> jax.Array:
    wide = np.asarray(array, np.promote_types(array.dtype, np.float32))
    return jnp.asarray(wide.transpose(axes) if axes else wide)


def _check(model: str, wanted: Mapping[str, tuple[int, ...]], arrays: Arrays) -> None:
    unknown = [n for n in arrays if n not in wanted and not IGNORED.search(n)]
    wrong = [
        f"{name} is {np.shape(arrays[name])}, expected {shape}"
        for name, shape in wanted.items()
        if name in arrays and np.shape(arrays[name]) != shape
    ]
    problems = {
        "missing": [name for name in wanted if name not in arrays],
        "unknown": unknown,
        "wrong shape": wrong,
    }
    if any(problems.values()):
        lines = [
            f"  {kind} ({len(names)}): {first_of(names)}"
            for kind, names in problems.items()
            if names
        ]
        raise WeightsError(
            f"these official weights do not fit {model}:\n"
            + "\n".join(lines)
            + f"\nCheck that the file belongs to {model}, and the options "
            "(num_classes and those of the model)."
        )
