"""FERSNet on Oulu-CASIA: 6 classes, 480 sequences of 80 people, 10 folds by subject.

    jaxfer prepare oulu_casia --source DIR --frames 3
    python -m jaxfer.launch --config fersnet_oulu.py \
        --config.method.identity_weights=LightCNN_9Layers_checkpoint.pth.tar

Paper: 83.47 % (89.23 % with BU-4DFE); 73.33 % without multi-task learning, 77.92 %
without ConvFLU, 87.64 % with FES data augmentation. Ours: not measured, since the data
is licensed to its users. Hours: not measured.

The ablations, and what FES augmentation draws, are those of
`fersnet_ckplus.py`. Deviations from the released code: a tenth of the training subjects
validates.
"""

import ml_collections

from jaxfer.methods import fersnet


def get_config() -> ml_collections.ConfigDict:
    config = fersnet.default_config()
    config.data.name = "oulu_casia"
    config.protocol.kind = "subject"
    config.protocol.folds = 10
    config.protocol.validation = 0.1
    config.protocol.validation_kind = "subject"
    return config
