"""CFNet: constraint fusion under multi-task joint learning.

Applied Soft Computing 141 (2023), 110312. Two stages: the joint network is
trained by three equally weighted cross-entropies, then the fusion
network, on the frozen network's features, by one.
"""

from functools import partial

import jax
import jax.numpy as jnp
import ml_collections
from jax import Array

from jaxfer import losses, models
from jaxfer.config import base_config, optimizer_config
from jaxfer.errors import ConfigError
from jaxfer.methods import common
from jaxfer.methods.base import Batch, Method, Metrics, Pass, Stage, State
from jaxfer.methods.optimizers import (
    create_optimizer,
    create_plateau,
    create_selection,
)
from jaxfer.methods.views import consistent, in_turn, prepared_views
from jaxfer.models import Outputs
from jaxfer.models.cfnet_attention import global_attention

FEATURES = ("local", "global", "fused")


def default_config() -> ml_collections.ConfigDict:
    """The released CK+ recipe; configs change what their data set needs."""
    config = base_config()
    config.method = {
        "name": "cfnet",
        "heads": "shared",  # or separate, as released for MMI and RAF-DB
        "width": 1.0,  # multiplies every channel and dense unit
        "momentum": 0.99,  # of batch norm's running statistics
        "image_size": 224,  # pixels that the network sees; a multiple of 7
        "grey": False,  # images are made grey, photos to predict as well
        "channel_order": "bgr",  # the released code reads images with OpenCV
        "weighting": "equal",  # or fixed, or uncertainty (learned)
        "weights": {"local": 1.0, "global": 1.0, "fused": 1.0},  # if fixed
        "label_smoothing": 0.0,
        "consistency": 0.0,  # EAC's, of the global head's maps in two views
        "second_view": "flip",  # of the first view; or independent
    }
    config.epochs = 2000
    config.optim.plateau.metric = "accuracy"
    config.fusion = {
        "epochs": 2000,
        "batch_size": 32,
        "optim": optimizer_config().to_dict(),
    }
    config.fusion.optim.plateau.metric = "accuracy"
    return config.lock()


def create(
    config: ml_collections.ConfigDict, *, num_classes: int, steps_per_epoch: int
) -> Method:
    """CFNet as a method of two stages, `joint` and `fusion`.

    Variables: `params` and `batch_stats` of `network` and `fusion`; with
    learned weighting `params` also holds `log_variances`, one a loss.
    """
    options = config.method
    dtype = jnp.dtype(config.precision)
    network = models.create(
        "cfnet",
        num_classes,
        heads=options.heads,
        width=options.width,
        momentum=options.momentum,
        dtype=dtype,
    )
    fusion = models.create(
        "cfnet_fusion", num_classes, width=options.width, dtype=dtype
    )
    joint_optimizer = create_optimizer(
        config.optim, epochs=config.epochs, steps_per_epoch=steps_per_epoch
    )
    fusion_optimizer = create_optimizer(
        config.fusion.optim,
        epochs=config.fusion.epochs,
        steps_per_epoch=steps_per_epoch * config.batch_size // config.fusion.batch_size,
    )
    if options.weighting not in ("equal", "fixed", "uncertainty"):
        raise ConfigError(
            f"method.weighting is {options.weighting!r}; it takes equal, fixed or"
            " uncertainty"
        )

    def prepare(images: Array) -> Array:
        images = common.scaled(images, options.image_size, grey=options.grey)
        return images[..., ::-1] if options.channel_order == "bgr" else images

    def weighting(params: dict) -> losses.Weighting:
        if options.weighting == "equal":
            return losses.equal_weights()
        if options.weighting == "fixed":
            return losses.fixed_weights(options.weights.to_dict())
        return losses.uncertainty_weights(params["log_variances"])

    def subset(variables: dict, part: str) -> dict:
        return {name: tree[part] for name, tree in variables.items() if part in tree}

    def init(key: Array, images: Array) -> State:
        network_key, fusion_key = jax.random.split(key)
        inputs = prepare(images)
        joint = network.init(network_key, inputs)
        outputs = jax.eval_shape(network.apply, joint, inputs)
        features = [
            jnp.zeros(outputs.features[name].shape, jnp.float32) for name in FEATURES
        ]
        params = {
            "network": joint["params"],
            "fusion": fusion.init(fusion_key, *features)["params"],
        }
        trained = {"network": params["network"]}
        if options.weighting == "uncertainty":
            trained["log_variances"] = {name: jnp.zeros(()) for name in FEATURES}
        opt_state = {
            "joint": joint_optimizer.init(trained),
            "fusion": fusion_optimizer.init(params["fusion"]),
        }
        variables = {
            "params": {**params, **trained},
            "batch_stats": {"network": joint["batch_stats"]},
        }
        return common.start(variables, opt_state)

    def train_on(params: dict, stats: dict, images: Array) -> tuple[Outputs, dict]:
        """Outputs, and the new running statistics."""
        outputs, updated = network.apply(
            {"params": params, "batch_stats": stats},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        return outputs, updated["batch_stats"]

    def joint_step(state: State, batch: Batch, key: Array) -> tuple[State, Metrics]:
        keys = key, jax.random.fold_in(key, 1)
        images = prepared_views(keys, batch["image"], config, prepare)
        params = state.variables["params"]
        trained = {k: v for k, v in params.items() if k != "fusion"}

        def loss_fn(trained: dict) -> tuple[Array, tuple]:
            apply = partial(train_on, trained["network"])
            both, stats = in_turn(apply, batch_stats, images)
            outputs = both[0]
            parts = {
                name: losses.cross_entropy(
                    logits, batch["target"], label_smoothing=options.label_smoothing
                )
                for name, logits in outputs.heads.items()
            }
            objective = consistent(
                losses.multi_task(parts, weighting(trained)),
                both,
                lambda out: global_attention(trained["network"], out.maps["global"]),
                options.consistency,
            )
            return jnp.mean(objective), (objective, outputs, stats)

        batch_stats = state.variables["batch_stats"]["network"]
        trained, opt_state, (objective, outputs, stats) = common.gradient_step(
            loss_fn, joint_optimizer, trained, state.opt_state["joint"], state.lr_scale
        )
        heads = {"": outputs.logits, **outputs.heads}
        metrics = common.classification_metrics(objective, heads, batch["label"])
        state = state._replace(
            step=state.step + 1,
            variables={
                "params": {**params, **trained},
                "batch_stats": {"network": stats},
            },
            opt_state={**state.opt_state, "joint": opt_state},
        )
        return state, metrics

    def fusion_step(state: State, batch: Batch, key: Array) -> tuple[State, Metrics]:
        del key  # nothing here is random
        params = state.variables["params"]

        def loss_fn(trained: dict) -> tuple[Array, tuple]:
            features = (batch["features"][name] for name in FEATURES)
            outputs = fusion.apply({"params": trained}, *features)
            loss = losses.cross_entropy(outputs.logits, batch["target"])
            return jnp.mean(loss), (loss, outputs)

        trained, opt_state, (loss, outputs) = common.gradient_step(
            loss_fn,
            fusion_optimizer,
            params["fusion"],
            state.opt_state["fusion"],
            state.lr_scale,
        )
        metrics = common.classification_metrics(
            loss, {"": outputs.logits}, batch["label"]
        )
        state = state._replace(
            step=state.step + 1,
            variables={**state.variables, "params": {**params, "fusion": trained}},
            opt_state={**state.opt_state, "fusion": opt_state},
        )
        return state, metrics

    def predict_joint(variables: dict, images: Array) -> Outputs:
        return network.apply(subset(variables, "network"), prepare(images))

    def predict_fusion(variables: dict, features: dict[str, Array]) -> Outputs:
        return fusion.apply(
            subset(variables, "fusion"), *(features[name] for name in FEATURES)
        )

    def predict(variables: dict, images: Array) -> Outputs:
        joint = predict_joint(variables, images)
        fused = predict_fusion(variables, joint.features)
        return Outputs(
            logits=fused.logits,
            heads=joint.heads,
            features={**joint.features, **fused.features},
        )

    stages = (
        Stage(
            name="joint",
            epochs=config.epochs,
            passes=(Pass(joint_step, config.batch_size, config.data.sampler),),
            predict=predict_joint,
            trains="the network: both branches and the three heads",
            selection=create_selection(config.optim),
            plateau=create_plateau(config.optim),
        ),
        Stage(
            name="fusion",
            epochs=config.fusion.epochs,
            passes=(Pass(fusion_step, config.fusion.batch_size),),
            predict=predict_fusion,
            features=lambda variables, images: (
                predict_joint(variables, images).features
            ),
            trains="the fusion network, on the frozen network's features",
            selection=create_selection(config.fusion.optim),
            plateau=create_plateau(config.fusion.optim),
        ),
    )
    return Method("cfnet", init, stages, predict)
