"""FERSNet from its training to its pictures, through the product's own doors."""

import chex
import cv2
import numpy as np
import pytest
import toy
from stopping import with_stops

from jaxfer import cli, train
from jaxfer.evaluate import synthesis
from jaxfer.methods import fersnet


def config():
    """Both stages of the smallest FERSNet, on the toy's images."""
    made = fersnet.default_config()
    made.epochs, made.augmented.epochs = 1, 1
    made.batch_size = 9
    made.method.width = 0.03125
    made.method.image_size = made.data.image_size = 32
    made.method.weights.identity = 0.0
    made.method.fes_augmentation = True
    made.log.sheet_epochs = 0
    shared = toy.config(kind="given", validation_kind="random")
    for name in ("checkpoint", "protocol"):
        made[name] = shared[name]
    made.log.progress = made.log.tensorboard = False
    return made


@pytest.mark.usefixtures("use_toy")
def test_it_is_stopped_and_continued_to_the_bit_judged_and_draws(
    tmp_path, monkeypatch, capsys
):
    folders = whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    lines = []

    def run():
        eager = config()
        eager.checkpoint.every_seconds = 0.0
        train.run(eager, stopped, say=lines.append)

    train.run(config(), whole, say=lambda line: None)
    with_stops(monkeypatch, run, [1, 1000])
    assert sum("continuing at" in line for line in lines) == 1, lines
    for selection in ("last", "validation"):
        chex.assert_trees_all_equal(
            *(
                [one.variables for one in train.restore(folder, selection).runs]
                for folder in folders
            )
        )
    assert synthesis.measure(whole)["recognisers"]["own"]["trained_on_drawn"]
    face = tmp_path / "face.png"
    cv2.imwrite(str(face), np.full((40, 40, 3), 90, np.uint8))
    words = ["synthesize", whole, face, "--to", "all", "--out", tmp_path / "drawn"]
    assert cli.main([str(word) for word in words]) == 0
    drawn = [cv2.imread(line) for line in capsys.readouterr().out.split()[-4:-1]]
    assert [picture.shape for picture in drawn] == [(32, 32, 3)] * 3
