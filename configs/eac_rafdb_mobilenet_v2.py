"""EAC with MobileNetV2 on RAF-DB: 7 classes, 12,271 training and 3,068 test images.

    jaxfer prepare rafdb --source DIR
    python -m jaxfer.launch --config eac_rafdb_mobilenet_v2.py \
        --config.method.initial=mobilenet_v2.pth

Paper: 86.47 % (baseline 83.31 %), from weights pretrained on faces. Ours: not measured,
since the data is licensed to its users. Hours: not measured.

Of the 12,271 training images 9,816 train and 2,455 are held out to choose the epoch.
All 12,271, as in the paper's figures: `--config.protocol.validation=0`, judged by the
last epoch or the mean of the last five.

The baseline: `--config.method.consistency=0`. `method.initial` names torchvision's
ImageNet weights; without it the network starts from scratch.
"""

import ml_collections

from jaxfer.methods import eac


def get_config() -> ml_collections.ConfigDict:
    config = eac.default_config()
    config.epochs = 40
    config.batch_size = 64
    config.method.backbone = "mobilenet_v2"
    config.method.stem = "torchvision"
    config.optim.learning_rate = 2e-4
    config.data.name = "rafdb"
    config.data.image_size = 100  # as shipped; the network's 224 is on the device
    config.protocol.kind = "given"
    return config
