import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.config import optimizer_config
from jaxfer.errors import ConfigError
from jaxfer.methods import Selection
from jaxfer.methods.optimizers import (
    create_optimizer,
    create_plateau,
    create_schedule,
    create_selection,
)


def optim(**fields):
    config = optimizer_config()
    config.update({"learning_rate": 0.1, **fields})
    return config


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [0.1, 0.1, 0.1, 0.1]),
        ({"schedule": "exponential", "decay": 0.5}, [0.1, 0.05, 0.025, 0.0125]),
        (
            {"schedule": "step", "decay": 0.1, "milestones": (2,)},
            [0.1, 0.1, 0.01, 0.01],
        ),
        (
            {"schedule": "cosine", "floor": 0.2},
            [0.08 * (1 + np.cos(np.pi * e / 4)) / 2 + 0.02 for e in range(4)],
        ),
    ],
)
def test_schedules_by_epoch(fields, expected):
    schedule = create_schedule(optim(**fields), epochs=4, steps_per_epoch=10)
    found = [float(schedule(jnp.asarray(10 * e))) for e in range(4)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_warm_up_rises_to_the_rate_and_hands_over():
    schedule = create_schedule(optim(warmup_epochs=1.0), epochs=4, steps_per_epoch=10)
    found = [float(schedule(jnp.asarray(s))) for s in (0, 5, 10, 20)]
    np.testing.assert_allclose(found, [0, 0.05, 0.1, 0.1], rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"schedule": "exponential", "decay": 0.5}, [0.05, 0.025, 0.0125]),
        (
            {"schedule": "step", "decay": 0.1, "milestones": (2, 3)},
            [0.1, 0.01, 0.001],
        ),
        ({"schedule": "step"}, [0.1, 0.1, 0.1]),  # no milestones: none is passed
        ({"schedule": "cosine"}, [0.1, 0.075, 0.025]),  # over the other three epochs
    ],
)
def test_decays_count_from_the_start_with_warm_up(fields, expected):
    config = optim(warmup_epochs=1.0, **fields)
    schedule = create_schedule(config, epochs=4, steps_per_epoch=10)
    found = [float(schedule(jnp.asarray(10 * e))) for e in (1, 2, 3)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert float(schedule(jnp.asarray(5))) == pytest.approx(0.05)


def updates(config, gradient, param):
    optimizer = create_optimizer(config, epochs=1, steps_per_epoch=1)
    with jax.numpy_dtype_promotion("standard"):
        return optimizer.update(gradient, optimizer.init(param), param)[0]


def test_decay_is_in_the_gradient_but_decoupled_for_adamw():
    param, gradient = jnp.asarray([2.0]), jnp.asarray([1.0])
    sgd = optim(name="sgd", momentum=0.0, weight_decay=0.25)
    np.testing.assert_allclose(updates(sgd, gradient, param), [-0.1 * 1.5], rtol=1e-6)
    # Adam's first step is the sign of the gradient, decay or not ...
    adam = optim(name="adam", weight_decay=0.25)
    np.testing.assert_allclose(updates(adam, gradient, param), [-0.1], rtol=1e-5)
    # ... and decoupled decay comes on top of it.
    adamw = optim(name="adamw", weight_decay=0.25)
    np.testing.assert_allclose(updates(adamw, gradient, param), [-0.15], rtol=1e-5)


def test_muon_orthogonalises_kernels_that_mix_channels_and_nothing_else():
    key = jax.random.key(0)
    shapes = {"conv": (1, 1, 6, 24), "depthwise": (3, 3, 1, 8), "head": (24, 5)}
    gradient = {name: jax.random.normal(key, shape) for name, shape in shapes.items()}
    param = jax.tree.map(jnp.ones_like, gradient)
    muon = updates(optim(name="muon", weight_decay=0.25), gradient, param)
    decay = -0.1 * 0.25
    step = np.asarray(muon.pop("conv")).reshape(6, 24) - decay
    # Equal singular values, as near as Muon's five iterations bring them ...
    values = np.linalg.svd(step, compute_uv=False)
    assert values.max() < 2 * values.min()
    # ... along the gradient's singular vectors, with the size of an AdamW step.
    left, _, right = np.linalg.svd(gradient["conv"].reshape(6, 24), full_matrices=False)
    assert np.all(np.diag(left.T @ step @ right.T) < 0)
    assert np.sqrt(np.mean(step**2)) == pytest.approx(0.1 * 0.2, rel=0.25)
    # All else as AdamW with Nesterov's momentum, whose first step is nadam's.
    for name in muon:
        nadam = updates(optim(name="nadam"), gradient[name], param[name])
        np.testing.assert_allclose(muon[name], nadam + decay, atol=1e-5)


def test_gradients_are_clipped_by_their_global_norm():
    config = optim(name="sgd", momentum=0.0, clip_norm=1.0)
    update = updates(config, jnp.asarray([3.0, 4.0]), jnp.zeros(2))
    np.testing.assert_allclose(update, [-0.06, -0.08], rtol=1e-6)


def test_nadam_is_optax_nadam():
    param, gradient = jnp.asarray([2.0]), jnp.asarray([0.3])
    nadam = optax.nadam(0.1)
    with jax.numpy_dtype_promotion("standard"):
        expected = nadam.update(gradient, nadam.init(param), param)[0]
    np.testing.assert_allclose(updates(optim(), gradient, param), expected)


def test_an_unknown_name_is_an_error():
    with pytest.raises(ConfigError, match="lion"):
        create_optimizer(optim(name="lion"), epochs=1, steps_per_epoch=1)


def test_no_metric_means_no_plateau():
    assert create_plateau(optim()) is None
    assert create_selection(optim()) == Selection("accuracy", "max")


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        ("loss", "min"),
        ("local/loss", "min"),
        ("ece", "min"),
        ("accuracy", "max"),
        ("fused/macro_f1", "max"),
        ("balanced_accuracy", "max"),
    ],
)
def test_the_metric_alone_says_what_is_best(metric, mode):
    config = optim()
    config.plateau.metric = metric
    assert create_plateau(config)[:2] == (metric, mode)
    assert create_selection(config) == Selection(metric, mode)
