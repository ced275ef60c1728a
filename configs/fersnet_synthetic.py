"""A narrow FERSNet on the project's own drawn faces; needs no data.

    python -m jaxfer.launch --config fersnet_synthetic.py

Three folds by subject of 48 drawn people, one after the other. Two images of a person
are of one session, and a person shows some expressions and not others, as in CK+. The
figures say that the path works, and nothing about real
faces. The identity term is left out: there are no weights for it, and LightCNN would
cost more than the network. Time: not measured.

The ablations: `--config.method.multi_task=False`,
`--config.method.feature_sharing=hard`, `--config.method.fes_augmentation=True`.
"""

import ml_collections

from jaxfer.methods import fersnet


def get_config() -> ml_collections.ConfigDict:
    config = fersnet.default_config()
    config.epochs = 50
    config.log.sheet_epochs = 10
    config.data.name = "synthetic_sessions"
    config.data.image_size = 72
    config.method.image_size = 64
    config.method.width = 0.125
    config.method.reconstruct = "color"
    config.method.weights.reconstruction = 10.0  # the released 1 wants more steps
    config.method.weights.identity = 0.0
    config.protocol.kind = "subject"
    config.protocol.folds = 3
    config.protocol.train_fraction = 0.25  # three or four of a person's 14 images
    config.protocol.validation_kind = "subject"
    config.protocol.parallel_folds = "never"  # kernels of several runs are slow here
    for optim in (config.optim, config.discriminator.optim, config.augmented.optim):
        optim.learning_rate = 1e-3
        optim.weight_decay = 0.0
        optim.schedule = "cosine"
    config.augmented.epochs = 25
    return config
