"""LFNSB: lightweight facial network with spatial bias, and its loss.

Preprint 2024; cross-entropy plus the Cosine-Harmony loss on the pooled features, whose
class centres are learned with the network.
"""

import jax
import jax.numpy as jnp
import ml_collections
from jax import Array

from jaxfer import losses, models, weights
from jaxfer.errors import ConfigError
from jaxfer.methods import supervised
from jaxfer.methods.base import Batch, Method, Variables
from jaxfer.models import Outputs


def default_config() -> ml_collections.ConfigDict:
    """The released RAF-DB recipe; configs change what their data set needs."""
    config = supervised.default_config()
    config.method.name = "lfnsb"
    config.method.image_size = 112
    config.method.update(
        {
            "head": "released",  # or paper
            "spatial_bias": True,
            "bias_channels": 64,  # 256 in what the released code leaves unused
            "bias_size": 2,  # 7 there
            "stem_stride": 2,  # 1 keeps the resolution of small images
            "width": 1.0,
            "depth": 1.0,
            "dropout": 0.0,  # before the classifier
            "cosine_harmony": 1.0,  # weight; 0: cross-entropy alone
            "harmony_alpha": 0.1,
            "harmony_variant": "released",  # or printed, or separating
        }
    )
    config.epochs = 40
    config.batch_size = 128
    config.optim.name = "sgd"
    config.optim.learning_rate = 0.01
    config.optim.weight_decay = 1e-4
    config.optim.schedule = "cosine"
    config.optim.floor = 0.4  # 4e-3
    return config.lock()


def create(
    config: ml_collections.ConfigDict, *, num_classes: int, steps_per_epoch: int
) -> Method:
    """LFNSB as a method of one stage; see `jaxfer.methods.supervised`.

    The centres of the Cosine-Harmony loss are the parameters `centers` (K, C),
    drawn from a standard normal distribution, as released. It goes by `label`: of soft
    targets the class with the most votes, of images mixed by mixup that of the first.

    Deviations from the released code: it gives its optimiser the network's parameters
    alone, so that its centres never move, which the paper's are meant to; ours are
    trained, with the same weight decay. Its cosine changes the rate once an epoch, ours
    every step. It fills what lies outside of a turned or moved image with black, here
    the edge is repeated.

    Raises:
      ConfigError: loss flooding with a variant of the loss that is not `released`.
    """
    options = config.method
    if (
        options.flood_level
        and options.cosine_harmony
        and options.harmony_variant != "released"
    ):
        raise ConfigError(
            f"method.flood_level is {options.flood_level} with method.harmony_variant"
            f" {options.harmony_variant!r}: the level is one of the released loss, near"
            " 0 at its best, and the printed and separating variants end near 0.9 and"
            " -0.9; set method.flood_level to 0"
        )
    network = models.create(
        "lfnsb",
        num_classes,
        head=options.head,
        spatial_bias=options.spatial_bias,
        bias_channels=options.bias_channels,
        bias_size=options.bias_size,
        stem_stride=options.stem_stride,
        width=options.width,
        depth=options.depth,
        dropout=options.dropout,
        dtype=jnp.dtype(config.precision),
    )

    def init_centers(key: Array) -> dict[str, Array]:
        if not options.cosine_harmony:
            return {}
        size = options.image_size
        image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        outputs = jax.eval_shape(
            lambda x: network.init_with_output(jax.random.key(0), x)[0], image
        )
        channels = outputs.features["pooled"].shape[-1]
        return {"centers": jax.random.normal(key, (num_classes, channels))}

    def criterion(params: dict, outputs: Outputs, batch: Batch) -> Array:
        loss = losses.cross_entropy(
            outputs.logits, batch["target"], label_smoothing=options.label_smoothing
        )
        if options.cosine_harmony:
            loss = loss + options.cosine_harmony * losses.cosine_harmony(
                outputs.features["pooled"].astype(jnp.float32),
                batch["label"],
                params["centers"],
                options.harmony_alpha,
                options.harmony_variant,
            )
        return loss

    def official(arrays: weights.Arrays) -> Variables:
        sizes = {"stem_stride": options.stem_stride, "width": options.width}
        name = "lfn" if "linear.weight" in arrays else "lfnsb"
        found = weights.from_official(name, arrays, **sizes)
        return {kind: {"backbone": tree["backbone"]} for kind, tree in found.items()}

    return supervised.create(
        config,
        network,
        steps_per_epoch=steps_per_epoch,
        criterion=criterion,
        init_criterion=init_centers,
        official=official,
        trunk="backbone",
    )
