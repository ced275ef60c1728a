"""EAC with ResNet-50 on RAF-DB: 7 classes, 12,271 training and 3,068 test images.

    jaxfer prepare rafdb --source DIR
    python -m jaxfer.launch --config eac_rafdb_resnet50.py \
        --config.method.initial=resnet50_ft_weight.pkl

Paper: 90.35 % from face-recognition weights (baseline 88.75 %). Ours: not measured,
since the data is licensed to its users. Hours: not measured.

Of the 12,271 training images 9,816 train and 2,455 are held out to choose the epoch.
All 12,271, as in the paper's figures: `--config.protocol.validation=0`, judged by the
last epoch or the mean of the last five.

The baseline: `--config.method.consistency=0`. `method.initial` names the VGGFace2
weights that the authors start from; without it the network starts from scratch, and
the figures above are out of reach. The recipe of torchvision's ImageNet weights:
`--config.method.stem=torchvision --config.optim.learning_rate=2e-4
--config.batch_size=64 --config.epochs=40`.
"""

import ml_collections

from jaxfer.methods import eac


def get_config() -> ml_collections.ConfigDict:
    config = eac.default_config()
    config.data.name = "rafdb"
    config.data.image_size = 100  # as shipped; the network's 224 is on the device
    config.protocol.kind = "given"
    return config
