"""One network, labelled images: what recipes of this kind share.

A method file gives the network and its loss; here are the options that a user
expects of any of them: normalisation, augmentation, mixup, attention consistency,
loss flooding, an average of the weights, flipping at test time, and a second, short
stage at another resolution.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
from flax import linen as nn
from jax import Array

from jaxfer import losses, ops, weights
from jaxfer.config import base_config, optimizer_config
from jaxfer.errors import ConfigError
from jaxfer.methods import common
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
from jaxfer.methods.views import consistent, in_turn, prepare, views
from jaxfer.models import Outputs
from jaxfer.models.fuse import deployed

Criterion = Callable[[Any, Outputs, Batch], Array]
"""(trained parameters, outputs, batch) -> (B,), or one number added to each."""


def default_config() -> ml_collections.ConfigDict:
    """The fields that every method of this kind has."""
    config = base_config()
    config.method = {
        "name": "",
        "image_size": 224,  # pixels that the network sees
        "grey": False,  # images are made grey, photos to predict as well
        "label_smoothing": 0.0,
        "consistency": 0.0,  # weight of the attention consistency of two views
        "second_view": "flip",  # of the first view; or independent
        "flood_level": 0.0,  # the mean loss is kept about this; 0: off
        # Decay of the average of the weights; 0: off. A stage's step s has
        # (1 + s) / (10 + s) where that is less: a decay of 0.999 from step 8990 on.
        "ema": 0.0,
        "initial": "",  # weights to start from: the authors', or of `jaxfer export`
        # What starts from them: the trunk; or all, where a file of `jaxfer export` is
        # of the same network, and of the same classes in the same order.
        "initial_part": "trunk",
        "test_time_flip": False,  # average the logits of an image and its mirror
    }
    config.augment.update(
        {
            "policy": "",  # or rand_augment, trivial_augment; after the changes above
            "policy_ops": 2,  # of rand_augment, changes an image
            # share of their ranges: rand_augment's strength, trivial_augment's largest
            "policy_magnitude": 0.3,
        }
    )
    config.finetune = {
        "epochs": 0,  # of a second stage; 0: none
        "image_size": 224,  # that it sees, and that predictions are made at
        "optim": optimizer_config().to_dict(),
    }
    return config


def create(
    config: ml_collections.ConfigDict,
    network: nn.Module,
    *,
    steps_per_epoch: int,
    criterion: Criterion | None = None,
    init_criterion: Callable[[Array], dict[str, Any]] = lambda key: {},
    official: Callable[[weights.Arrays], Variables] | None = None,
    trunk: str = "trunk",
) -> Method:
    """A method of one stage, `training`, or two, `training` and `finetune`.

    The second continues at `finetune.image_size` with an optimiser of its own: a
    network that is trained small and finished large costs a fraction of one that is
    trained large (Touvron et al., Fixing the train-test resolution discrepancy,
    NeurIPS 2019, is about the same effect).

    Variables: `params` holds those of the `network` and whatever
    `init_criterion` adds; `batch_stats` of the `network`; with `method.ema` also
    `average`, the network's variables that predictions are made with, and that the
    second stage starts from.

    With `augment.mixup` the criterion's batch has mixed `target`s, and as `label` the
    class of the first image, whose share may be the smaller.

    Args:
      config: a whole experiment's config.
      network: applied as `(variables, images, train=...)`, giving `Outputs`.
      steps_per_epoch: optimiser steps in one pass.
      criterion: the loss; by default cross-entropy against the label distribution
        with `method.label_smoothing`.
      init_criterion: key -> parameters of the loss that are learned with it.
      official: the network's variables from the arrays of `method.initial`, where
        that is a file of another project.
      trunk: the part of the network that a file of this project gives to it.

    Raises:
      WeightsError: from `pretrained`: `method.initial` cannot be read or does not fit.
      ConfigError: `method.consistency` with a network without attention maps.
    """
    options, augment = config.method, config.augment
    plans = [_Plan("training", config.epochs, options.image_size, config.optim)]
    if config.finetune.epochs:
        tuned = config.finetune
        plans.append(_Plan("finetune", tuned.epochs, tuned.image_size, tuned.optim))
    optimizers = {
        plan.name: create_optimizer(
            plan.optim, epochs=plan.epochs, steps_per_epoch=steps_per_epoch
        )
        for plan in plans
    }
    if criterion is None:

        def criterion(params: Any, outputs: Outputs, batch: Batch) -> Array:
            return losses.cross_entropy(
                outputs.logits,
                batch["target"],
                label_smoothing=options.label_smoothing,
            )

    def init(key: Array, images: Array) -> State:
        network_key, criterion_key = jax.random.split(key)
        inputs = prepare(images, options.image_size, grey=options.grey)
        variables = network.init(network_key, inputs)
        if options.consistency:
            outputs = jax.eval_shape(network.apply, variables, inputs)
            if "attention" not in outputs.maps:
                raise ConfigError(
                    f"method.consistency is {options.consistency}, and the network"
                    f" {type(network).__name__} gives no attention maps: choose a"
                    " head that is linear in a feature map, or 0"
                )
        params = {"network": variables["params"], **init_criterion(criterion_key)}
        whole = {
            "params": params,
            "batch_stats": {"network": variables.get("batch_stats", {})},
        }
        if options.ema:
            whole["average"] = {
                "params": variables["params"],
                "batch_stats": variables.get("batch_stats", {}),
            }
        opt_state = {name: opt.init(params) for name, opt in optimizers.items()}
        return common.start(whole, opt_state)

    def train_step(
        plan: _Plan, state: State, batch: Batch, key: Array
    ) -> tuple[State, Metrics]:
        k_views, k_mix, k_dropout = jax.random.split(key, 3)
        images = views(k_views, batch["image"], config, plan.image_size)
        targets = batch["target"]
        if augment.mixup:
            mixed = [
                ops.mixup(k_mix, view, targets, alpha=augment.mixup) for view in images
            ]
            images, targets = [view for view, _ in mixed], mixed[0][1]
        seen = {**batch, "target": targets}

        def loss_fn(params: Any) -> tuple[Array, tuple]:
            def apply(stats: Any, view: Array) -> tuple[Outputs, Any]:
                outputs, updated = network.apply(
                    {"params": params["network"], "batch_stats": stats},
                    view,
                    train=True,
                    mutable=["batch_stats"],
                    rngs={"dropout": k_dropout},
                )
                return outputs, updated.get("batch_stats", {})

            before = state.variables["batch_stats"]["network"]
            outputs, stats = in_turn(apply, before, images)
            loss = criterion(params, outputs[0], seen)
            loss = consistent(
                loss, outputs, lambda out: out.maps["attention"], options.consistency
            )
            total = jnp.mean(loss)
            if options.flood_level:
                total = losses.flooding(total, options.flood_level)
            return total, (loss, outputs[0], stats)

        params, opt_state, (loss, outputs, stats) = common.gradient_step(
            loss_fn,
            optimizers[plan.name],
            state.variables["params"],
            state.opt_state[plan.name],
            state.lr_scale,
        )
        variables = {"params": params, "batch_stats": {"network": stats}}
        if options.ema:
            variables["average"] = _average(
                state.variables["average"],
                {"params": params["network"], "batch_stats": stats},
                state.step,
                options.ema,
            )
        state = state._replace(
            step=state.step + 1,
            variables=variables,
            opt_state={**state.opt_state, plan.name: opt_state},
        )
        heads = {"": outputs.logits, **outputs.heads}
        return state, common.classification_metrics(loss, heads, batch["label"])

    def chosen(variables: dict) -> dict:
        """The network's variables that predictions are made with."""
        if options.ema:
            return variables["average"]
        return {name: tree["network"] for name, tree in variables.items()}

    def answer(
        network: nn.Module, variables: dict, images: Array, size: int
    ) -> Outputs:
        inputs = prepare(images, size, grey=options.grey)
        outputs = network.apply(variables, inputs)
        if not options.test_time_flip:
            return outputs
        mirrored = network.apply(variables, inputs[:, :, ::-1])
        return outputs._replace(logits=(outputs.logits + mirrored.logits) / 2)

    def predict(plan: _Plan, variables: dict, images: Array) -> Outputs:
        return answer(network, chosen(variables), images, plan.image_size)

    stages = tuple(
        Stage(
            name=plan.name,
            epochs=plan.epochs,
            passes=(
                Pass(partial(train_step, plan), config.batch_size, config.data.sampler),
            ),
            predict=partial(predict, plan),
            selection=create_selection(plan.optim),
            plateau=create_plateau(plan.optim),
            begin=_from_average if options.ema and plan is not plans[0] else None,
        )
        for plan in plans
    )

    @lru_cache(maxsize=1)  # checked before the run begins, and read when it does
    def pretrained() -> Variables:
        if options.initial_part == "all":
            found = common.read_initial(options.initial, None, None)
        else:
            found = common.read_initial(options.initial, official, trunk)
        images = jnp.zeros((1, options.image_size, options.image_size, 3))
        common.check_initial(options.initial, network, found, images)
        part = {kind: {"network": tree} for kind, tree in found.items()}
        return part | ({"average": found} if options.ema else {})

    fused, fold = deployed(network)
    size = plans[-1].image_size
    deployment = Deployment(
        convert=lambda variables: fold(chosen(variables)),
        predict=lambda variables, images: answer(fused, variables, images, size),
        trainable=chosen,
        fold=fold,
    )
    return Method(
        options.name,
        init,
        stages,
        stages[-1].predict,
        pretrained=pretrained if options.initial else None,
        deployment=deployment,
    )


class _Plan(NamedTuple):
    """What tells the stages apart."""

    name: str
    epochs: int
    image_size: int
    optim: ml_collections.ConfigDict


def _from_average(variables: dict) -> dict:
    """Go on from the average, which is what validation has chosen."""
    average = variables["average"]
    return {
        "params": {**variables["params"], "network": average["params"]},
        "batch_stats": {"network": average["batch_stats"]},
        "average": average,
    }


def _average(average: Any, new: Any, step: Array, decay: float) -> Any:
    """Exponential moving average, quicker at first so that it forgets the start.

    Its length grows with the steps of the stage, to about a ninth of them, until
    `decay` is reached; so it does with tf.train.ExponentialMovingAverage.
    """
    steps = step.astype(jnp.float32)
    keep = jnp.minimum(decay, (1 + steps) / (10 + steps))
    return jax.tree.map(
        lambda a, b: keep.astype(a.dtype) * a + (1 - keep).astype(a.dtype) * b,
        average,
        new,
    )
