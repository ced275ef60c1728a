"""Pretraining on identities: a plain folder with one subfolder a person."""

import cv2
import numpy as np
import pytest

from jaxfer import config as configs
from jaxfer import train
from jaxfer.data.prepare import prepare
from jaxfer.train.experiment import open_experiment

PEOPLE = {"Happy": 30, "Joy": 40, "n01": 2, "n02": 1, "sad": 27}
"""Images of each; three are named as expressions are."""


@pytest.fixture
def people(tmp_path):
    """The shipped config, shrunk, of a prepared folder."""
    rng = np.random.default_rng(0)
    for name, count in PEOPLE.items():
        (tmp_path / "faces" / name).mkdir(parents=True)
        for k in range(count):
            image = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "faces" / name / f"{k}.png"), image)
    options = {"data_dir": tmp_path / "data", "progress": False, "verbatim": True}
    prepare("image_folder", tmp_path / "faces", **options)
    config = configs.read_config(configs.find_config("lfn_faces_pretrain.py"))
    config.data.dir = str(tmp_path / "data")
    config.data.image_size = config.method.image_size = 16
    config.method.width, config.method.depth = 0.03125, 0.01
    config.batch_size = 8
    return config


def test_lfn_opens_on_a_plain_folder_of_people(people, tmp_path):
    opened = open_experiment(people, tmp_path / "run")
    assert opened.dataset.class_names == tuple(PEOPLE)
    (fold,) = opened.folds
    label, n = opened.dataset.table.label, sum(PEOPLE.values())
    assert [rows.size for rows in fold] == [96, 2, 2]  # a fiftieth, and of the rest
    assert sum(rows.size for rows in fold) == n
    assert set(label[fold.train]) == set(range(len(PEOPLE)))
    (run,) = opened.runs
    assert run.rows is fold and opened.method.name == "lfn"


def test_it_trains(people, tmp_path):
    people.epochs = 1
    people.optim.warmup_epochs = 0.0
    people.log.progress = people.log.tensorboard = False
    lines = []
    train.run(people, tmp_path / "run", say=lines.append)
    assert "1/50 of every class's images, held out at random" in lines[0]
    with np.load(tmp_path / "run" / "fold_00" / "predictions_last.npz") as found:
        assert found["logits/decision"].shape == (2, len(PEOPLE))
