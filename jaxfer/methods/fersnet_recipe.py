"""What FERSNet's joint training is made of: networks, optimisers, weights."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax.numpy as jnp
import ml_collections
import optax
from flax import linen as nn
from jax import Array

from jaxfer import losses, models
from jaxfer.errors import ConfigError
from jaxfer.methods.optimizers import create_optimizer

ADVERSARIAL: dict[str, tuple[Callable[..., Array], Callable[..., Array]]] = {
    "least_squares": (
        losses.least_squares_discriminator,
        losses.least_squares_generator,
    ),
    "log": (losses.log_adversarial_discriminator, losses.log_adversarial_generator),
    "log_saturating": (
        losses.log_adversarial_discriminator,
        partial(losses.log_adversarial_generator, saturating=True),
    ),
}
"""Losses of the discriminator and of the generator, by `method.adversarial`."""
RECONSTRUCTION = {
    "absolute": losses.reconstruction,
    "squared": losses.squared_reconstruction,
}
"""Of drawn faces from real ones, by `method.distance`."""


class Recipe(NamedTuple):
    """What an iteration is made of.

    Attributes:
      network: recogniser and generator, `FERSNet`.
      discriminator: `FERSNetDiscriminator`.
      identity: gives the features that tell faces apart, `LightCNN9`.
      optimizer: of the network.
      judge_optimizer: of the discriminator.
      judge_steps: of the discriminator, for each of the network.
      weights: of the terms reconstruction, identity, adversarial and cycle.
      adversarial: a name of `ADVERSARIAL`.
      channel_order: of the images.
      reconstruct: whether drawn faces are compared with real ones in grey or in color.
      distance: of that comparison, a name of `RECONSTRUCTION`.
    """

    network: nn.Module
    discriminator: nn.Module
    identity: nn.Module
    optimizer: optax.GradientTransformation
    judge_optimizer: optax.GradientTransformation
    judge_steps: int
    weights: dict[str, float]
    adversarial: str
    channel_order: Literal["bgr", "rgb"]
    reconstruct: Literal["grey", "color"] = "grey"
    distance: Literal["absolute", "squared"] = "absolute"


def create_recipe(
    config: ml_collections.ConfigDict, *, num_classes: int, steps_per_epoch: int
) -> Recipe:
    """The recipe that a config asks for.

    Raises:
      ConfigError: an unknown adversarial loss, or no step of the discriminator.
    """
    options, judge = config.method, config.discriminator
    if options.adversarial not in ADVERSARIAL:
        raise ConfigError(
            f"method.adversarial is {options.adversarial!r}; it takes"
            f" {', '.join(ADVERSARIAL)}"
        )
    if judge.steps < 1:
        raise ConfigError(f"discriminator.steps is {judge.steps}; it takes 1 or more")
    dtype = jnp.dtype(config.precision)
    return Recipe(
        network=create_network(config, num_classes),
        discriminator=models.create(
            "fersnet_discriminator", num_classes, width=options.width, dtype=dtype
        ),
        identity=models.create("lightcnn9", 0, dtype=dtype),
        optimizer=create_optimizer(
            config.optim, epochs=config.epochs, steps_per_epoch=steps_per_epoch
        ),
        judge_optimizer=create_optimizer(
            judge.optim,
            epochs=config.epochs,
            steps_per_epoch=steps_per_epoch * judge.steps,
        ),
        judge_steps=judge.steps,
        weights=options.weights.to_dict(),
        adversarial=options.adversarial,
        channel_order=options.channel_order,
        reconstruct=options.reconstruct,
        distance=options.distance,
    )


def create_network(config: ml_collections.ConfigDict, num_classes: int) -> nn.Module:
    """Recogniser and generator; without multi-task learning, the recogniser alone."""
    options = config.method
    return models.create(
        "fersnet",
        num_classes,
        feature_sharing=options.feature_sharing if options.multi_task else "none",
        width=options.width,
        momentum=options.momentum,
        dtype=jnp.dtype(config.precision),
    )
