"""CFNet on MMI: 6 classes, 208 sequences, 31 subjects, 5 folds in file order.

    jaxfer prepare mmi --source DIR
    python -m jaxfer.launch --config cfnet_mmi.py

Paper: 84.62 %. Ours: not measured, since the data is licensed to its users.
The released MMI code does not share the heads' layers. Hours: not measured.

Deviations from the released code: the last partial batch of an epoch is dropped
(Keras trains on it too), and Nadam is without Keras' momentum schedule.
"""

import ml_collections

from jaxfer.methods import cfnet


def get_config() -> ml_collections.ConfigDict:
    config = cfnet.default_config()
    config.method.heads = "separate"
    config.data.name = "mmi"
    config.protocol.kind = "file_order"
    config.protocol.folds = 5
    return config
