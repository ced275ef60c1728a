"""EPM on Oulu-CASIA: 6 classes, visible light, strong, 10 folds by subject.

    jaxfer prepare oulu_casia --source DIR --frames 3
    python -m jaxfer.launch --config epm_oulu.py \
        --config.method.initial=VGG_FACE_FILE --config.method.normalization=vgg_face

Paper: 89.05 %, from VGG-Face's weights (`vgg_face_dag.pth`, or torchvision's VGG-16
without the second option); without a file the trunk begins from random weights. Ours:
not measured, since the data is licensed to its users. Hours: not measured.

The paper does not say how it splits; folds by subject are this project's choice.
The paper takes the three steps one after the other;
`--config.method.schedule=alternate` takes them in turn in every epoch, as a report on
the paper does.
"""

import ml_collections

from jaxfer.methods import epm


def get_config() -> ml_collections.ConfigDict:
    config = epm.default_config()
    config.data.name = "oulu_casia"
    config.protocol.kind = "subject"
    config.protocol.folds = 10
    config.protocol.validation_kind = "subject"
    config.method.weights.l4 = 60.0
    config.method.weights.l5 = 40.0
    config.augment.flip = True
    return config
