"""Sheets of drawn faces while a (toy) run is trained."""

import jax.numpy as jnp
import pytest
import toy

from jaxfer import methods, train
from jaxfer.evaluate import sheets
from jaxfer.methods import fersnet
from jaxfer.train import results


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Trains two folds with a sheet of every second epoch; their paths."""

    def go(draw):
        toy.stand_in(monkeypatch)
        monkeypatch.setattr(sheets, "draws_faces", lambda config: True)
        monkeypatch.setattr(methods, "create_synthesis", lambda *a, **options: draw)
        config = toy.config(folds=2, parallel_folds="never")
        config.log.sheet_epochs = 2
        watch = sheets.create_watch(config)
        train.run(config, tmp_path, say=lambda line: None, watch=watch)
        return [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png")]

    return go


def test_a_sheet_is_drawn_every_few_epochs_of_the_first_stage(trained):
    seen = []

    def draw(variables, images, target):
        seen.append((images.shape, target.shape, variables["params"]["first"].shape))
        return images.astype(jnp.float32) / 255

    expected = [f"fold_{k:02d}/sheets/epoch_0002.png" for k in (0, 1)]
    assert sorted(trained(draw)) == expected
    # One person for validation, three classes; traced once for both folds.
    assert seen == [((3, 8, 8, 3), (3, 3), (192, 3))]


def test_a_diverged_model_is_not_drawn_and_does_not_stop_the_training(
    trained, tmp_path
):
    assert trained(lambda variables, images, target: jnp.nan * target) == []
    assert (tmp_path / "fold_01" / results.FINISHED).exists()


def test_most_trainings_draw_nothing():
    config = fersnet.default_config()
    assert sheets.create_watch(config) is not None
    config.method.multi_task = False
    assert sheets.create_watch(config) is None
    config.method.multi_task, config.log.sheet_epochs = True, 0
    assert sheets.create_watch(config) is None
    assert sheets.create_watch(toy.config()) is None
