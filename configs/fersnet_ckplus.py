"""FERSNet on CK+: 7 classes, 327 sequences of 118 people, 10 folds by subject.

    jaxfer prepare ckplus --source DIR --frames 3
    python -m jaxfer.launch --config fersnet_ckplus.py \
        --config.method.identity_weights=LightCNN_9Layers_checkpoint.pth.tar

Paper: 97.35 % (97.85 % with BU-4DFE); 94.70 % without multi-task learning, 95.21 %
without ConvFLU, 97.75 % with FES data augmentation. Ours: not measured, since the data
is licensed to its users. Hours: not measured.

The ablations, in that order: `--config.method.multi_task=False`,
`--config.method.feature_sharing=hard`, `--config.method.fes_augmentation=True` (both
phases in one command). Without LightCNN's weights the identity term compares random
features; `--config.method.weights.identity=0` leaves it out. The slides' log form of
the adversarial loss: `--config.method.adversarial=log_saturating`; `log` is the form
whose generator minimises -log D.

Frames are used whole: crop them to the face first where they show more. Deviations from
the released code: a tenth of the training subjects validates, and people seen with one
expression alone, who have no pairs, are left out of the joint training. FES
augmentation, which was not released, draws any other expression, not the missing ones
alone.
"""

import ml_collections

from jaxfer.methods import fersnet


def get_config() -> ml_collections.ConfigDict:
    config = fersnet.default_config()
    config.data.name = "ckplus"
    config.protocol.kind = "subject"
    config.protocol.folds = 10
    config.protocol.validation = 0.1
    config.protocol.validation_kind = "subject"
    return config
