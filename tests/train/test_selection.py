import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.errors import ConfigError
from jaxfer.methods import Plateau, Selection, common
from jaxfer.train import selection


def follow(values, rule):
    tracker = selection.start({"w": jnp.asarray(-1.0)})
    for epoch, value in enumerate(values):
        tracker = jax.jit(selection.select, static_argnums=4)(
            tracker,
            {"w": jnp.asarray(float(epoch))},
            jnp.asarray(value, jnp.float32),
            jnp.asarray(epoch, jnp.int32),
            rule,
        )
    return tracker


@pytest.mark.parametrize(
    ("values", "mode", "best"),
    [
        ([0.1, 0.7, 0.3], "max", 1),
        ([0.1, 0.7, 0.3], "min", 0),
        ([0.5, 0.5, 0.5], "max", 0),  # the first wins ties
        ([np.nan, 0.2, np.nan, 0.3], "max", 3),  # nan never wins
    ],
)
def test_the_best_epoch_and_its_variables(values, mode, best):
    tracker = follow(values, Selection("accuracy", mode))
    assert int(tracker.best_epoch) == best
    assert float(tracker.best_variables["w"]) == best


def test_epochs_before_the_first_to_choose_are_not_chosen():
    rule = Selection("accuracy", "max", first_epoch=2)
    tracker = follow([0.9, 0.8, 0.5, 0.6, 0.55], rule)
    assert int(tracker.best_epoch) == 3
    assert float(tracker.best) == pytest.approx(0.6)


def keras_plateau(values, *, mode, factor, patience, min_delta):
    """The rates that Keras' callback gives after each epoch, written out."""
    best, wait, rate, rates = None, 0, 1.0, []
    for value in values:
        sign = 1 if mode == "max" else -1
        if best is None or sign * (value - best) > min_delta:
            best, wait = value, 0
        else:
            wait += 1
            if wait >= patience:
                rate, wait = rate * factor, 0
        rates.append(rate)
    return rates


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("patience", [1, 3])
def test_the_plateau_rule_is_that_of_keras(mode, patience):
    rng = np.random.default_rng(patience)
    values = np.round(rng.random(40), 1)
    rule = Plateau("loss", mode, 0.5, patience, min_delta=0.05)
    tracker = selection.start({})
    state = common.start({}, {})
    rates = []
    for value in values:
        tracker, state = selection.step_plateau(
            tracker, state, jnp.asarray(value, jnp.float32), rule
        )
        rates.append(float(state.lr_scale))
    expected = keras_plateau(
        values, mode=mode, factor=0.5, patience=patience, min_delta=0.05
    )
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    assert rates[-1] < 1  # the rule did something


def test_the_rate_never_falls_below_its_floor():
    rule = Plateau("loss", "min", 0.1, 1, min_scale=0.01)
    tracker, state = selection.start({}), common.start({}, {})
    for _ in range(6):
        tracker, state = selection.step_plateau(
            tracker, state, jnp.asarray(1.0, jnp.float32), rule
        )
    np.testing.assert_allclose(float(state.lr_scale), 0.01, rtol=1e-6)


def test_an_unknown_metric_names_those_there_are():
    with pytest.raises(ConfigError, match=r"accuracy, loss\..*protocol\.validation"):
        selection.metric_value({"loss": 0, "accuracy": 1}, "acuracy")
