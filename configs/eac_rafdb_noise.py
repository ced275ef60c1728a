"""EAC on RAF-DB with 10, 20 and 30 % wrong training labels, all at once.

    jaxfer prepare rafdb --source DIR
    python -m jaxfer.launch --config eac_rafdb_noise.py \
        --config.method.initial=resnet50_ft_weight.pkl

Paper: 88.62, 87.35 and 85.27 % at 10, 20 and 30 % (baseline 83.44, 79.11, 71.67), from
face-recognition weights; 73.36, 71.21 and 68.20 % without them. Ours: not measured,
since the data is licensed to its users. Hours: not measured.

Of the 12,271 training images 9,816 train and 2,455 are held out to choose the epoch.
All 12,271, as in the paper's figures: `--config.protocol.validation=0`, judged by the
last epoch or the mean of the last five.

The baseline: `--config.method.consistency=0`. The authors' own lists of wrong labels:
`--config.data.label_noise.kind=file
--config.data.label_noise.file=noise01.txt,noise02.txt,noise03.txt`.
"""

import ml_collections

from jaxfer.methods import eac


def get_config() -> ml_collections.ConfigDict:
    config = eac.default_config()
    config.method.second_view = "independent"
    config.data.name = "rafdb"
    config.data.image_size = 100  # as shipped; the network's 224 is on the device
    config.data.label_noise.kind = "symmetric"
    config.data.label_noise.rates = (0.1, 0.2, 0.3)
    config.protocol.kind = "given"
    return config
