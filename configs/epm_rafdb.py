"""EPM on RAF-DB: 7 classes, 12,271 training and 3,068 test images.

    jaxfer prepare rafdb --source DIR
    python -m jaxfer.launch --config epm_rafdb.py \
        --config.method.initial=VGG_FACE_FILE --config.method.normalization=vgg_face

Paper: 87.10 %, from VGG-Face's weights (`vgg_face_dag.pth`, or torchvision's VGG-16
without the second option); without a file the trunk begins from random weights. Ours:
not measured, since the data is licensed to its users. Hours: not measured.

Of the 12,271 training images 9,816 train and 2,455 are held out to choose the epoch.
All 12,271, as in the paper's figures: `--config.protocol.validation=0`, judged by the
last epoch or the mean of the last five.

Triplet batches hold 30 images of each class.
The paper takes the three steps one after the other;
`--config.method.schedule=alternate` takes them in turn in every epoch, as a report on
the paper does.
"""

import ml_collections

from jaxfer.methods import epm


def get_config() -> ml_collections.ConfigDict:
    config = epm.default_config()
    config.data.name = "rafdb"
    config.data.image_size = 100  # as shipped; the network's 224 is on the device
    config.protocol.kind = "given"
    config.method.weights.l4 = 60.0
    config.method.weights.l5 = 40.0
    for step in (config.emr, config.epmg):
        step.images_per_class = 30
    config.augment.flip = True
    return config
