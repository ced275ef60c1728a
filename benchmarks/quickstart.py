"""The quickstart's experiment, as the benchmarks of whole trainings change it."""

import ml_collections

from jaxfer import config as configs


def create(epochs: int, *, short: bool) -> ml_collections.ConfigDict:
    """Its config with `epochs`, half as many of fusion, and nothing written on the way.

    `short` makes images and network tiny, for two folds.
    """
    config = configs.read_config(configs.find_config("quickstart.py"))
    config.epochs, config.fusion.epochs = epochs, max(1, epochs // 2)
    config.log.progress = config.log.tensorboard = False
    if short:
        config.data.image_size = config.method.image_size = 14
        config.method.width = 0.03125
        config.protocol.folds = 2
    return config
