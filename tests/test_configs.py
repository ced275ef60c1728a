"""Every shipped config runs both of its stages, shrunk, for one step."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import toy

from jaxfer import config as configs
from jaxfer import train
from jaxfer.data import labels
from jaxfer.train import experiment

SHIPPED = sorted(Path(configs.__file__).parents[1].glob("configs/*.py"))

CLASSES = {
    "ckplus": labels.CKPLUS,
    "ferplus": labels.FERPLUS,
    "mmi": labels.MMI,
    "rafdb": labels.RAFDB,
    "synthetic_faces": labels.CKPLUS,
}


def with_validation(data):
    split = data.table.split.astype("U10")
    split[1::5] = "validation"
    return dataclasses.replace(data, table=dataclasses.replace(data.table, split=split))


def shrink(config):
    """Smaller in every dimension that costs time; nothing else is touched."""
    config.epochs = 1
    config.batch_size = 4
    config.data.image_size = 28
    config.method.image_size = 28
    config.method.width = 0.03125
    config.fusion.epochs = 1
    config.fusion.batch_size = 4
    config.log.progress = False
    if config.protocol.kind != "given":
        config.protocol.folds = 2
        config.protocol.parallel_folds = "never"  # compiles faster
    return config


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_shipped_config_trains_one_shrunk_step(path, tmp_path, monkeypatch):
    config = configs.read_config(path)
    configs.validate(config)
    classes = CLASSES[config.data.name]
    data = toy.dataset(count=len(classes) * 5, size=28, classes=classes)
    if config.protocol.validation_kind == "given":
        data = with_validation(data)
    monkeypatch.setattr(experiment.data, "load", lambda *args, **kwargs: data)
    train.run(shrink(config), tmp_path, say=lambda line: None)
    restored = train.restore(tmp_path, "last")
    assert len(restored.runs) == (1 if config.protocol.kind == "given" else 2)
    for run in restored.runs:
        with np.load(run.dir / "predictions_last.npz") as found:
            assert np.isfinite(found["logits/decision"]).all()
            assert found["logits/decision"].shape == (len(run.rows.test), len(classes))
            weights = found["features/alpha_local"] + found["features/alpha_global"]
            np.testing.assert_allclose(weights, 1, rtol=1e-5)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_shipped_config_says_how_it_is_used(path):
    text = path.read_text()
    assert f"python -m jaxfer.launch --config {path.name}" in text
    name = configs.read_config(path).data.name
    if name != "synthetic_faces":
        assert f"jaxfer prepare {name} --source" in text
        assert "Ours:" in text and "Paper:" in text
