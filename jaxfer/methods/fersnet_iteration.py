"""One iteration of FERSNet: the discriminator's steps, then one of the generator.

Zhao et al., Deep Multi-task Learning for Facial Expression Recognition and Synthesis
Based on Selective Feature Sharing, ICPR 2020. Order, losses and weights are those of
the released training loop.
"""

import functools
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax import Array, lax

from jaxfer import losses, ops
from jaxfer.methods import common
from jaxfer.methods import fersnet_recognition as recognition
from jaxfer.methods.base import Batch, Metrics, State, Variables
from jaxfer.methods.fersnet_recipe import ADVERSARIAL, RECONSTRUCTION, Recipe


class Pairs(NamedTuple):
    """Two faces of each of B people.

    Attributes:
      image: (B, H, W, 3), float in [0, 1].
      source: (B, K), the expression of `image`, one-hot.
      partner: (B, H, W, 3), the same person with another expression.
      target: (B, K), the expression of `partner`, one-hot.
    """

    image: Array
    source: Array
    partner: Array
    target: Array


class Seen(NamedTuple):
    """What an iteration saw on its way.

    Attributes:
      terms: the network's losses by name, (B,) each; `generator` is the weighted sum
        of those of synthesis, `objective` that and `recognition`.
      logits: (B, K), of the images.
      images: (2, B, H, W, 3), synthesised: the partner, and from it the image again.
      judge_losses: (steps, B), of the discriminator.
      scores: (steps, 2, B, H', W', 1), of the partners and of synthesised images.
    """

    terms: dict[str, Array]
    logits: Array
    images: Array
    judge_losses: Array
    scores: Array


def create_step(
    config: ml_collections.ConfigDict, recipe: Recipe
) -> recognition.TrainStep:
    """A train step of pairs: images, each followed by its partner."""

    def train_step(state: State, batch: Batch, key: Array) -> tuple[State, Metrics]:
        k_views, k_noise = jax.random.split(key)
        images = batch["image"]
        # As channels of one image, so that both are cropped and flipped alike.
        both = jnp.concatenate([images[0::2], images[1::2]], axis=-1)
        image, partner = (
            recognition.ordered(faces, config)
            for faces in jnp.split(recognition.views(k_views, both, config), 2, axis=-1)
        )
        source, target = batch["target"][0::2], batch["target"][1::2]
        pairs = Pairs(image, source, partner, target)
        state, seen = iteration(recipe, state, pairs, k_noise)
        terms = dict(seen.terms)
        del terms["recognition"]  # the loss of the logits, below
        metrics = common.classification_metrics(
            terms.pop("objective"), {"": seen.logits}, batch["label"][0::2]
        )
        real, fake = jnp.mean(seen.scores, axis=(0, 3, 4, 5))
        terms |= {
            "discriminator": jnp.mean(seen.judge_losses, axis=0),
            "score_real": real,
            "score_fake": fake,
        }
        count = metrics["objective"][1]
        return state, metrics | {k: (jnp.sum(v), count) for k, v in terms.items()}

    return train_step


def iteration(
    recipe: Recipe, state: State, pairs: Pairs, key: Array | None
) -> tuple[State, Seen]:
    """Steps of the discriminator on the same images, then one of the network.

    The discriminator sees images synthesised in evaluation mode; the network is then
    judged by the discriminator that this leaves.

    Args:
      recipe: see `Recipe`.
      state: `params` and `batch_stats` of `network`, `params` of `discriminator`,
        `frozen` of `identity`; optimiser states `network` and `discriminator`.
      pairs: see `Pairs`.
      key: of the noise in the decoder; None leaves it out.

    Returns:
      The next state, and what was seen.
    """
    keys = [None, None] if key is None else list(jax.random.split(key))
    network = recognition.part(state.variables, "network")
    drawn = recipe.network.apply(
        network, pairs.image, pairs.target, rngs=_noise(keys[0])
    ).images["synthesised"]
    params, judge_state, judge_losses, scores = discriminator_steps(
        recipe, state, pairs, drawn
    )
    variables = recognition.put(state.variables, "discriminator", {"params": params})

    def loss_fn(params: Variables) -> tuple[Array, tuple]:
        return generator_losses(recipe, variables, params, pairs, keys[1])

    params, network_state, (terms, logits, images, stats) = common.gradient_step(
        loss_fn,
        recipe.optimizer,
        network["params"],
        state.opt_state["network"],
        state.lr_scale,
    )
    network = {"params": params, "batch_stats": stats}
    variables = recognition.put(variables, "network", network)
    new = {"network": network_state, "discriminator": judge_state}
    state = state._replace(
        step=state.step + 1,
        variables=variables,
        opt_state={**state.opt_state, **new},
    )
    return state, Seen(terms, logits, images, judge_losses, scores)


def discriminator_steps(
    recipe: Recipe, state: State, pairs: Pairs, drawn: Array
) -> tuple[Variables, optax.OptState, Array, Array]:
    """Train the discriminator to tell the partners from what was drawn in their place.

    Args:
      recipe: see `Recipe`.
      state: see `iteration`.
      pairs: see `Pairs`.
      drawn: (B, H, W, 3), synthesised from `pairs.image`.

    Returns:
      Its parameters and optimiser state, and `Seen.judge_losses` and `Seen.scores`.
    """
    loss_of, _ = ADVERSARIAL[recipe.adversarial]
    images = jnp.concatenate([pairs.partner, drawn])
    target = jnp.concatenate([pairs.target, pairs.target])

    def loss_fn(params: Variables) -> tuple[Array, tuple]:
        outputs = recipe.discriminator.apply({"params": params}, images, target)
        scores = jnp.stack(jnp.split(outputs.maps["validity"], 2))
        loss = loss_of(scores[0], scores[1])
        return jnp.mean(loss), (loss, scores)

    def step(carry: tuple, _: None) -> tuple[tuple, tuple]:
        params, opt_state = carry
        params, opt_state, seen = common.gradient_step(
            loss_fn, recipe.judge_optimizer, params, opt_state, state.lr_scale
        )
        return (params, opt_state), seen

    start = (
        state.variables["params"]["discriminator"],
        state.opt_state["discriminator"],
    )
    carry, (loss, scores) = lax.scan(step, start, length=recipe.judge_steps)
    return *carry, loss, scores


def generator_losses(
    recipe: Recipe,
    variables: Variables,
    params: Variables,
    pairs: Pairs,
    key: Array | None,
) -> tuple[Array, tuple[dict[str, Array], Array, Array, Variables]]:
    """What the network minimises, recognition and synthesis.

    CE + reconstruction + 0.05 identity + 0.3 adversarial + 0.5 cycle

    with the released weights, which `Recipe.weights` holds.

    Args:
      recipe: see `Recipe`.
      variables: see `iteration`.
      params: of the network, for the gradient.
      pairs: see `Pairs`.
      key: of the noise in the decoder; None leaves it out.

    Returns:
      The mean, and `Seen.terms`, `Seen.logits`, `Seen.images` and the network's next
      running statistics, which move with both passes.

    References:
      Zhao et al., ICPR 2020, "Learning Criteria", with the weights of the released
      code, which compares images and their features in grey. `Recipe.reconstruct`
      compares images in color: otherwise only the discriminator and the way back
      teach colors. `Recipe.distance` gives the squares that the slides print.
    """

    def draw(carry: tuple, given: tuple) -> tuple[tuple, tuple]:
        images, stats = carry
        target, key = given
        outputs, updated = recipe.network.apply(
            {"params": params, "batch_stats": stats},
            images,
            target,
            train=True,
            mutable="batch_stats",
            rngs=_noise(key),
        )
        images = outputs.images["synthesised"]
        return (images, updated["batch_stats"]), (images, outputs.logits)

    # There and back: a loop compiles the network once.
    targets = jnp.stack([pairs.target, pairs.source])
    keys = None if key is None else jax.random.split(key)
    start = (pairs.image, variables["batch_stats"]["network"])
    (_, stats), (images, logits) = lax.scan(draw, start, (targets, keys))
    grey = ops.grayscale(images[0], recipe.channel_order)
    real = ops.grayscale(pairs.partner, recipe.channel_order)
    judge = {"params": variables["params"]["discriminator"]}
    scores = recipe.discriminator.apply(judge, images[0], pairs.target)
    compared = (grey, real)
    if recipe.reconstruct == "color":
        compared = (images[0], pairs.partner)
    terms = {
        "reconstruction": RECONSTRUCTION[recipe.distance](*compared),
        "adversarial": ADVERSARIAL[recipe.adversarial][1](scores.maps["validity"]),
        "cycle": losses.cycle(pairs.image, images[1]),
    }
    if recipe.weights["identity"]:
        features = (
            recipe.identity.apply({"params": variables["frozen"]["identity"]}, faces)
            for faces in (grey, real)
        )
        maps = (outputs.features["map"] for outputs in features)
        terms["identity"] = losses.identity(*maps)
    weighted = [recipe.weights[name] * term for name, term in terms.items()]
    generator = functools.reduce(operator.add, weighted)
    recognition = losses.cross_entropy(logits[0], pairs.source)
    objective = recognition + generator
    terms |= {
        "recognition": recognition,
        "generator": generator,
        "objective": objective,
    }
    return jnp.mean(objective), (terms, logits[0], images, stats)


def _noise(key: Array | None) -> dict[str, Array]:
    return {} if key is None else {"noise": key}
