"""What each of EPM's three steps minimises, and what it may change."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import ml_collections
import optax
from flax import traverse_util
from jax import Array

from jaxfer import losses, ops
from jaxfer.errors import ConfigError
from jaxfer.methods.base import Batch
from jaxfer.methods.views import normalize
from jaxfer.models.epm import EPM, pools
from jaxfer.models.vgg import CONVOLUTIONS

VGG_FACE_MEAN = (129.1863, 104.7624, 93.5940)
"""Of its training images, RGB in [0, 255]."""

MINING = {
    "hard": losses.batch_hard_triplet,
    "semi_hard": losses.semi_hard_triplet,
    "all": losses.batch_all_triplet,
}

REFINEMENT_WEIGHTS = {"code": 100.0, "text": 0.01}
"""l2 and l3, in the report's code and in its text."""

Found = tuple[dict[str, Array], dict[str, Array]]
"""Logits (B, K) by head, "" being the decision; losses (B,) by term."""


class Step(NamedTuple):
    """One of the three steps.

    Attributes:
      find: `(params, images, batch) -> Found`, of prepared images in [0, 1].
      weights: of the losses, by term.
      modules: that are trained.
      frozen: convolutions of the trunk that are not, though their module is.
      trains: the same in words.
    """

    find: Callable[[Any, Array, Batch], Found]
    weights: dict[str, float]
    modules: tuple[str, ...]
    frozen: tuple[str, ...]
    trains: str

    def split(self, params: Any) -> tuple[Any, Any]:
        """Parameters that the step trains, and those that it leaves."""
        trained: dict[tuple[str, ...], Array] = {}
        fixed: dict[tuple[str, ...], Array] = {}
        for path, leaf in traverse_util.flatten_dict(params).items():
            frozen = path[:2] == ("efe", "trunk") and path[2] in self.frozen
            chosen = fixed if frozen or path[0] not in self.modules else trained
            chosen[path] = leaf
        unflatten = traverse_util.unflatten_dict
        return unflatten(trained), unflatten(fixed)

    def loss(
        self, trained: Any, fixed: Any, images: Array, batch: Batch
    ) -> tuple[Array, tuple[Array, dict[str, Array], dict[str, Array]]]:
        """Mean of the weighted losses; and them (B,), the logits, and each loss."""
        heads, terms = self.find(merge(trained, fixed), images, batch)
        objective = losses.multi_task(terms, losses.fixed_weights(self.weights))
        return jnp.mean(objective), (objective, heads, terms)


def create(network: EPM, options: ml_collections.ConfigDict) -> dict[str, Step]:
    """The steps `efe`, `emr` and `epmg`, by the fields of `config.method`.

    Raises:
      ConfigError: an image size that cannot be halved to 7 x 7, or l2 and l3 given
        twice.
    """
    side, margins = options.image_size, options.margins
    doublings = pools(side, side)
    triplet = MINING[options.mining]
    weights = _weights(options)

    def classification(logits: Array, batch: Batch) -> Array:
        return losses.cross_entropy(
            logits, batch["target"], label_smoothing=options.label_smoothing
        )

    def extract(params: Any, images: Array) -> Any:
        inputs = model_inputs(images, options.normalization)
        return apply(network, "efe", EPM.extract, params, inputs)

    def efe(params: Any, images: Array, batch: Batch) -> Found:
        logits = extract(params, images).logits
        return {"": logits}, {"classification": classification(logits, batch)}

    def emr(params: Any, images: Array, batch: Batch) -> Found:
        coarse = extract(params, images)
        refined, hidden = apply(network, "emr", EPM.refine, params, coarse.mask)
        return {"": coarse.logits}, {
            "classification": classification(coarse.logits, batch),
            "mask_refinement": losses.mask_refinement(coarse.mask, refined),
            "hidden_triplet": triplet(hidden, batch["label"], margins.hidden),
        }

    def epmg(params: Any, images: Array, batch: Batch) -> Found:
        coarse, label = extract(params, images), batch["label"]
        generate = partial(apply, network, "epmg", EPM.generate)
        pattern = generate(params, coarse.masked, doublings)
        reconstruction = losses.pattern_reconstruction(
            pattern.image, ops.grayscale(images)
        )
        return {"": pattern.logits, "efe": coarse.logits}, {
            "pattern_reconstruction": reconstruction,
            "pattern_triplet": triplet(pattern.image, label, margins.pattern),
            "embedding_triplet": triplet(pattern.embedding, label, margins.embedding),
            "classification": classification(pattern.logits, batch),
        }

    frozen = CONVOLUTIONS[: options.frozen_convolutions]
    return {
        "efe": Step(efe, weights["efe"], ("efe",), (), "the feature extractor"),
        "emr": Step(
            emr,
            weights["emr"],
            ("efe", "emr"),
            frozen,
            f"the feature extractor, without its first {len(frozen)} convolutions,"
            " and the mask refiner",
        ),
        "epmg": Step(epmg, weights["epmg"], ("epmg",), (), "the pattern-map generator"),
    }


def apply(
    network: EPM, module: str, method: Callable[..., Any], params: Any, *args: Any
) -> Any:
    """One of the network's three modules alone."""
    return network.apply({"params": {module: params[module]}}, *args, method=method)


def merge(trained: Any, fixed: Any) -> Any:
    """The whole of what `Step.split` took apart."""
    flatten = traverse_util.flatten_dict
    return traverse_util.unflatten_dict({**flatten(trained), **flatten(fixed)})


def model_inputs(images: Array, normalization: str) -> Array:
    """Images in [0, 1] as the trunk's weights expect them."""
    if normalization == "imagenet":
        return normalize(images)
    mean = jnp.asarray(VGG_FACE_MEAN, images.dtype).reshape(1, 1, 1, 3)
    return 255 * images - mean


def by_module(
    optimizer: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """The optimiser for each of several modules, each clipped by its own norm.

    Args:
      optimizer: made by `optimizers.create_optimizer`.

    Returns:
      An optimiser of dicts of parameter trees.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params: Mapping[str, Any]) -> Any:
        return {name: optimizer.init(tree) for name, tree in params.items()}

    def update(
        updates: Mapping[str, Any],
        state: Mapping[str, Any],
        params: Mapping[str, Any],
        *,
        grad_fn: Callable[[Any, Any], Any],
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        pairs = {
            name: optimizer.update(
                tree,
                state[name],
                params[name],
                grad_fn=lambda p, i, name=name: grad_fn({**params, name: p}, i)[name],
            )
            for name, tree in updates.items()
        }
        first, second = ({n: pair[i] for n, pair in pairs.items()} for i in (0, 1))
        return first, second

    return optax.GradientTransformationExtraArgs(init, update)


def _weights(options: ml_collections.ConfigDict) -> dict[str, dict[str, float]]:
    """Weights of the losses, by step and term."""
    given = options.weights.to_dict()
    if options.refinement_weights != "given":
        if not given["l2"] == given["l3"] == REFINEMENT_WEIGHTS["code"]:
            raise ConfigError(
                f"method.weights.l2 is {given['l2']} and l3 {given['l3']}, but"
                f" method.refinement_weights is {options.refinement_weights!r}: set it"
                " to 'given' to use them"
            )
        given["l2"] = given["l3"] = REFINEMENT_WEIGHTS[options.refinement_weights]
    return {
        "efe": {"classification": 1.0},
        "emr": {
            "classification": given["l1"],
            "mask_refinement": given["l2"],
            "hidden_triplet": given["l3"],
        },
        "epmg": {
            "pattern_reconstruction": given["l4"],
            "pattern_triplet": given["l5"],
            "embedding_triplet": given["l6"],
            "classification": given["l7"],
        },
    }
