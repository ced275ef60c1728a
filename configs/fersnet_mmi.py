"""FERSNet on MMI: 6 classes, 208 sequences of 31 people, 10 folds by subject.

    jaxfer prepare mmi --source DIR --frames 3
    python -m jaxfer.launch --config fersnet_mmi.py \
        --config.method.identity_weights=LightCNN_9Layers_checkpoint.pth.tar

Paper: 71.31 % (75.32 % with BU-4DFE); 63.78 % without multi-task learning, 69.07 %
without ConvFLU, 73.87 % with FES data augmentation. Ours: not measured, since the data
is licensed to its users. Hours: not measured.

Frames are used whole: crop them to the face first, as MMI's videos show more. The
ablations, and what FES augmentation draws, are those of `fersnet_ckplus.py`. Deviations
from the released code: a tenth of the training subjects validates, and people seen with
one expression alone, who have no pairs, are left out of the joint training.
"""

import ml_collections

from jaxfer.methods import fersnet


def get_config() -> ml_collections.ConfigDict:
    config = fersnet.default_config()
    config.data.name = "mmi"
    config.protocol.kind = "subject"
    config.protocol.folds = 10
    config.protocol.validation = 0.1
    config.protocol.validation_kind = "subject"
    return config
