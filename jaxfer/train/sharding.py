"""Where arrays live: a mesh of runs by data.

Runs (folds times seeds) are independent, so they are spread over devices
first; the devices that remain share each batch. Batch norm inside `jit` then
sees the global batch.
"""

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

RUNS, DATA = "runs", "data"


def create_mesh(num_runs: int, batch_size: int, devices: list | None = None) -> Mesh:
    """A (runs, data) mesh over as many devices as divide the work evenly."""
    devices = jax.devices() if devices is None else devices
    runs = math.gcd(num_runs, len(devices))
    data = math.gcd(batch_size, len(devices) // runs)
    used = np.asarray(devices[: runs * data]).reshape(runs, data)
    return Mesh(used, (RUNS, DATA))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_run(mesh: Mesh) -> NamedSharding:
    """Leading axis: runs."""
    return NamedSharding(mesh, PartitionSpec(RUNS))


def orders(mesh: Mesh) -> NamedSharding:
    """(runs, steps, batch) row numbers: runs and the batch are spread."""
    return NamedSharding(mesh, PartitionSpec(RUNS, None, DATA))


def batches(mesh: Mesh) -> NamedSharding:
    """(runs, batch, ...) arrays of one step."""
    return NamedSharding(mesh, PartitionSpec(RUNS, DATA))


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Host arrays onto the devices."""
    return jax.device_put(tree, sharding)
