"""How much memory there is, and how much a run took."""

import resource
import sys
from pathlib import Path
from typing import Any

import jax


def available_bytes() -> int:
    """Free memory of one device; on CPU, of the host."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 8 * 2**30  # nothing to read it from: assume a small machine


def peak_bytes() -> int:
    """The most that this process has held: device memory, or the host's on CPU."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def fits(compiled: Any, share: float = 0.7) -> bool:
    """Whether a compiled function's temporaries fit into that share of memory."""
    analysis = compiled.memory_analysis()
    if analysis is None:  # a backend that does not tell
        return True
    return analysis.temp_size_in_bytes < share * available_bytes()
