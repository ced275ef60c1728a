"""EAC on FER+: 8 classes, majority vote, the official three parts.

    jaxfer prepare ferplus --source ferplus.zip
    python -m jaxfer.launch --config eac_ferplus_resnet18.py

Paper: no figure on FER+; the recipe is the paper's for ResNet-18, at the images' own 48
pixels. Weights begin at random without `--config.method.initial=FILE`. Ours: not
measured yet, but for a tenth of the images in `eac_ferplus_noise.py`. Hours: not
measured yet; meant for an accelerator.

The baseline: `--config.method.consistency=0`.
"""

import ml_collections

from jaxfer.methods import eac


def get_config() -> ml_collections.ConfigDict:
    config = eac.default_config()
    config.epochs = 60
    config.batch_size = 64
    config.method.backbone = "resnet18"
    config.method.stem = "torchvision"
    config.method.image_size = 48
    config.method.grey = True  # as the images are
    config.method.second_view = "independent"
    config.data.name = "ferplus"
    config.data.image_size = 48
    config.protocol.kind = "given"
    config.protocol.validation_kind = "given"
    config.optim.learning_rate = 2e-4
    return config
