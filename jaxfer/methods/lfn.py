"""LFN on faces of many people: the pretraining of LFNSB's backbone.

Cross-entropy of cosines between embedding and identity, the own one's angle widened
by a margin (Deng et al., ArcFace, CVPR 2019). The classes are people; any folder with
one subfolder a person will do. `jaxfer export RUN --trainable` then gives the file for
`method.initial` of LFNSB.
"""

import jax.numpy as jnp
import ml_collections
from jax import Array

from jaxfer import losses, models
from jaxfer.errors import ConfigError
from jaxfer.methods import supervised
from jaxfer.methods.base import Batch, Method
from jaxfer.models import Outputs


def default_config() -> ml_collections.ConfigDict:
    """ArcFace's margin and scale; the schedule is this project's own."""
    config = supervised.default_config()
    config.method.name = "lfn"
    config.method.image_size = 112
    config.method.update(
        {
            "stem_stride": 2,  # 1 keeps the resolution of small images
            "width": 1.0,
            "depth": 1.0,
            "margin": 0.5,  # radians
            "scale": 64.0,
        }
    )
    config.epochs = 24
    config.batch_size = 256
    config.optim.name = "sgd"
    config.optim.learning_rate = 0.1
    config.optim.weight_decay = 5e-4
    config.optim.schedule = "cosine"
    config.optim.warmup_epochs = 1.0
    return config.lock()


def create(
    config: ml_collections.ConfigDict, *, num_classes: int, steps_per_epoch: int
) -> Method:
    """LFN as a method of one stage; see `jaxfer.methods.supervised`.

    Its logits are cosines, which `validation/loss` does not scale.

    Raises:
      ConfigError: mixup, or a second stage at another size.
    """
    options, tuned = config.method, config.finetune
    if config.augment.mixup:
        raise ConfigError(
            f"augment.mixup is {config.augment.mixup}; lfn takes 0, as the margin is"
            " that of one person"
        )
    if tuned.epochs and tuned.image_size != options.image_size:
        raise ConfigError(
            f"finetune.image_size is {tuned.image_size} and method.image_size"
            f" {options.image_size}: lfn's last kernel is as large as its map, so both"
            " stages take images of one size"
        )
    network = models.create(
        "lfn",
        num_classes,
        stem_stride=options.stem_stride,
        width=options.width,
        depth=options.depth,
        dtype=jnp.dtype(config.precision),
    )

    def criterion(params: dict, outputs: Outputs, batch: Batch) -> Array:
        logits = losses.angular_margin_logits(
            outputs.features["embedding"],
            params["network"]["identities"],
            batch["label"],
            options.margin,
            options.scale,
        )
        return losses.cross_entropy(
            logits, batch["label"], label_smoothing=options.label_smoothing
        )

    return supervised.create(
        config,
        network,
        steps_per_epoch=steps_per_epoch,
        criterion=criterion,
        trunk="backbone",
    )
