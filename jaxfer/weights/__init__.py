"""Official checkpoints to our variables: one name map per model."""

import importlib
from typing import Any

from jaxfer.errors import WeightsError
from jaxfer.weights.files import load_file as load_file
from jaxfer.weights.files import naming as naming
from jaxfer.weights.mapping import Arrays as Arrays
from jaxfer.weights.mapping import Variables as Variables
from jaxfer.weights.mapping import check_fits as check_fits

NAME_MAPS: dict[str, tuple[str, str]] = {
    "cfnet": ("jaxfer.weights.cfnet", "cfnet"),
    "cfnet_fusion": ("jaxfer.weights.cfnet", "cfnet_fusion"),
    "eac": ("jaxfer.weights.torchvision", "eac"),
    "fersnet": ("jaxfer.weights.fersnet", "fersnet"),
    "fersnet_discriminator": ("jaxfer.weights.fersnet", "fersnet_discriminator"),
    "lfn": ("jaxfer.weights.lfnsb", "lfn"),
    "lfnsb": ("jaxfer.weights.lfnsb", "lfnsb"),
    "lightcnn9": ("jaxfer.weights.lightcnn", "lightcnn9"),
    "lightcnn29v2": ("jaxfer.weights.lightcnn", "lightcnn29v2"),
    "mobilenet_v2": ("jaxfer.weights.torchvision", "mobilenet_v2"),
    "resnet18": ("jaxfer.weights.torchvision", "resnet18"),
    "resnet50": ("jaxfer.weights.torchvision", "resnet50"),
    "vgg16": ("jaxfer.weights.torchvision", "vgg16"),
}
"""Model to module and function; the module is imported when first asked for."""


def from_official(name: str, arrays: Arrays, **options: Any) -> Variables:
    """Variables of a model from the weights of its authors' released code.

    Args:
      name: of the model, as in `jaxfer.models.create`.
      arrays: by the released code's parameter names, in its layout; `load_file`
        reads them.
      **options: those of `jaxfer.models.create`, and `num_classes`, which is else
        taken from the arrays; with `fused=True` the variables are fused too.

    Returns:
      Variables for `models.create(name, num_classes, **options).apply`.

    Raises:
      WeightsError: no name map for this model; or names are missing, unknown or have
        another shape, the first of which are listed.
      ConfigError: an option is unknown, or the model cannot be fused.
    """
    if name not in NAME_MAPS:
        raise WeightsError(
            f"no official weights are known for {name!r}; "
            f"there are name maps for {', '.join(NAME_MAPS)}"
        )
    module, function = NAME_MAPS[name]
    fused = options.pop("fused", False)
    variables = getattr(importlib.import_module(module), function)(arrays, **options)
    return _fused(variables) if fused else variables


def _fused(variables: Variables) -> Variables:
    import jax
    import jax.numpy as jnp

    from jaxfer.models.fuse import fuse

    return jax.tree.map(jnp.asarray, fuse(jax.device_get(variables)))
