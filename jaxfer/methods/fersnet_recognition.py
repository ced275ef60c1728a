"""FERSNet's recognition: how faces are cropped, a step on them, and the answer."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import optax
from flax import linen as nn
from jax import Array, lax

from jaxfer import losses, ops
from jaxfer.methods import common
from jaxfer.methods.base import Batch, Deployment, Metrics, State, Variables
from jaxfer.models import Outputs
from jaxfer.models.fuse import deployed

TrainStep = Callable[[State, Batch, Array], tuple[State, Metrics]]


def views(key: Array, images: Array, config: ml_collections.ConfigDict) -> Array:
    """Random crops of augmented images, for training.

    Args:
      key: PRNG key.
      images: (B, H, W, C), uint8 or float in [0, 1]; the channels may be of several
        images, which are then changed alike.
      config: a whole experiment's config.

    Returns:
      (B, S, S, C), float32, with S of `method.image_size`.
    """
    k_augment, k_crop = jax.random.split(key)
    images = ops.resize(common.to_float(images), config.data.image_size)
    images = common.augment(k_augment, images, config.augment)
    size, (batch, side, _, channels) = config.method.image_size, images.shape
    corners = jax.random.randint(k_crop, (2, batch), 0, side - size + 1)

    def crop(image: Array, row: Array, column: Array) -> Array:
        return lax.dynamic_slice(image, (row, column, 0), (size, size, channels))

    return jax.vmap(crop)(images, *corners)


def middle(images: Array, config: ml_collections.ConfigDict) -> Array:
    """The middle (B, S, S, C) of images, for answers; see `views`."""
    images = ops.resize(common.to_float(images), config.data.image_size)
    size = config.method.image_size
    first = (config.data.image_size - size) // 2
    return images[:, first : first + size, first : first + size]


def ordered(images: Array, config: ml_collections.ConfigDict) -> Array:
    """From RGB to the network's order of channels, or back."""
    return images[..., ::-1] if config.method.channel_order == "bgr" else images


def part(variables: Variables, name: str) -> Variables:
    """The variables of one network among those of the method."""
    return {kind: variables[kind][name] for kind in ("params", "batch_stats")}


def without_decoder(network: Variables) -> Variables:
    """The variables that recognition needs."""
    return {
        kind: {name: leaf for name, leaf in tree.items() if name != "decoder"}
        for kind, tree in network.items()
    }


def train(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    name: str,
    state: State,
    images: Array,
    target: Array,
) -> tuple[State, Array, Array]:
    """One step on the cross-entropy.

    Args:
      network: `FERSNet`.
      optimizer: its optimiser, whose state is called as the network is.
      name: of the network among the variables.
      state: before the step.
      images: (B, S, S, 3), in the network's order of channels.
      target: (B, K).

    Returns:
      The state after it, the losses (B,) and the logits (B, K).
    """
    before = part(state.variables, name)

    def loss_fn(params: Variables) -> tuple[Array, tuple]:
        outputs, updated = network.apply(
            {"params": params, "batch_stats": before["batch_stats"]},
            images,
            train=True,
            mutable="batch_stats",
        )
        loss = losses.cross_entropy(outputs.logits, target)
        return jnp.mean(loss), (loss, outputs.logits, updated["batch_stats"])

    params, opt_state, (loss, logits, stats) = common.gradient_step(
        loss_fn, optimizer, before["params"], state.opt_state[name], state.lr_scale
    )
    variables = put(state.variables, name, {"params": params, "batch_stats": stats})
    state = state._replace(
        step=state.step + 1,
        variables=variables,
        opt_state={**state.opt_state, name: opt_state},
    )
    return state, loss, logits


def put(variables: Variables, name: str, network: Variables) -> Variables:
    """The method's variables with those of one network replaced; see `part`."""
    new = {kind: {**variables[kind], name: tree} for kind, tree in network.items()}
    return {**variables, **new}


def create_step(
    config: ml_collections.ConfigDict,
    network: nn.Module,
    optimizer: optax.GradientTransformation,
) -> TrainStep:
    """A train step of recognition alone, of the network called `network`."""

    def train_step(state: State, batch: Batch, key: Array) -> tuple[State, Metrics]:
        images = ordered(views(key, batch["image"], config), config)
        state, loss, logits = train(
            network, optimizer, "network", state, images, batch["target"]
        )
        metrics = common.classification_metrics(loss, {"": logits}, batch["label"])
        return state, metrics

    return train_step


def create_augmented_step(
    config: ml_collections.ConfigDict,
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    num_classes: int,
) -> TrainStep:
    """A train step of the recogniser, on images and on faces drawn from them.

    Each image is drawn with another expression, each as likely, by the network called
    `network`; the one called `recogniser` starts from it and takes the step.
    """

    def train_step(state: State, batch: Batch, key: Array) -> tuple[State, Metrics]:
        k_views, k_target = jax.random.split(key)
        images = views(k_views, batch["image"], config)
        images = ordered(images, config)
        labels = batch["label"]
        step = jax.random.randint(k_target, labels.shape, 1, num_classes, labels.dtype)
        others = (labels + step) % num_classes
        wanted = jax.nn.one_hot(others, num_classes, dtype=jnp.float32)
        generator = part(state.variables, "network")
        drawn = network.apply(generator, images, wanted).images["synthesised"]
        # The stage before handed on the epoch that it selected, whichever that is.
        recogniser = jax.tree.map(
            lambda selected, own: jnp.where(state.step == 0, selected, own),
            without_decoder(generator),
            part(state.variables, "recogniser"),
        )
        variables = put(state.variables, "recogniser", recogniser)
        state, loss, logits = train(
            network,
            optimizer,
            "recogniser",
            state._replace(variables=variables),
            jnp.concatenate([images, jnp.clip(drawn, 0, 1)]),
            jnp.concatenate([batch["target"], wanted]),
        )
        real, made = (
            common.classification_metrics(*seen)
            for seen in zip(
                jnp.split(loss, 2),
                [{"": part} for part in jnp.split(logits, 2)],
                (labels, others),
                strict=True,
            )
        )
        objective, count = made.pop("objective"), real["objective"]
        both = jax.tree.map(jnp.add, objective, count)
        drawn_metrics = {f"drawn_{name}": value for name, value in made.items()}
        return state, {**real, **drawn_metrics, "objective": both}

    return train_step


def answer(
    config: ml_collections.ConfigDict,
    network: nn.Module,
    variables: Variables,
    images: Array,
) -> Outputs:
    """What a network says of images as they are stored.

    No face is drawn: the logits do not depend on a target.
    """
    return network.apply(variables, ordered(middle(images, config), config))


def create_deployment(
    config: ml_collections.ConfigDict, network: nn.Module, name: str
) -> Deployment:
    """Recognition alone, of the network called `name`, without decoder and fused.

    What another training can start from is all of `network`, decoder included.
    """
    fused, fuse = deployed(network)

    def fold(variables: Variables) -> Variables:
        return fuse(without_decoder(variables))

    def convert(variables: Variables) -> Variables:
        return fold(part(variables, name))

    def predict(variables: Variables, images: Array) -> Outputs:
        return answer(config, fused, variables, images)

    return Deployment(
        convert,
        predict,
        trainable=lambda variables: part(variables, "network"),
        fold=fold if name == "network" else None,
    )


def create_predict(
    config: ml_collections.ConfigDict, network: nn.Module, name: str
) -> Callable[[Variables, Array], Outputs]:
    """`answer` by the method's variables, of which `name` are the network's."""
    return lambda variables, images: answer(
        config, network, part(variables, name), images
    )
