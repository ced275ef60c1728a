"""EAC: erasing attention consistency against noisy labels.

Zhang et al., Learn From All: Erasing Attention Consistency for Noisy Label Facial
Expression Recognition, ECCV 2022. Cross-entropy of one view plus the disagreement
between its class activation maps and those of a mirrored view.
"""

import jax.numpy as jnp
import ml_collections

from jaxfer import models, weights
from jaxfer.methods import supervised
from jaxfer.methods.base import Method, Variables


def default_config() -> ml_collections.ConfigDict:
    """The released RAF-DB recipe; `method.consistency=0` is its plain baseline."""
    config = supervised.default_config()
    config.method.name = "eac"
    config.method.consistency = 5.0
    config.method.update(
        {
            "backbone": "resnet50",  # or resnet18, mobilenet_v2
            "stem": "vggface2",  # or torchvision
            "width": 1.0,
            "small_images": False,  # a first convolution that keeps resolution
            "detach_classifier": True,
        }
    )
    config.epochs = 60
    config.batch_size = 32
    config.optim.name = "adam"
    config.optim.learning_rate = 1e-4
    config.optim.weight_decay = 1e-4
    config.optim.schedule = "exponential"
    config.optim.decay = 0.9
    config.augment.erase = 0.5
    config.augment.noise = 30.0
    return config.lock()


def create(
    config: ml_collections.ConfigDict, *, num_classes: int, steps_per_epoch: int
) -> Method:
    """EAC as a method of one stage; see `jaxfer.methods.supervised`."""
    options = config.method
    network = models.create(
        "eac",
        num_classes,
        backbone=options.backbone,
        stem=options.stem,
        width=options.width,
        small_images=options.small_images,
        detach_classifier=options.detach_classifier,
        dtype=jnp.dtype(config.precision),
    )

    def official(arrays: weights.Arrays) -> Variables:
        return weights.from_official(
            "eac",
            arrays,
            trunk_only=True,
            backbone=options.backbone,
            stem=options.stem,
            width=options.width,
            small_images=options.small_images,
        )

    return supervised.create(
        config, network, steps_per_epoch=steps_per_epoch, official=official
    )
