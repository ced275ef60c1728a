"""LFN on identities, to pretrain LFNSB: any folder with one subfolder a person.

FACES/PERSON/*.jpg; a fiftieth of everybody's images, drawn at random, is the test part.
Two parts of the owner's own, FACES/train/PERSON/*.jpg and FACES/test/PERSON/*.jpg with
the same people, are obeyed with --config.protocol.kind=given.

    jaxfer prepare image_folder --source FACES --verbatim
    python -m jaxfer.launch --config lfn_faces_pretrain.py
    jaxfer export runs/lfn_faces_pretrain --trainable --output lfn.safetensors
    python -m jaxfer.launch --config lfnsb_rafdb.py \
        --config.method.initial=lfn.safetensors

Paper: pretrained on MS-Celeb-1M, aligned by five points to 112 x 112. Ours: not
measured, since such collections are not to be had here. Hours: not measured.
"""

import ml_collections

from jaxfer.methods import lfn


def get_config() -> ml_collections.ConfigDict:
    config = lfn.default_config()
    config.data.name = "image_folder"
    config.data.image_size = 112
    config.protocol.kind = "holdout"
    config.protocol.folds = 50
    config.protocol.validation = 0.02
    config.protocol.validation_kind = "random"
    config.augment.flip = True
    return config
