"""EAC on FER+, few images, with 0, 10, 20 and 30 % wrong training labels.

    jaxfer prepare ferplus --source ferplus.zip
    python -m jaxfer.launch --config eac_ferplus_noise.py

Paper: no figure on FER+. For a CPU: a ResNet-18 of a quarter of the width, from
scratch, on a tenth of the training images, which is few enough for wrong labels to
be learned by heart. All rates and three seeds. Ours: best by validation, with 0 to
30 % wrong, 51.6, 49.9, 48.5, 45.1 %; the baseline 50.7, 47.1, 44.9, 41.6 %. Hours:
about 1 for EAC and 0.7 for the baseline, each on one CPU core.

The baseline: `--config.method.consistency=0`, and
`jaxfer evaluate runs/eac_ferplus_noise --beside BASELINE` draws both.
"""

import ml_collections

from jaxfer.methods import eac


def get_config() -> ml_collections.ConfigDict:
    config = eac.default_config()
    config.epochs = 32
    config.batch_size = 64
    config.method.backbone = "resnet18"
    config.method.stem = "torchvision"
    config.method.width = 0.25
    config.method.image_size = 48
    config.method.grey = True  # as the images are
    config.method.second_view = "independent"
    config.data.name = "ferplus"
    config.data.image_size = 48
    config.data.label_noise.kind = "symmetric"
    config.data.label_noise.rates = (0.0, 0.1, 0.2, 0.3)
    config.protocol.kind = "given"
    config.protocol.validation_kind = "given"
    config.protocol.train_fraction = 0.1
    config.protocol.num_seeds = 3
    config.optim.learning_rate = 1e-3
    config.optim.schedule = "cosine"
    return config
