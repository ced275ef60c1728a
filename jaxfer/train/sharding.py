"""Where arrays live: a mesh of runs by data.

Runs (folds times seeds) are independent, so they are spread over devices
first; the devices that remain share each batch. Batch norm inside `jit` then
sees the global batch. The mesh holds the devices of all processes.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxfer.errors import ConfigError

RUNS, DATA = "runs", "data"


def create_mesh(num_runs: int, batch_size: int, devices: list | None = None) -> Mesh:
    """A (runs, data) mesh over as many devices as divide the work evenly.

    Args:
      num_runs: R.
      batch_size: B; of several stages, their greatest common divisor.
      devices: those to use; all, of every process, if None.

    Raises:
      ConfigError: a process would be left with devices that have no work.
    """
    if devices is None:
        # Those of a process are neighbours: its slice of a batch is contiguous.
        devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
    runs = math.gcd(num_runs, len(devices))
    data = math.gcd(batch_size, len(devices) // runs)
    if runs * data < len(devices) and jax.process_count() > 1:
        raise ConfigError(
            f"{num_runs} run(s) with batches of {batch_size} images use {runs * data}"
            f" of {len(devices)} devices, and training by several processes needs"
            " all: make every batch size a multiple of"
            f" {len(devices) // runs}, or start on fewer devices"
        )
    used = np.asarray(devices[: runs * data]).reshape(runs, data)
    return Mesh(used, (RUNS, DATA))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_run(mesh: Mesh) -> NamedSharding:
    """Leading axis: runs."""
    return NamedSharding(mesh, PartitionSpec(RUNS))


def orders(mesh: Mesh, runs: int) -> NamedSharding:
    """(runs, steps, batch) row numbers: runs and the batch are spread.

    An order that all runs share has one run, which no mesh can spread.
    """
    return NamedSharding(mesh, PartitionSpec(RUNS if runs > 1 else None, None, DATA))


def batches(mesh: Mesh) -> NamedSharding:
    """(runs, batch, ...) arrays of one step."""
    return NamedSharding(mesh, PartitionSpec(RUNS, DATA))


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Host arrays, the same in every process, onto the devices."""

    def one(array: Any) -> jax.Array:
        if sharding.is_fully_addressable or not _is_local(array):
            return jax.device_put(array, sharding)
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

    return jax.tree.map(one, tree)


def put_slice(tree: Any, sharding: NamedSharding, shape: tuple[int, ...]) -> Any:
    """Host arrays, each process holding its slice, onto the devices.

    Args:
      tree: arrays whose first axes are this process' part of `shape`.
      sharding: of the whole arrays.
      shape: the first axes of the whole arrays.
    """
    return jax.tree.map(
        lambda a: jax.make_array_from_process_local_data(
            sharding, a, (*shape, *a.shape[len(shape) :])
        ),
        tree,
    )


def fetch(tree: Any) -> Any:
    """Arrays from the devices, whole, as NumPy arrays in every process."""
    leaves, structure = jax.tree.flatten(tree)
    far = [i for i, leaf in enumerate(leaves) if not _is_local(leaf)]
    if far:
        everywhere = _replicate(leaves[far[0]].sharding.mesh)
        for i, leaf in zip(far, everywhere([leaves[i] for i in far]), strict=True):
            leaves[i] = leaf
    return jax.tree.unflatten(structure, jax.device_get(leaves))


def _is_local(array: Any) -> bool:
    return not isinstance(array, jax.Array) or array.is_fully_addressable


@functools.lru_cache(maxsize=4)
def _replicate(mesh: Mesh) -> Callable[[Any], Any]:
    return jax.jit(lambda tree: tree, out_shardings=replicated(mesh))
