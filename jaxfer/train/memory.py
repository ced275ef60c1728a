"""How much memory there is, and how much a run took."""

import resource
import sys
from typing import Any

import jax
import psutil


def _device_stats() -> dict[str, int]:
    device = jax.local_devices()[0]
    if device.platform == "cpu":  # its memory is the host's
        return {}
    return device.memory_stats() or {}


def available_bytes() -> int:
    """Free memory of one device; on CPU, of the host."""
    stats = _device_stats()
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return psutil.virtual_memory().available


def peak_bytes() -> int:
    """The most that this process has held: device memory, or the host's on CPU."""
    stats = _device_stats()
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def fits(compiled: Any, share: float = 0.7) -> bool:
    """Whether a compiled function's temporaries fit into that share of memory."""
    analysis = compiled.memory_analysis()
    if analysis is None:  # a backend that does not tell
        return True
    return analysis.temp_size_in_bytes < share * available_bytes()
