"""Names of the released PyTorch code of LightCNN."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxfer import models
from jaxfer.models.lightcnn import EMBEDDING_SIZE
from jaxfer.weights.mapping import (
    TORCH_CONV,
    TORCH_LINEAR,
    Arrays,
    Entry,
    Variables,
    convert,
)

CLASSIFIER = "fc2."
"""Of the identities that the released networks were trained on; not used."""


def lightcnn9(
    arrays: Arrays, *, num_classes: int | None = None, **options: Any
) -> Variables:
    """Variables of `lightcnn9` from the released weights of the 9-layer network.

    Args:
      arrays: by PyTorch name, e.g. `features.0.filter.weight`, with or without the
        `module.` of data parallelism. The classifier of identities, and the
        embedding's layer where the model has none, are ignored.
      num_classes: unused, there is no classifier.
      **options: of the model.
    """
    names = {"features.0": "conv1"}
    for level, index in enumerate((2, 4, 6, 7), start=1):
        names |= _group(f"features.{index}", f"group{level}")
    if options.get("embedding"):
        names["fc1"] = "fc"
    return _load("lightcnn9", names, arrays, options, embedding="fc1.")


def lightcnn29v2(
    arrays: Arrays, *, num_classes: int | None = None, **options: Any
) -> Variables:
    """Variables of `lightcnn29v2` from the released weights, version 2.

    Args:
      arrays: by PyTorch name, e.g. `block1.0.conv1.filter.weight`; as of `lightcnn9`.
      num_classes: unused, there is no classifier.
      **options: of the model.
    """
    names = {"conv1": "conv1"}
    for level in (1, 2, 3, 4):
        for i in range(level):
            for conv in ("conv1", "conv2"):
                names[f"block{level}.{i}.{conv}"] = f"block{level}_{i}/{conv}"
        names |= _group(f"group{level}", f"group{level}")
    if options.get("embedding"):
        names["fc"] = "fc"
    return _load("lightcnn29v2", names, arrays, options, embedding="fc.")


def _group(official: str, ours: str) -> dict[str, str]:
    return {f"{official}.{conv}": f"{ours}/{conv}" for conv in ("conv_a", "conv")}


def _load(
    model: str,
    names: dict[str, str],
    arrays: Arrays,
    options: dict[str, Any],
    *,
    embedding: str,
) -> Variables:
    """Convert the layers in `names`, of which all but `fc` are max-feature-maps."""
    network = models.create(model, 0, **options)
    unused = (CLASSIFIER,) if options.get("embedding") else (CLASSIFIER, embedding)
    plain = {name.removeprefix("module."): array for name, array in arrays.items()}
    used = {n: array for n, array in plain.items() if not n.startswith(unused)}
    entries = []
    for official, ours in names.items():
        dense = ours == "fc"
        # The embedding of 29 layers is a plain linear layer, that of 9 has a filter.
        official += "" if official == "fc" else ".filter"
        path = "params/fc" if dense else f"params/{ours}/filter"
        axes = TORCH_LINEAR if dense else TORCH_CONV
        entries += [
            Entry(f"{official}.weight", f"{path}/kernel", axes),
            Entry(f"{official}.bias", f"{path}/bias"),
        ]
    images = jnp.zeros((1, EMBEDDING_SIZE, EMBEDDING_SIZE, 1))
    template = jax.eval_shape(network.init, jax.random.key(0), images)
    return convert(model, entries, used, template)
