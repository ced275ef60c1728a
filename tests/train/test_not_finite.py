"""A training that diverges is told of, and recorded."""

import csv

import numpy as np
import pytest
import toy

from jaxfer import train
from jaxfer.train import experiment


@pytest.mark.usefixtures("use_toy")
def test_figures_that_are_not_finite_are_told_and_logged(tmp_path, monkeypatch):
    def diverging(config, **options):
        method = toy.method(config, **options)
        first, _ = method.stages
        (one,) = first.passes

        def train_step(state, batch, key):
            state, metrics = one.train_step(state, batch, key)
            total, count = metrics["objective"]
            return state, metrics | {
                "discriminator": (total * np.float32("nan"), count)
            }

        passes = (one._replace(train_step=train_step),)
        return method._replace(
            stages=(first._replace(passes=passes),), predict=first.predict
        )

    monkeypatch.setattr(experiment.methods, "create", diverging)
    config = toy.config(kind="given")
    config.epochs = 2
    lines: list[str] = []
    train.run(config, tmp_path, say=lines.append)
    told = [line for line in lines if "training figures are not finite" in line]
    assert len(told) == 2 and "epoch 1" in told[1] and "fold 0" in told[1]
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["train/discriminator"] for row in rows] == ["nan", "nan"]
