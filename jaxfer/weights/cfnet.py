"""Names of the released Keras code of CFNet and of its fusion network."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfer import models
from jaxfer.models.backbone import scaled_nearest
from jaxfer.models.cfnet import BLOCKS, HEADS
from jaxfer.weights.mapping import Arrays, Entry, Variables, convert

SHARED_DENSE = (
    "local_dense",
    "global_dense",
    "shared_dense_1",
    "shared_dense_2",
    *(f"{head}_logits" for head in HEADS),
)
SEPARATE_DENSE = (
    *(f"{head}_dense_1" for head in HEADS),
    *(f"{head}_dense_2" for head in HEADS),
    *(f"{head}_logits" for head in HEADS),
)
FUSION_DENSE = ("local", "global", "fused", "logits")
"""Our names of the Dense layers, in the order in which Keras numbers them."""

BATCH_NORM = {
    "gamma": "params/{}/scale",
    "beta": "params/{}/bias",
    "moving_mean": "batch_stats/{}/mean",
    "moving_variance": "batch_stats/{}/var",
}


def cfnet(
    arrays: Arrays, *, num_classes: int | None = None, **options: Any
) -> Variables:
    """Variables of `cfnet` from the released joint network's weights.

    They expect images in OpenCV's channel order, BGR.

    Args:
      arrays: by Keras name, e.g. `conv2d_3/kernel`, with or without a final `:0`.
      num_classes: K; None takes it from the arrays.
      **options: of the model; `heads="shared"` for CK+, "separate" for MMI and
        RAF-DB.
    """
    separate = options.get("heads", "shared") == "separate"
    dense = SEPARATE_DENSE if separate else SHARED_DENSE
    branches = [f"{b}/{{}}{block}" for b in ("local", "global") for block in BLOCKS]
    arrays = keras_names(
        arrays,
        {
            "conv2d": len(branches),
            "batch_normalization": len(branches),
            "dense": len(dense),
        },
    )
    entries = dense_entries(dense)
    for i, place in enumerate(branches):
        conv, norm = numbered("conv2d", i), numbered("batch_normalization", i)
        path = place.format("conv")
        entries += [
            Entry(f"{conv}/kernel", f"params/{path}/kernel"),
            Entry(f"{conv}/bias", f"params/{path}/bias"),
        ]
        path = place.format("bn")
        entries += [
            Entry(f"{norm}/{name}", ours.format(path))
            for name, ours in BATCH_NORM.items()
        ]
    classes = num_classes or classes_of(arrays, len(dense), outputs=len(HEADS))
    model = models.create("cfnet", classes, **options)
    size = 16 * model.grid
    template = jax.eval_shape(
        model.init, jax.random.key(0), jnp.zeros((1, size, size, 3))
    )
    return convert("cfnet", entries, arrays, template)


def cfnet_fusion(
    arrays: Arrays, *, num_classes: int | None = None, **options: Any
) -> Variables:
    """Variables of `cfnet_fusion` from the released fusion network's weights.

    The released network takes features of separate heads: 1024, 1024 and 2048.

    Args:
      arrays: by Keras name, e.g. `dense_2/kernel`, with or without a final `:0`.
      num_classes: K; None takes it from the arrays.
      **options: of the model.
    """
    arrays = keras_names(arrays, {"dense": len(FUSION_DENSE)})
    classes = num_classes or classes_of(arrays, len(FUSION_DENSE), outputs=1)
    model = models.create("cfnet_fusion", classes, **options)
    features = [
        jnp.zeros((1, scaled_nearest(units, model.width)))
        for units in (1024, 1024, 2048)
    ]
    template = jax.eval_shape(model.init, jax.random.key(0), *features)
    return convert("cfnet_fusion", dense_entries(FUSION_DENSE), arrays, template)


def numbered(kind: str, index: int) -> str:
    """Keras' name of the layer with this index among its kind."""
    return f"{kind}_{index}" if index else kind


def dense_entries(names: tuple[str, ...]) -> list[Entry]:
    """Entries of Dense layers, given our names in Keras' order."""
    return [
        Entry(f"{numbered('dense', i)}/{part}", f"params/{name}/{part}")
        for i, name in enumerate(names)
        for part in ("kernel", "bias")
    ]


def classes_of(arrays: Arrays, layers: int, *, outputs: int) -> int:
    """Number of classes, by the bias of an output layer; 1 if all are missing."""
    for index in range(layers - outputs, layers):
        bias = arrays.get(f"{numbered('dense', index)}/bias")
        if bias is not None and bias.ndim == 1:
            return len(bias)
    return 1


def keras_names(arrays: Arrays, layers: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Names without `:0`, and numbered from the network's own first layer.

    Keras counts the layers of a process, not of a network: the second network of a
    script begins at, say, `dense_7`. Where the numbers of a kind are consecutive and
    as many as the network has, they are counted from 0 again.

    Args:
      arrays: by Keras name.
      layers: how many layers of each kind the network has.
    """
    pattern = re.compile(rf"({'|'.join(layers)})(?:_(\d+))?/(.+)")
    clean = {name.removesuffix(":0"): array for name, array in arrays.items()}
    numbers: dict[str, set[int]] = {kind: set() for kind in layers}
    for name in clean:
        if match := pattern.fullmatch(name):
            numbers[match[1]].add(int(match[2] or 0))
    first = {
        kind: min(found)
        for kind, found in numbers.items()
        if len(found) == layers[kind] == max(found) - min(found) + 1
    }

    def rename(name: str) -> str:
        match = pattern.fullmatch(name)
        if match is None or match[1] not in first:
            return name
        index = int(match[2] or 0) - first[match[1]]
        return f"{numbered(match[1], index)}/{match[3]}"

    return {rename(name): array for name, array in clean.items()}
