"""jaxfer: facial-expression recognition in JAX.

Importing the package loads nothing heavy: JAX, Flax and the data libraries
are imported by the module that needs them, when it is needed.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from jaxfer.predict import load


def __getattr__(name: str) -> Any:
    if name == "load":
        from jaxfer.predict import load

        return load
    raise AttributeError(f"module 'jaxfer' has no attribute {name!r}")
