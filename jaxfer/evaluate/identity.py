"""Whether two faces are of one person, by a network that learned to tell people."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxfer import models, ops, train, weights
from jaxfer.errors import ConfigError
from jaxfer.image_arguments import resized
from jaxfer.models.lightcnn import EMBEDDING_SIZE

BATCH = 16
IDENTITIES = "lfn"
"""The method that learns identities; its embeddings tell people apart."""

Embed = Callable[[np.ndarray], np.ndarray]
"""uint8 images (n, H, W, 3), RGB -> embeddings (n, D)."""


def create_embed(source: Path) -> tuple[str, Embed]:
    """A network that embeds faces.

    Args:
      source: a finished run of `lfn`, or a file of LightCNN's released weights, of 9
        or 29 layers (version 2).

    Returns:
      What it is, in words, and the function.

    Raises:
      JaxferError: the run is of another method, or the file does not fit.
    """
    if source.is_dir():
        trained = train.load_run(source)
        if trained.method.name != IDENTITIES:
            raise ConfigError(
                f"{source} is a run of {trained.method.name}, which learned no"
                f" identities: expected one of {IDENTITIES}, or a file of LightCNN's"
                " weights"
            )
        deployed = trained.method.deployed
        variables = deployed.convert(trained.variables)

        def embed_rgb(variables: dict, images: Array) -> Array:
            return deployed.predict(variables, images).features["embedding"]

        size = trained.config.data.image_size
        return f"LFN of {source}", _batched(embed_rgb, variables, size)
    arrays = weights.load_file(source)
    name = "lightcnn29v2" if any("block1" in key for key in arrays) else "lightcnn9"
    network = models.create(name, 0, embedding=True)
    with weights.naming(source):
        variables = weights.from_official(name, arrays, embedding=True)

    def embed_gray(variables: dict, images: Array) -> Array:
        gray = ops.grayscale(images.astype(jnp.float32) / 255)
        return network.apply(variables, gray).features["embedding"]

    return f"{name} of {source.name}", _batched(embed_gray, variables, EMBEDDING_SIZE)


def _batched(
    embed: Callable[[dict, Array], Array], variables: dict, size: int
) -> Embed:
    step = jax.jit(embed)
    variables = jax.device_put(variables)

    def call(images: np.ndarray) -> np.ndarray:
        fitting, parts = resized(images, size), []
        for first in range(0, len(images), BATCH):
            at = np.minimum(np.arange(first, first + BATCH), len(images) - 1)
            parts.append(np.asarray(step(variables, fitting[at]), np.float32))
        return np.concatenate(parts)[: len(images)]

    return call


def similarities(
    source: np.ndarray, drawn: np.ndarray, label: np.ndarray, person: np.ndarray
) -> dict[str, float]:
    """Mean cosines of embeddings.

    Args:
      source: (n, D), of real faces.
      drawn: (n, D), of the faces drawn from them.
      label: int (n,), the expression of the real faces.
      person: int (n,), who they are; -1 where unknown.

    Returns:
      `drawn`, of each real face and the one drawn from it; `same_person`, of two real
      faces of one person with different expressions; `different_people`, of two. nan
      where there is no such pair.
    """
    source, drawn = (_unit(vectors) for vectors in (source, drawn))
    cosine = source @ source.T
    known = (person[:, None] >= 0) & (person[None] >= 0)
    same = known & (person[:, None] == person[None])
    pairs = {
        "same_person": same & (label[:, None] != label[None]),
        "different_people": known & ~same,
    }
    found = {"drawn": float(np.mean(np.sum(source * drawn, axis=1)))}
    return found | {
        name: float(cosine[chosen].mean()) if chosen.any() else float("nan")
        for name, chosen in pairs.items()
    }


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
