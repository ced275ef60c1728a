"""LFNSB on AffectNet, 7 classes: without contempt; as on 8 in all else.

    jaxfer prepare affectnet --source DIR --classes 7 --save-as affectnet7
    python -m jaxfer.launch --config lfnsb_affectnet7.py

Paper: 66.57 %, from a backbone pretrained on MS-Celeb-1M; 65.72 % over ten folds. Ours:
not measured, since the data is licensed to its users. Hours: not measured.

The paper's tables 3 and 5, without spatial bias (`--config.method.spatial_bias=False`):
cross-entropy alone 64.26 % (`--config.method.cosine_harmony=0` besides), with
Cosine-Harmony 65.45. Ten folds: `--config.protocol.kind=stratified
--config.protocol.folds=10 --config.protocol.validation=0`.
"""

import ml_collections

from jaxfer.config import find_config, read_config


def get_config() -> ml_collections.ConfigDict:
    config = read_config(find_config("lfnsb_affectnet8.py"))
    config.data.name = "affectnet7"
    config.data.classes = 7
    return config
