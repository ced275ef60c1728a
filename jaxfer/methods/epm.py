"""EPM: expression pattern-maps, trained in three steps.

Zhang and Yu, Improving the Facial Expression Recognition and Its Interpretability via
Generating Expression Pattern-map. Step one trains the feature extractor on all images;
step two the extractor and the mask refiner, step three the pattern-map generator, both
on batches of equally many images of each class. The paper takes one step after the
other; a report on the paper takes the three in turn in every epoch.
"""

from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import ml_collections
import optax
from jax import Array

from jaxfer import weights
from jaxfer.config import base_config, optimizer_config
from jaxfer.errors import ConfigError, WeightsError
from jaxfer.methods import common, epm_steps
from jaxfer.methods.base import (
    Batch,
    Deployment,
    Method,
    Metrics,
    Pass,
    Stage,
    State,
    Variables,
)
from jaxfer.methods.optimizers import (
    create_optimizer,
    create_plateau,
    create_selection,
)
from jaxfer.methods.views import IMAGENET_MEAN
from jaxfer.models import Outputs
from jaxfer.models.epm import EPM


def default_config() -> ml_collections.ConfigDict:
    """The paper's recipe on CK+; configs change what their data set needs.

    The paper gives no number of epochs, and no norm for the clipping.
    """
    config = base_config()
    config.method = {
        "name": "epm",
        "image_size": 224,  # or 112, 56, 28, 14
        "grey": False,  # images are made grey, photos to predict as well
        "width": 1.0,  # multiplies the trunk's channels
        # In the trunk, for training it from random weights; the norms behind frozen
        # convolutions, which the paper does not have, go on learning.
        "group_norm": False,
        "normalization": "imagenet",  # or vgg_face, with VGG-Face's weights alone
        "initial": "",  # weights of the trunk: VGG-Face, torchvision, or our own
        "schedule": "sequential",  # or alternate: the three steps in every epoch
        "frozen_convolutions": 5,  # in step two, of the trunk's 13, from the image on
        "mining": "hard",  # of triplets; or semi_hard, all
        "margins": {"hidden": 0.2, "embedding": 0.2, "pattern": 0.2},
        "refinement_weights": "code",  # l2 = l3 = 100; text: 0.01; given: as below
        "weights": {
            "l1": 2.0,  # step two: cross-entropy of the extractor
            "l2": 100.0,  # masks against refined masks
            "l3": 100.0,  # triplets of the refiner's state
            "l4": 1e-4,  # step three: pattern maps against grey images
            "l5": 1e-4,  # triplets of pattern maps
            "l6": 1.0,  # triplets of embeddings
            "l7": 1.0,  # cross-entropy of the decision
        },
        "label_smoothing": 0.0,
    }
    config.epochs = 30  # of step one; of all three if they alternate
    config.optim = _sgd(1e-3)
    config.emr = {"epochs": 30, "images_per_class": 8, "optim": _sgd(1e-4)}
    config.epmg = {
        "epochs": 30,
        "select_after": 0.0,  # share of the epochs before the first to choose
        "images_per_class": 8,
        "optim": _sgd(1e-3),
    }
    return config.lock()


def _sgd(learning_rate: float) -> dict:
    optim = optimizer_config()
    optim.name = "sgd"
    optim.learning_rate = learning_rate
    optim.clip_norm = 5.0
    return optim.to_dict()


class _Plan(NamedTuple):
    """How a step is taken.

    Attributes:
      name: of the step, its stage and its optimiser's state.
      step: what it minimises and changes.
      epochs: how long, where it has a stage of its own.
      optim: its part of the config.
      optimizer: made of it.
      batch_size: images a batch.
      sampler: of the batches.
    """

    name: str
    step: epm_steps.Step
    epochs: int
    optim: ml_collections.ConfigDict
    optimizer: optax.GradientTransformation
    batch_size: int
    sampler: str


def create(
    config: ml_collections.ConfigDict, *, num_classes: int, steps_per_epoch: int
) -> Method:
    """EPM as a method of three stages, or of one whose epochs are three passes.

    The stages are `efe`, `emr` and `epmg`, or `alternate`. Variables: `params` of the
    modules of the same names. Gradients are clipped by the norm of each module's, as
    in the report.

    Raises:
      ConfigError: options that contradict each other, or an image size that cannot
        be halved to 7 x 7.
      WeightsError: from `pretrained`: `method.initial` cannot be read, does not fit, or
        expects images of the other normalisation.
    """
    options, augment = config.method, config.augment
    _check(config)
    network = EPM(
        num_classes, options.width, options.group_norm, jnp.dtype(config.precision)
    )
    alternate = options.schedule == "alternate"
    epochs = config.epochs if alternate else config.epmg.epochs
    # Accuracy, which chooses the epoch, does not see whether maps have formed.
    decision = create_selection(config.epmg.optim)._replace(
        first_epoch=int(config.epmg.select_after * epochs)
    )

    def plan(name: str, step: epm_steps.Step) -> _Plan:
        own = config if name == "efe" else config[name]
        batch_size, sampler = config.batch_size, config.data.sampler
        if name != "efe":
            batch_size, sampler = own.images_per_class * num_classes, "triplet"
        epochs = config.epochs if alternate else own.epochs
        steps = max(1, steps_per_epoch * config.batch_size // batch_size)
        made = create_optimizer(own.optim, epochs=epochs, steps_per_epoch=steps)
        optimizer = epm_steps.by_module(made)
        return _Plan(name, step, epochs, own.optim, optimizer, batch_size, sampler)

    steps = epm_steps.create(network, options)
    plans = {name: plan(name, step) for name, step in steps.items()}

    def prepare(images: Array) -> Array:
        return common.scaled(images, options.image_size, grey=options.grey)

    def inputs(images: Array) -> Array:
        return epm_steps.model_inputs(prepare(images), options.normalization)

    def init(key: Array, images: Array) -> State:
        params = network.init(key, inputs(images))["params"]
        opt_state = {
            name: plan.optimizer.init(plan.step.split(params)[0])
            for name, plan in plans.items()
        }
        return common.start({"params": params}, opt_state)

    def train_step(
        plan: _Plan, prefix: str, state: State, batch: Batch, key: Array
    ) -> tuple[State, Metrics]:
        images = common.to_float(batch["image"])
        images = prepare(common.augment(key, images, augment, fill=IMAGENET_MEAN))
        trained, fixed = plan.step.split(state.variables["params"])
        trained, opt_state, (objective, heads, terms) = common.gradient_step(
            lambda trained: plan.step.loss(trained, fixed, images, batch),
            plan.optimizer,
            trained,
            state.opt_state[plan.name],
            state.lr_scale,
        )
        metrics = common.classification_metrics(objective, heads, batch["label"])
        count = metrics["objective"][1]
        metrics |= {name: (jnp.sum(loss), count) for name, loss in terms.items()}
        state = state._replace(
            step=state.step + 1,
            variables={"params": epm_steps.merge(trained, fixed)},
            opt_state={**state.opt_state, plan.name: opt_state},
        )
        return state, {f"{prefix}{name}": value for name, value in metrics.items()}

    def predict(variables: dict, images: Array) -> Outputs:
        return network.apply(variables, inputs(images))

    def predict_coarse(variables: dict, images: Array) -> Outputs:
        coarse = epm_steps.apply(
            network, "efe", EPM.extract, variables["params"], inputs(images)
        )
        return Outputs(coarse.logits, maps={"mask": coarse.mask})

    def one_pass(plan: _Plan, prefix: str = "") -> Pass:
        return Pass(partial(train_step, plan, prefix), plan.batch_size, plan.sampler)

    origin = Path(options.initial).name if options.initial else "random weights"
    begins = f"; its trunk begins from {origin}"
    efe, emr, epmg = plans.values()
    if alternate:
        # The plain names are those of the decision, which the last pass trains.
        first = (one_pass(efe, "efe_step/"), one_pass(emr, "emr_step/"))
        stages: tuple[Stage, ...] = (
            Stage(
                name="alternate",
                epochs=config.epochs,
                passes=(*first, one_pass(epmg)),
                predict=predict,
                trains="in turn "
                + "; ".join(step.trains for step in steps.values())
                + begins,
                selection=decision,
                plateau=create_plateau(epmg.optim),
            ),
        )
    else:
        stages = tuple(
            Stage(
                name=plan.name,
                epochs=plan.epochs,
                passes=(one_pass(plan),),
                predict=predict if plan is epmg else predict_coarse,
                trains=plan.step.trains + (begins if plan is efe else ""),
                selection=decision if plan is epmg else create_selection(plan.optim),
                plateau=create_plateau(plan.optim),
            )
            for plan in plans.values()
        )

    @lru_cache(maxsize=1)  # checked before the run begins, and read when it does
    def pretrained() -> Variables:
        official = partial(_official, options)
        found = common.read_initial(options.initial, official, "efe", batch_norm=False)
        trunk = found["params"]["efe"]["trunk"]
        _check_norm(options, trunk)
        part = {"params": {"efe": {"trunk": trunk}}}
        images = inputs(jnp.zeros((1, options.image_size, options.image_size, 3)))
        common.check_initial(options.initial, network, part, images)
        return part

    return Method(
        "epm",
        init,
        stages,
        predict,
        pretrained=pretrained if options.initial else None,
        deployment=Deployment(
            convert=lambda variables: variables,
            predict=predict,
            trainable=lambda variables: variables,
            fold=lambda variables: variables,
        ),
    )


def _official(options: ml_collections.ConfigDict, arrays: weights.Arrays) -> Variables:
    """The trunk of VGG-Face or torchvision's VGG-16, which want different images."""
    owner, expected = "torchvision", "imagenet"
    if "conv1_1.weight" in arrays:
        owner, expected = "VGG-Face", "vgg_face"
    if options.normalization != expected:
        raise WeightsError(
            f"{options.initial} holds weights of {owner}, and method.normalization is"
            f" {options.normalization}: set it to {expected}, which they expect"
        )
    found = weights.from_official("vgg16", arrays, trunk_only=True, width=options.width)
    return {"params": {"efe": found["params"]}}


def _check_norm(options: ml_collections.ConfigDict, trunk: Variables) -> None:
    """Weights learned with group norm want it, and those without do not."""
    learned = any(name.startswith("norm") for name in trunk)
    if learned != options.group_norm:
        raise WeightsError(
            f"the trunk of {options.initial} was trained with{'' if learned else 'out'}"
            f" group norm, and method.group_norm is {options.group_norm}: set it to"
            f" {learned}"
        )


def _check(config: ml_collections.ConfigDict) -> None:
    if config.method.schedule == "alternate":
        for name, optim in (("optim", config.optim), ("emr.optim", config.emr.optim)):
            if optim.plateau.metric:
                raise ConfigError(
                    f"with method.schedule alternate the three steps share an epoch,"
                    f" and {name}.plateau has no accuracy of its own to follow: set"
                    " epmg.optim.plateau, or take the steps one after the other"
                )
    if config.augment.mixup:
        raise ConfigError(
            "epm compares images by their class, which mixed images lack: set"
            " augment.mixup to 0"
        )
    if config.method.normalization == "vgg_face" and not config.method.initial:
        raise ConfigError(
            "method.normalization vgg_face is what VGG-Face's weights expect, and too"
            " large for fresh ones: name their file in method.initial, or choose"
            " imagenet"
        )
