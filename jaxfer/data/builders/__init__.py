"""One TFDS builder per data set, each in a file of its own, imported late."""

import difflib
import importlib
from typing import Any

from jaxfer.errors import DataError

BUILDERS = {
    "affectnet": "Affectnet",
    "ckplus": "Ckplus",
    "ferplus": "Ferplus",
    "image_folder": "ImageFolder",
    "mmi": "Mmi",
    "oulu_casia": "OuluCasia",
    "rafdb": "Rafdb",
    "synthetic_faces": "SyntheticFaces",
    "synthetic_sessions": "SyntheticSessions",
}
"""Data set -> class, in the file of this package that is named like the set."""


def find(name: str) -> Any:
    """Returns the builder class of a data set.

    Raises:
      DataError: there is no such data set; the nearest name is given.
    """
    if name not in BUILDERS:
        near = difflib.get_close_matches(name, BUILDERS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(
            f"There is no data set {name!r}; known are {', '.join(BUILDERS)}.{hint}"
        )
    module = importlib.import_module(f"jaxfer.data.builders.{name}")
    return getattr(module, BUILDERS[name])
