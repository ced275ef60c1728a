"""Every shipped config runs all of its stages, shrunk, for one step."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from jaxfer import config as configs
from jaxfer import data as datasets
from jaxfer.data import labels
from jaxfer.train import experiment, feed, orders

SHIPPED = sorted(Path(configs.__file__).parents[1].glob("configs/*.py"))

CLASSES = labels.CKPLUS
"""Of every data set here: what is alike in two configs is then compiled once."""
SIZE = 28
SMALLEST = {"width": 0.03125, "depth": 0.01, "image_size": SIZE}
STEPS = ("fusion", "emr", "epmg")
SHORTEST = {"epochs": 1, "batch_size": 4, "images_per_class": 1}


def with_validation(data):
    split = data.table.split.astype("U10")
    split[1::5] = "validation"
    return dataclasses.replace(data, table=dataclasses.replace(data.table, split=split))


def shrink(config):
    """Smaller in every dimension that costs time; nothing else is touched."""
    config.epochs = 1
    config.batch_size = 4
    config.data.image_size = SIZE
    for name, value in SMALLEST.items():
        if name in config.method:
            config.method[name] = value
    if config.method.name == "fersnet":  # which halves images five times
        config.data.image_size = config.method.image_size = 32
    if config.method.get("backbone") == "resnet50":
        config.method.backbone = "resnet18"
        config.method.stem = "torchvision"
    for step in (config[name] for name in STEPS if name in config):
        step.update({k: value for k, value in SHORTEST.items() if k in step})
    if "finetune" in config and config.finetune.epochs:
        config.finetune.epochs = 1
        config.finetune.image_size = SIZE + 4
    config.data.label_noise.rates = tuple(config.data.label_noise.rates)[:1]
    config.optim.warmup_epochs = 0.0  # its first step would change nothing
    config.protocol.train_fraction = 1.0  # there are few images as it is
    if config.protocol.kind != "given":
        config.protocol.folds = 2
    return config


def first_batch(data, order):
    """The batch of an order's first step."""
    rows = order[0, 0]
    batch = {name: array[rows] for name, array in feed.table_arrays(data).items()}
    batch["image"] = datasets.read_images(data, rows, SIZE)
    return jax.tree.map(jnp.asarray, batch)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_shipped_config_trains_one_shrunk_step(path, tmp_path, monkeypatch):
    config = configs.read_config(path)
    configs.validate(config)
    data = toy.dataset(count=len(CLASSES) * 5, size=SIZE, classes=CLASSES)
    if config.protocol.validation_kind == "given":
        data = with_validation(data)
    monkeypatch.setattr(experiment.data, "load", lambda *args, **kwargs: data)
    opened = experiment.open_experiment(shrink(config), tmp_path)
    assert len(opened.folds) == (1 if config.protocol.kind == "given" else 2)
    method, key = opened.method, jax.random.key(0)
    images = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    state = jax.jit(method.init)(key, images)
    for index, stage in enumerate(method.stages):
        drawn = orders.train_order(stage, index, 0, opened.runs[:1], data.table)
        for one, order in zip(stage.passes, drawn, strict=True):
            batch = first_batch(data, order)
            images = batch["image"]
            if stage.features is not None:
                del batch["image"]
                batch["features"] = jax.jit(stage.features)(state.variables, images)
            before = state.variables["params"]
            state, metrics = jax.jit(one.train_step)(state, batch, key)
            assert np.isfinite([total for total, _ in metrics.values()]).all()
            moved = jax.tree.map(
                lambda a, b: (a != b).any(), before, state.variables["params"]
            )
            assert any(jax.tree.leaves(moved))
    logits = jax.jit(method.predict)(state.variables, images).logits
    assert logits.shape == (len(images), len(CLASSES))
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_shipped_config_says_how_it_is_used(path):
    text = path.read_text()
    assert f"python -m jaxfer.launch --config {path.name}" in text
    name = configs.read_config(path).data.name
    if name != "synthetic_faces":
        assert f"jaxfer prepare {name} --source" in text
        assert "Ours:" in text and "Paper:" in text
