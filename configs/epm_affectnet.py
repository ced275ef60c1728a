"""EPM on AffectNet, 7 classes.

    jaxfer prepare affectnet --source DIR --classes 7
    python -m jaxfer.launch --config epm_affectnet.py \
        --config.method.initial=VGG_FACE_FILE --config.method.normalization=vgg_face

Paper: 62.10 %, from VGG-Face's weights (`vgg_face_dag.pth`, or torchvision's VGG-16
without the second option); without a file the trunk begins from random weights. Ours:
not measured, since the data is licensed to its users. Hours: not measured.

Triplet batches hold 30 images of each class.
The paper takes the three steps one after the other;
`--config.method.schedule=alternate` takes them in turn in every epoch, as a report on
the paper does.
"""

import ml_collections

from jaxfer.methods import epm


def get_config() -> ml_collections.ConfigDict:
    config = epm.default_config()
    config.data.name = "affectnet"
    config.data.sampler = "balanced"
    config.protocol.kind = "given"
    config.protocol.validation = 0.05  # of the training part; the test part is its own
    config.protocol.validation_kind = "random"
    for step in (config.emr, config.epmg):
        step.images_per_class = 30
    config.augment.flip = True
    return config
