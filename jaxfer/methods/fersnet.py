"""FERSNet: recognise and synthesise expressions with selective feature sharing.

Zhao et al., Deep Multi-task Learning for Facial Expression Recognition and Synthesis
Based on Selective Feature Sharing, ICPR 2020. One network recognises the expression
and draws the face with another one; `jaxfer.methods.fersnet_iteration` has a step of
that. A second stage can train recognition on drawn expressions too.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from flax import linen as nn
from jax import Array

from jaxfer import weights
from jaxfer.config import base_config, optimizer_config
from jaxfer.errors import ConfigError
from jaxfer.methods import common
from jaxfer.methods import fersnet_recognition as recognition
from jaxfer.methods.base import (
    Method,
    Pass,
    Selection,
    Stage,
    State,
    Variables,
)
from jaxfer.methods.fersnet_iteration import create_step
from jaxfer.methods.fersnet_recipe import create_network, create_recipe
from jaxfer.methods.optimizers import (
    create_optimizer,
    create_plateau,
    create_selection,
)

Synthesis = Callable[[Variables, Array, Array], Array]
"""(variables, images (B, H, W, 3), target (B, K)) -> (B, S, S, 3) in [0, 1], RGB."""


def default_config() -> ml_collections.ConfigDict:
    """The released recipe; configs change what their data set needs."""
    config = base_config()
    config.method = {
        "name": "fersnet",
        "multi_task": True,  # False: recognition alone
        "feature_sharing": "flu",  # or hard: no leaky units
        "fes_augmentation": False,  # then train recognition on drawn faces too
        "width": 1.0,  # multiplies every channel
        "momentum": 0.9,  # of batch norm's running statistics
        # Pixels that the network sees, cropped; a multiple of 32, from 64 on: instance
        # norm makes the innermost map zero where it is a single pixel.
        "image_size": 96,
        "channel_order": "bgr",  # the released code reads images with OpenCV
        "adversarial": "least_squares",  # or log; as printed, log_saturating
        "reconstruct": "grey",  # as released; or color
        "distance": "absolute",  # of it, as released; or squared, as the slides print
        "weights": {
            "reconstruction": 1.0,
            "identity": 0.05,
            "adversarial": 0.3,
            "cycle": 0.5,
        },
        "identity_weights": "",  # released ones of LightCNN-9; "": random features
        "initial": "",  # of the network: released, or of `jaxfer export --trainable`
        "select_after": 0.0,  # share of the epochs before the first to choose
    }
    config.data.image_size = 110
    config.log.sheet_epochs = 25  # between sheets of drawn faces; 0: none
    config.augment.flip = True
    config.epochs = 500
    config.batch_size = 8  # pairs; images where there are none
    config.optim.update(_released_adam())
    config.discriminator = {"steps": 3, "optim": optimizer_config().to_dict()}
    config.discriminator.optim.update(_released_adam())
    config.augmented = {"epochs": 100, "optim": optimizer_config().to_dict()}
    config.augmented.optim.update(_released_adam() | {"milestones": (50,)})
    return config.lock()


def _released_adam() -> dict[str, Any]:
    return {
        "name": "adam",
        "learning_rate": 1e-4,
        "momentum": 0.5,
        "weight_decay": 5e-4,
        "schedule": "step",
        "decay": 0.1,
        "milestones": (150, 400),
    }


def create(
    config: ml_collections.ConfigDict, *, num_classes: int, steps_per_epoch: int
) -> Method:
    """FERSNet as a method of one stage, `joint`, or two, `joint` and `augmented`.

    A step of `joint` takes pairs of images of one person with different expressions.
    Without multi-task learning there is one stage, `recognition`, of single images.

    In `augmented` a copy of the selected network, without decoder, is trained on by
    the cross-entropy of every image and of one drawn from it, by the frozen network,
    with another expression, each as likely, whether the person has it or not. What the
    training subjects miss is among these, and classes become more even: of K, one with
    a share p gets (1 - p) / (K - 1) of the drawn faces. The slides say that
    synthesised faces enlarge and balance the training set, not which are drawn, how
    long recognition is trained on them, and from which weights.

    Without `method.identity_weights` the identity term compares features of a
    LightCNN-9 with random weights, drawn from the seed and frozen: local structure,
    but not identity. The log says so.

    Variables: `params` and `batch_stats` of `network` and, with
    `method.fes_augmentation`, of `recogniser`; `params` of `discriminator`; `frozen`
    of `identity`, where that term has a weight.

    Raises:
      ConfigError: fields that do not go together, or unknown words.
      WeightsError: from `pretrained`: a file cannot be read or does not fit.
    """
    _check(config)
    optimizer = create_optimizer(
        config.augmented.optim,
        epochs=config.augmented.epochs,
        steps_per_epoch=steps_per_epoch,
    )
    if not config.method.multi_task:
        return _recognition_alone(config, num_classes, steps_per_epoch)
    recipe = create_recipe(
        config, num_classes=num_classes, steps_per_epoch=steps_per_epoch
    )
    augments = config.method.fes_augmentation

    def init(key: Array, images: Array) -> State:
        del images  # cropped to a size that the config gives
        keys = jax.random.split(key, 3)
        faces, target = _example(config), jnp.zeros((1, num_classes))
        network = recipe.network.init(keys[0], faces, target)
        judge = recipe.discriminator.init(keys[1], faces, target)["params"]
        variables = {kind: {"network": tree} for kind, tree in network.items()}
        variables["params"]["discriminator"] = judge
        if recipe.weights["identity"]:
            random = recipe.identity.init(keys[2], faces[..., :1])["params"]
            variables["frozen"] = {"identity": random}
        opt_state = {
            "network": recipe.optimizer.init(network["params"]),
            "discriminator": recipe.judge_optimizer.init(judge),
        }
        if augments:
            recogniser = recognition.without_decoder(network)
            variables = recognition.put(variables, "recogniser", recogniser)
            opt_state["recogniser"] = optimizer.init(recogniser["params"])
        return common.start(variables, opt_state)

    joint = Stage(
        name="joint",
        epochs=config.epochs,
        passes=(Pass(create_step(config, recipe), 2 * config.batch_size, "pairs"),),
        predict=recognition.create_predict(config, recipe.network, "network"),
        trains=_trains(config),
        selection=_selection(config),
        plateau=create_plateau(config.optim),
    )
    augmented_step = recognition.create_augmented_step(
        config, recipe.network, optimizer, num_classes
    )
    augmented = Stage(
        name="augmented",
        epochs=config.augmented.epochs,
        passes=(Pass(augmented_step, config.batch_size, config.data.sampler),),
        predict=recognition.create_predict(config, recipe.network, "recogniser"),
        trains="the recogniser, on the images and as many faces drawn from them",
        selection=create_selection(config.augmented.optim),
        plateau=create_plateau(config.augmented.optim),
    )

    return Method(
        "fersnet",
        init,
        (joint, augmented) if augments else (joint,),
        augmented.predict if augments else joint.predict,
        pretrained=_pretrained(config, recipe.network, num_classes),
        deployment=recognition.create_deployment(
            config, recipe.network, "recogniser" if augments else "network"
        ),
    )


def create_synthesis(config: ml_collections.ConfigDict, num_classes: int) -> Synthesis:
    """The generator.

    Args:
      config: a whole experiment's config.
      num_classes: K.

    Returns:
      A function of the method's variables, of images (B, H, W, 3) as `Method.predict`
      takes them, and of the expressions to draw, (B, K), one-hot or between them. It
      gives (B, S, S, 3) in [0, 1], RGB, with S of `method.image_size`: the middle of
      each image, with that expression.

    Raises:
      ConfigError: the method is trained without synthesis.
    """
    if not config.method.multi_task:
        raise ConfigError(
            "method.multi_task is False: that network draws no faces; train one with"
            " method.multi_task=True"
        )
    network = create_network(config, num_classes)

    def synthesise(variables: Variables, images: Array, target: Array) -> Array:
        faces = recognition.ordered(recognition.middle(images, config), config)
        trained = recognition.part(variables, "network")
        drawn = network.apply(trained, faces, target).images["synthesised"]
        return jnp.clip(recognition.ordered(drawn, config), 0, 1)

    return synthesise


def _selection(config: ml_collections.ConfigDict) -> Selection:
    # Accuracy, which chooses the epoch, does not see what is drawn: it settles long
    # before drawn faces show an expression, and the first of equal epochs is taken.
    return create_selection(config.optim)._replace(
        first_epoch=int(config.method.select_after * config.epochs)
    )


def _recognition_alone(
    config: ml_collections.ConfigDict, num_classes: int, steps_per_epoch: int
) -> Method:
    network = create_network(config, num_classes)
    optimizer = create_optimizer(
        config.optim, epochs=config.epochs, steps_per_epoch=steps_per_epoch
    )

    def init(key: Array, images: Array) -> State:
        del images  # cropped to a size that the config gives
        found = network.init(key, _example(config))
        variables = {kind: {"network": tree} for kind, tree in found.items()}
        return common.start(variables, {"network": optimizer.init(found["params"])})

    step = recognition.create_step(config, network, optimizer)
    stage = Stage(
        name="recognition",
        epochs=config.epochs,
        passes=(Pass(step, config.batch_size, config.data.sampler),),
        predict=recognition.create_predict(config, network, "network"),
        trains="the recogniser alone, without synthesis",
        selection=_selection(config),
        plateau=create_plateau(config.optim),
    )
    deployment = recognition.create_deployment(config, network, "network")
    return Method(
        "fersnet",
        init,
        (stage,),
        stage.predict,
        pretrained=_pretrained(config, network, num_classes),
        deployment=deployment,
    )


def _pretrained(
    config: ml_collections.ConfigDict, network: nn.Module, num_classes: int
) -> Callable[[], Variables] | None:
    """Reads the files that the config names; None if it names none."""
    options = config.method
    joint = options.multi_task
    identity = joint and options.weights.identity and options.identity_weights
    if not identity and not options.initial:
        return None

    def start() -> Variables:
        found = common.read_initial(
            options.initial, partial(weights.from_official, "fersnet"), None
        )
        inputs = [_example(config), jnp.zeros((1, num_classes))][: 1 + joint]
        common.check_initial(options.initial, network, found, *inputs)
        return {kind: {"network": tree} for kind, tree in found.items()}

    @lru_cache(maxsize=1)  # checked before the run begins, and read when it does
    def pretrained() -> Variables:
        found = start() if options.initial else {}
        if not identity:
            return found
        with weights.naming(identity):
            read = weights.from_official("lightcnn9", weights.load_file(identity))
        return {**found, "frozen": {"identity": read["params"]}}

    return pretrained


def _example(config: ml_collections.ConfigDict) -> Array:
    return jnp.zeros((1, config.method.image_size, config.method.image_size, 3))


def _trains(config: ml_collections.ConfigDict) -> str:
    text = "recogniser and generator, against a discriminator"
    if config.method.weights.identity and not config.method.identity_weights:
        text += (
            "; its IDENTITY TERM COMPARES RANDOM FEATURES, for"
            " method.identity_weights names no file of LightCNN-9"
        )
    return text


def _check(config: ml_collections.ConfigDict) -> None:
    options = config.method
    if options.feature_sharing not in ("flu", "hard"):
        raise ConfigError(
            f"method.feature_sharing is {options.feature_sharing!r}; it takes flu or"
            " hard (method.multi_task=False for recognition alone)"
        )
    if options.fes_augmentation and not options.multi_task:
        raise ConfigError(
            "method.fes_augmentation trains on faces that the network draws, which it"
            " does not learn with method.multi_task=False: change one of them"
        )
    if options.image_size > config.data.image_size:
        raise ConfigError(
            f"method.image_size is {options.image_size}, a crop of images of"
            f" data.image_size {config.data.image_size}: it takes no more than that"
        )
    if config.augment.mixup:
        raise ConfigError(
            f"augment.mixup is {config.augment.mixup}; fersnet takes 0, as a mixture"
            " of two people has no expression to draw"
        )
