"""A small CFNet on the project's own drawn faces; needs no data.

    python -m jaxfer.launch --config quickstart.py

Both stages, five folds by subject of 24 drawn people, all folds at once. The
figures say that the path works, and nothing about real faces. Time: 2 min 20 s on 2
CPU cores.
"""

import ml_collections

from jaxfer.methods import cfnet


def get_config() -> ml_collections.ConfigDict:
    config = cfnet.default_config()
    config.epochs = 12
    config.batch_size = 32
    config.data.name = "synthetic_faces"
    config.data.image_size = 42
    config.method.image_size = 42
    config.method.width = 0.125
    config.method.momentum = 0.9
    config.protocol.kind = "subject"
    config.protocol.folds = 5
    config.protocol.validation_kind = "subject"
    config.optim.learning_rate = 1e-3
    config.optim.plateau.patience = 10
    config.fusion.epochs = 6
    config.fusion.optim.learning_rate = 1e-3
    config.fusion.optim.plateau.patience = 5
    return config
