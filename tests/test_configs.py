"""Every shipped config runs all of its stages, shrunk, for one step.

Configs that then differ in no more than the protocol, the data's name and how large
their numbers are make the same programs: each opens an experiment, one of them trains.
"""

import collections
import dataclasses
import json
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
ONE_FOLD = ("given", "holdout")
STEPS = ("fusion", "emr", "epmg")
SHORTEST = {"epochs": 1, "batch_size": 4, "images_per_class": 2}


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
    if config.method.get("backbone", "resnet18") != "resnet18":
        config.method.backbone = "resnet18"
        config.method.stem = "torchvision"
    for step in (config[name] for name in STEPS if name in config):
        step.update({k: value for k, value in SHORTEST.items() if k in step})
    if "finetune" in config and config.finetune.epochs:
        config.finetune.epochs = 1
        config.finetune.image_size = SIZE + 4
        config.finetune.optim.warmup_epochs = 0.0
    config.data.label_noise.rates = tuple(config.data.label_noise.rates)[:1]
    config.data.classes = 0  # those of the data here
    config.optim.warmup_epochs = 0.0  # its first step would change nothing
    config.protocol.train_fraction = 1.0  # there are few images as it is
    if config.protocol.kind != "given":
        config.protocol.folds = 2
    return config


def sort(config):
    """All of a config that decides its programs: of its numbers, whether they are 0."""
    config = config.copy_and_resolve_references()
    config.data.name, config.protocol = "", {}
    text = config.to_json(sort_keys=True)
    return json.loads(text, parse_float=lambda number: float(number) != 0)


def groups():
    """Shipped configs, those of one sort together."""
    found = collections.defaultdict(list)
    for path in SHIPPED:
        found[repr(sort(shrink(configs.read_config(path))))].append(path)
    return list(found.values())


def first_batch(data, order):
    """The batch of an order's first step."""
    rows = order[0, 0]
    batch = {name: array[rows] for name, array in feed.table_arrays(data).items()}
    batch["image"] = datasets.read_images(data, rows, SIZE)
    return jax.tree.map(jnp.asarray, batch)


def data_of(config):
    """A few images, in as many parts as a config's protocol needs."""
    data = toy.dataset(count=len(CLASSES) * 10, size=SIZE, classes=CLASSES)
    given = config.protocol.validation_kind == "given"
    return with_validation(data) if given else data


@pytest.mark.parametrize("paths", groups(), ids=lambda p: "+".join(x.stem for x in p))
def test_shipped_configs_train_one_shrunk_step(paths, tmp_path, monkeypatch):
    for path in paths:
        config = configs.read_config(path)
        configs.validate(config)
        data = data_of(config)
        monkeypatch.setattr(experiment.data, "load", lambda *_, data=data, **__: data)
        opened = experiment.open_experiment(shrink(config), tmp_path / path.stem)
        assert len(opened.folds) == (1 if config.protocol.kind in ONE_FOLD else 2)
    train(opened, data)


def train(opened, data):
    """Run every pass of an experiment for one step, and predict."""
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
    if not name.startswith("synthetic_"):
        lines = [line for line in text.splitlines() if "jaxfer prepare" in line]
        whole = (f"prepare {name} --source", f"--save-as {name}")
        assert any(part in line for line in lines for part in whole)
        assert "Ours:" in text and "Paper:" in text
