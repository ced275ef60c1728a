"""LFN on identities, to pretrain LFNSB: any folder with one subfolder a person.

The folder has two parts, FACES/train/PERSON/*.jpg and FACES/test/PERSON/*.jpg, of the
same people; a few images of each are enough for the second.

    jaxfer prepare image_folder --source FACES
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
    config.protocol.kind = "given"
    config.protocol.validation = 0.02
    config.protocol.validation_kind = "random"
    config.augment.flip = True
    return config
