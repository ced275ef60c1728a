"""Settings of a process that trains: XLA on CPU, and the compilation cache.

Those of the CPU must stand in the environment before the process starts, so
`apply` replaces the process by itself once. What the user has set is never
changed.
"""

import functools
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

APPLIED = "JAXFER_CPU_SETTINGS"

# Large pages that stay with the process: XLA allocates and frees each
# temporary, and page faults were seen to take much of a training step.
_MALLOC = ":".join(
    (
        "glibc.malloc.mmap_max=0",
        "glibc.malloc.trim_threshold=100000000000",
        "glibc.malloc.top_pad=67108864",
        "glibc.malloc.arena_max=1",
        "glibc.malloc.hugetlb=1",
    )
)


# jaxlib hands single convolutions to YNNPACK, whose weight gradients are
# several times slower than Eigen's.
_YNN_KNOWN = ("0.10.", "0.12.")
_YNN = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables to add to an environment: empty where nothing applies.

    Nothing applies off Linux with glibc, where another platform than CPU is
    asked for, or where `JAXFER_CPU_SETTINGS` is set (to `0`, to turn this off).
    """
    if APPLIED in environ or platform.libc_ver()[0] != "glibc":
        return {}
    if environ.get("JAX_PLATFORMS", "cpu") != "cpu" or _has_accelerator():
        return {}
    added = {}
    if "GLIBC_TUNABLES" not in environ:
        added["GLIBC_TUNABLES"] = _MALLOC
    flags = environ.get("XLA_FLAGS", "")
    # A jaxlib that does not know a flag refuses to start: add it where it was seen.
    if version("jaxlib").startswith(_YNN_KNOWN) and _YNN.split("=")[0] not in flags:
        added["XLA_FLAGS"] = f"{flags} {_YNN}".strip()
    return {APPLIED: ",".join(added) or "1", **added}


def _has_accelerator() -> bool:
    from importlib.util import find_spec

    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin", "libtpu")
    return any(find_spec(name) is not None for name in plugins)


def apply() -> None:
    """Start this process again with `settings`, or do nothing.

    Nothing is printed: `say` tells, once nothing that the user gave can be wrong.
    A process that has imported JAX already, or that reads its commands from a
    person, is somebody else's and stays.
    """
    if "jax" in sys.modules or hasattr(sys, "ps1"):
        return
    added = settings(os.environ)
    if not added:
        return
    os.environ.update(added)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


@functools.cache  # once in a process
def tell() -> None:
    """Print what `apply` has set before this process started again, if it did."""
    names = os.environ.get(APPLIED, "").split(",")
    shown = " ".join(f"{k}={os.environ[k]}" for k in names if k in os.environ)
    if shown:
        print(f"CPU settings: {shown} (turn off with {APPLIED}=0)", file=sys.stderr)


def say(line: str) -> None:
    """Print a line of a training; before the first, what `tell` does."""
    tell()
    print(line)


def use_compilation_cache() -> None:
    """Keep compiled programs between processes, unless the user chose a place.

    JAX is not imported for that: where it is not yet, its variable is set.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    place = str(cache / "jaxfer" / "xla")
    if "jax" not in sys.modules:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = place
        return
    import jax

    option = "jax_compilation_cache_dir"
    if getattr(jax.config, option) is None:
        jax.config.update(option, place)
