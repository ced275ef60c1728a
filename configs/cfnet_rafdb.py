"""CFNet on RAF-DB: 7 classes, 12,271 training and 3,068 test images.

    jaxfer prepare rafdb --source DIR
    python -m jaxfer.launch --config cfnet_rafdb.py

Paper: 87.52 % (constraint fusion), 86.70 % (direct fusion). Ours: not measured,
since the data is licensed to its users. As released: separate heads, and a rate
that falls on the validation loss with patience 50. Hours: not measured.

Of the 12,271 training images 9,816 train and 2,455 are held out to choose the epoch.
All 12,271, as in the paper's figures: `--config.protocol.validation=0`, judged by the
last epoch or the mean of the last five; the plateau then follows the training loss.

Deviations from the released code: the last partial batch of an epoch is dropped
(Keras trains on it too), and Nadam is without Keras' momentum schedule. The rate
and the choice of the epoch follow the loss of the decision, the fused head's,
where Keras' val_loss is the sum of the three heads'.
"""

import ml_collections

from jaxfer.methods import cfnet


def get_config() -> ml_collections.ConfigDict:
    config = cfnet.default_config()
    config.method.heads = "separate"
    config.data.name = "rafdb"
    config.data.image_size = 100  # as shipped; the network's 224 is on the device
    config.protocol.kind = "given"
    for optim in (config.optim, config.fusion.optim):
        optim.plateau.metric = "loss"
        optim.plateau.patience = 50
    return config
