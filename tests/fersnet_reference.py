"""FERSNet with the reference weights, and its outputs, once for all tests."""

import functools

import golden_rule
import jax
import numpy as np

from jaxfer import models, weights

SOURCE, TARGET = np.asarray([1, 3, 5]), np.asarray([4, 5, 0])


def widen(tree, dtype):
    """Parameters and images in another type; running statistics stay float32."""
    return jax.tree_util.tree_map_with_path(
        lambda path, x: np.asarray(
            x, x.dtype if "batch_stats" in jax.tree_util.keystr(path) else dtype
        ),
        tree,
    )


@functools.cache
def official():
    """Networks and variables of the released code, images and one-hot labels."""
    index = golden_rule.load("fersnet")[1]
    variables = {
        name: weights.from_official(name, golden_rule.weights(index, system))
        for name, system in (
            ("fersnet", "fersnet"),
            ("fersnet_discriminator", "fersdis"),
            ("lightcnn9", "lightcnn9"),
        )
    }
    batch = {
        "face": golden_rule.uniform(1301, (3, 96, 96, 3)),
        "face_target": golden_rule.uniform(1302, (3, 96, 96, 3)),
        "source": np.eye(6, dtype=np.float32)[SOURCE],
        "target": np.eye(6, dtype=np.float32)[TARGET],
    }
    return {name: models.create(name, 6) for name in variables}, variables, batch


@functools.cache
def compiled(name):
    return jax.jit(official()[0][name].apply)


@functools.cache
def evaluated(dtype):
    """Outputs in evaluation mode, as NumPy."""
    _, variables, batch = official()
    with jax.enable_x64(dtype == "float64"):
        given, batch = widen((variables["fersnet"], batch), dtype)
        outputs = compiled("fersnet")(given, batch["face"], batch["target"])
        return jax.tree.map(np.asarray, outputs)
