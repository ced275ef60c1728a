"""CFNet on CK+: 7 classes, 327 peak frames, 118 subjects, 5 folds in file order.

    jaxfer prepare ckplus --source DIR
    python -m jaxfer.launch --config cfnet_ckplus.py

Paper: 99.07 % (constraint fusion), 98.46 % (direct fusion). Ours: not measured,
since the data is licensed to its users. Hours: not measured.

Folds in file order are the paper's. `--config.protocol.kind=subject` keeps all
images of a person on one side, which is the harder and the fairer question. The
released code carries weights from fold to fold, so that folds 2 to 5 begin with
weights trained on their own test images; `--config.protocol.carry_weights_across_folds`
repeats that for comparison.

Deviations from the released code: the last partial batch of an epoch is dropped
(Keras trains on it too), and Nadam is without Keras' momentum schedule.
"""

import ml_collections

from jaxfer.methods import cfnet


def get_config() -> ml_collections.ConfigDict:
    config = cfnet.default_config()
    config.data.name = "ckplus"
    config.protocol.kind = "file_order"
    config.protocol.folds = 5
    return config
