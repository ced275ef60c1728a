"""Data sets: preparing, loading, splitting and streaming them. Never imports JAX."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxfer.data.builders.plan import Skip
    from jaxfer.data.dataset import Dataset, Table, load, read_images
    from jaxfer.data.report import PrepareReport

__all__ = ["Dataset", "PrepareReport", "Skip", "Table", "load", "read_images"]

_MODULES = {
    "Dataset": "dataset",
    "PrepareReport": "report",
    "Skip": "builders.plan",
    "Table": "dataset",
    "load": "dataset",
    "read_images": "dataset",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return getattr(module, name)
