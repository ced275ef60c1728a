"""LFNSB on AffectNet, 8 classes.

    jaxfer prepare affectnet --source DIR
    python -m jaxfer.launch --config lfnsb_affectnet8.py

Paper: 63.12 %, from a backbone pretrained on MS-Celeb-1M. Ours: not measured, since the
data is licensed to its users. Hours: not measured.

Sharpness-aware Adam, classes drawn equally often, the rate times 0.98 an epoch.
"""

import ml_collections

from jaxfer.methods import lfnsb


def get_config() -> ml_collections.ConfigDict:
    config = lfnsb.default_config()
    config.batch_size = 256
    config.data.name = "affectnet"
    config.data.classes = 8
    config.data.image_size = 112
    config.data.sampler = "balanced"
    config.protocol.kind = "given"
    config.protocol.validation = 0.05  # of the training part; the test part is its own
    config.protocol.validation_kind = "random"
    config.augment.flip = True
    config.augment.rotate = 20.0
    config.augment.translate = 0.2
    config.augment.zoom = (0.8, 1.0)
    config.augment.geometric = 0.7
    config.augment.erase = 0.5
    config.augment.erase_area = (0.02, 0.33)
    config.optim.name = "adam"
    config.optim.learning_rate = 1e-4
    config.optim.weight_decay = 0.0
    config.optim.sam_radius = 0.05
    config.optim.schedule = "exponential"
    config.optim.decay = 0.98
    return config
