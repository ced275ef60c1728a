import functools

import chex
import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxfer import losses, models
from jaxfer.errors import ConfigError, WeightsError
from jaxfer.methods import fersnet, fersnet_recognition
from jaxfer.methods.fersnet_iteration import Pairs, create_step, generator_losses
from jaxfer.methods.fersnet_recipe import create_recipe
from jaxfer.models import Outputs

CLASSES, PAIRS, SIZE, CROP = 3, 4, 36, 32
KEY = jax.random.key(0)


def jit(function):
    return jax.jit(function)


def config(**fields):
    made = fersnet.default_config()
    made.method.width = 0.03125
    made.method.image_size = CROP
    made.data.image_size = SIZE
    made.update_from_flattened_dict(fields)
    return made


def create(made, num_classes=CLASSES):
    return fersnet.create(made, num_classes=num_classes, steps_per_epoch=1)


def batch():
    """Images, each followed by another expression."""
    label = np.arange(2 * PAIRS, dtype=np.int32) % CLASSES
    shape = (2 * PAIRS, SIZE, SIZE, 3)
    return {
        "image": np.random.default_rng(0).integers(0, 256, shape, np.uint8),
        "label": label,
        "target": np.eye(CLASSES, dtype=np.float32)[label],
        "index": np.arange(2 * PAIRS, dtype=np.int32),
    }


def slowed(optimizer, scale):
    """The optimiser with its updates multiplied, and the same state."""

    def update(gradient, state, params=None):
        updates, state = optimizer.update(gradient, state, params)
        return jax.tree.map(lambda u: u * scale, updates), state

    return optax.GradientTransformation(optimizer.init, update)


# The released form, with the identity term, is tested against the released code.
FULL = {
    "method.fes_augmentation": True,
    "method.adversarial": "log",
    "method.weights.identity": 0.0,
}


@functools.cache
def start():
    return jit(create(config(**FULL)).init)(KEY, batch()["image"][:1])


@functools.cache
def joint_step():
    """(state, key, scale, judge_scale) -> (state, metrics), compiled once."""
    made = config(**FULL)
    recipe = create_recipe(made, num_classes=CLASSES, steps_per_epoch=1)

    def step(state, key, scale, judge_scale):
        slow = recipe._replace(
            optimizer=slowed(recipe.optimizer, scale),
            judge_optimizer=slowed(recipe.judge_optimizer, judge_scale),
        )
        return create_step(made, slow)(state, batch(), key)

    return jit(step)


def stepped(scale=1.0, judge_scale=1.0):
    return joint_step()(start(), KEY, np.float32(scale), np.float32(judge_scale))


def changed(before, after):
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, after)
    return any(jax.tree.leaves(moved))


@pytest.mark.parametrize(
    ("scales", "moved", "still"),
    [
        ((1.0, 0.0), "network", "discriminator"),
        ((0.0, 1.0), "discriminator", "network"),
    ],
)
def test_each_optimizer_moves_its_own_network_alone(scales, moved, still):
    before, after = start().variables, stepped(*scales)[0].variables
    chex.assert_trees_all_equal(before["params"][still], after["params"][still])
    assert changed(before["params"][moved], after["params"][moved])
    assert changed(before["batch_stats"]["network"], after["batch_stats"]["network"])
    for kind in ("params", "batch_stats"):
        chex.assert_trees_all_equal(
            before[kind]["recogniser"], after[kind]["recogniser"]
        )


def test_the_discriminator_learns_to_tell_the_same_faces():
    state, first = stepped(0.0, 10.0)
    _, second = joint_step()(state, KEY, np.float32(0), np.float32(10))
    assert second["discriminator"][0] < first["discriminator"][0]
    assert second["score_real"][0] - second["score_fake"][0] > 0


def test_training_goes_on_in_finite_numbers_and_learns():
    state, first = stepped()
    for number in range(1, 10):
        key = jax.random.fold_in(KEY, number)
        state, metrics = joint_step()(state, key, np.float32(10), np.float32(1))
        assert np.isfinite([float(total) for total, _ in metrics.values()]).all()
    assert int(state.step) == 10
    chex.assert_tree_all_finite(state.variables)
    assert metrics["reconstruction"][0] < 0.9 * first["reconstruction"][0]


def test_the_metrics_add_up():
    metrics = {k: float(total / n) for k, (total, n) in stepped()[1].items()}
    weights = config().method.weights
    generator = sum(
        weights[name] * metrics[name] for name in weights if name in metrics
    )
    np.testing.assert_allclose(metrics["generator"], generator, rtol=1e-5)
    objective = metrics["generator"] + metrics["loss"]
    np.testing.assert_allclose(metrics["objective"], objective, rtol=1e-5)
    assert {"accuracy", "discriminator", "score_real", "score_fake"} < set(metrics)


class Tinted(nn.Module):
    """A generator that draws the image in another colour."""

    @nn.compact
    def __call__(self, images, target, train):
        logits = nn.Dense(CLASSES)(jnp.mean(images, axis=(1, 2)))
        tint = self.param("tint", nn.initializers.zeros, (1, 1, 1, 3))
        self.variable("batch_stats", "steps", jnp.zeros, ())
        return Outputs(logits, images={"synthesised": images + tint})


class Indifferent(nn.Module):
    def __call__(self, images, target):
        return Outputs(images[:, 0, 0], maps={"validity": images[..., :1]})


@pytest.mark.parametrize(
    ("reconstruct", "distance", "expected"),
    [
        ("grey", "absolute", 0.0),
        ("color", "absolute", 0.1 * (1 + 2989 / 5870) / 3),
        ("color", "squared", 0.1**2 * (1 + (2989 / 5870) ** 2) / 3),
    ],
)
def test_how_faces_are_compared(reconstruct, distance, expected):
    """Less green and more red of the same brightness."""
    options = {"method.reconstruct": reconstruct, "method.distance": distance}
    made = config(**options, **FULL)
    recipe = create_recipe(made, num_classes=CLASSES, steps_per_epoch=1)
    recipe = recipe._replace(network=Tinted(), discriminator=Indifferent())
    images, target = jnp.full((2, 4, 4, 3), 0.5), jnp.eye(CLASSES)[:2]
    params, stats = Tinted().init(KEY, images, target, True).values()
    red, green = 0.1, -0.1 * 0.2989 / 0.5870
    params["tint"] = jnp.asarray([0, green, red]).reshape(1, 1, 1, 3)  # BGR
    variables = {"params": {"discriminator": {}}, "batch_stats": {"network": stats}}
    pairs = Pairs(images, target, images, target)
    _, (terms, *_) = generator_losses(recipe, variables, params, pairs, None)
    np.testing.assert_allclose(terms["reconstruction"], expected, atol=1e-7)


@pytest.mark.parametrize("part", ["network", "discriminator"])
def test_what_is_not_finite_shows_in_the_metrics(part):
    """By them the trainer warns; both losses are among them."""
    state = start()
    params = state.variables["params"]
    broken = jax.tree.map(lambda a: a * np.float32(np.nan), params[part])
    variables = {**state.variables, "params": {**params, part: broken}}
    given = state._replace(variables=variables)
    _, metrics = joint_step()(given, KEY, np.float32(1), np.float32(1))
    for name in ("generator", "discriminator", "objective"):
        assert np.isnan(metrics[name][0])
    assert np.isnan(metrics["loss"][0]) == (part == "network")


def test_both_images_of_a_pair_are_cropped_and_flipped_alike():
    images = batch()["image"]
    both = np.concatenate([images, images], axis=-1)
    seen = jit(lambda both: fersnet_recognition.views(KEY, both, config()))(both)
    assert seen.shape == (2 * PAIRS, CROP, CROP, 6)
    first, second = np.split(seen, 2, axis=-1)
    np.testing.assert_array_equal(first, second)
    # Where each crop lies, and which way round.
    whole = np.lib.stride_tricks.sliding_window_view(images, (CROP, CROP), (1, 2))
    whole = np.moveaxis(whole, 3, -1).astype(np.float32) / 255
    places = set()
    for crop, of in zip(first, whole, strict=True):
        for flip in (1, -1):
            same = np.isclose(of, crop[:, ::flip], atol=1e-6).all(axis=(2, 3, 4))
            places |= {(flip, *place) for place in np.argwhere(same).tolist()}
    assert len(places) > 4 and {flip for flip, _, _ in places} == {1, -1}


def test_answers_are_of_the_middle_and_drawing_changes_no_logits():
    made = config(**(FULL | {"method.fes_augmentation": False}))
    method, synthesise = create(made), fersnet.create_synthesis(made, CLASSES)
    variables = stepped()[0].variables
    images, targets = batch()["image"], batch()["target"]
    converted = method.deployed.convert(variables)
    assert "decoder" not in converted["params"]
    network = method.deployed.trainable(variables)
    assert "decoder" in network["params"]
    chex.assert_trees_all_equal(method.deployed.fold(network), converted)

    @jit
    def answers(variables, converted, images):
        network = fersnet_recognition.part(variables, "network")
        middle = images[:, 2:-2, 2:-2, ::-1].astype(jnp.float32) / 255
        model = models.create("fersnet", CLASSES, width=made.method.width)
        return (
            model.apply(network, middle, targets),
            synthesise(variables, images, targets),
            method.predict(variables, images).logits,
            method.deployed.predict(converted, images).logits,
        )

    expected, drawn, *logits = answers(variables, converted, images)
    for found in logits:
        np.testing.assert_allclose(found, expected.logits, rtol=1e-4, atol=1e-6)
    faces = np.clip(expected.images["synthesised"][..., ::-1], 0, 1)
    np.testing.assert_allclose(drawn, faces, rtol=1e-4, atol=1e-6)
    assert (np.asarray(drawn) > 0).any()


def test_recognition_is_then_trained_on_drawn_faces_too():
    method = create(config(**FULL))
    assert [stage.name for stage in method.stages] == ["joint", "augmented"]
    stage = method.stages[1]
    step = jit(stage.passes[0].train_step)
    # The recogniser before the first step has no say: the selected network is taken.
    state = stepped()[0]._replace(step=jnp.zeros((), jnp.int32))
    variables = state.variables
    wrong = jax.tree.map(jnp.zeros_like, variables["params"]["recogniser"])
    params = {**variables["params"], "recogniser": wrong}
    given = state._replace(variables={**variables, "params": params})
    still, metrics = step(given._replace(lr_scale=jnp.zeros(())), batch(), KEY)
    network = fersnet_recognition.part(variables, "network")
    selected = fersnet_recognition.without_decoder(network)["params"]
    chex.assert_trees_all_equal(still.variables["params"]["recogniser"], selected)
    assert {"accuracy", "loss", "drawn_accuracy", "drawn_loss"} < set(metrics)
    after, _ = step(still._replace(lr_scale=jnp.ones(())), batch(), KEY)
    assert changed(selected, after.variables["params"]["recogniser"])
    for part in ("network", "discriminator"):
        trained = after.variables["params"][part]
        chex.assert_trees_all_equal(trained, variables["params"][part])


def test_recognition_alone_is_plain_gradient_descent():
    made = config(
        **{
            "method.multi_task": False,
            "method.image_size": SIZE - 4,
            "augment.flip": False,
            "optim.name": "sgd",
            "optim.momentum": 0.0,
            "optim.weight_decay": 0.0,
            "optim.learning_rate": 0.1,
        }
    )
    made.data.image_size = CROP  # as large as the crop
    method = create(made)
    network = models.create(
        "fersnet", CLASSES, feature_sharing="none", width=made.method.width
    )
    images = batch()["image"][:, :CROP, :CROP]
    state = jit(method.init)(KEY, images[:1])
    before = fersnet_recognition.part(state.variables, "network")
    assert set(state.variables["params"]) == {"network"}

    def loss(params):
        outputs, _ = network.apply(
            before | {"params": params},
            images[..., ::-1].astype(jnp.float32) / 255,
            train=True,
            mutable="batch_stats",
        )
        return jnp.mean(losses.cross_entropy(outputs.logits, batch()["label"]))

    @jit
    def both(state):
        given = batch() | {"image": images}
        after, metrics = method.stages[0].passes[0].train_step(state, given, KEY)
        gradient = jax.grad(loss)(before["params"])
        expected = jax.tree.map(lambda p, g: p - 0.1 * g, before["params"], gradient)
        return after.variables["params"]["network"], expected, metrics

    after, expected, metrics = both(state)
    chex.assert_trees_all_close(after, expected, rtol=1e-4, atol=1e-6)
    assert changed(before["params"], after)
    np.testing.assert_allclose(metrics["objective"], metrics["loss"])
    with pytest.raises(ConfigError, match="draws no faces"):
        fersnet.create_synthesis(made, CLASSES)


@functools.cache
def shapes(sharing="flu", identity=0.05):
    fields = {"method.feature_sharing": sharing, "method.weights.identity": identity}
    images = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), np.uint8)
    return jax.eval_shape(create(config(**fields)).init, KEY, images).variables


def test_hard_sharing_has_no_leaky_units_and_no_weight_no_face_recogniser():
    flu, hard = shapes()["params"]["network"], shapes("hard", 0.0)
    units = {f"flu_{way}{level}" for way in ("xy", "yx") for level in (1, 2, 3)}
    assert set(flu) - set(hard["params"]["network"]) == units
    assert "frozen" not in hard


@pytest.mark.parametrize("multi_task", [True, False])
def test_the_first_stage_is_chosen_when_faces_show_expressions(multi_task):
    fields = {"epochs": 7, "method.select_after": 0.5, "augmented.epochs": 9}
    fields |= {"method.multi_task": multi_task, "method.fes_augmentation": multi_task}
    first, *others = create(config(**fields)).stages
    assert first.selection.first_epoch == 3
    assert not any(stage.selection.first_epoch for stage in others)


def test_the_face_recogniser_comes_from_a_file_and_its_absence_is_said(tmp_path):
    rows = golden_rule.load("fersnet")[1]["weights"]["lightcnn9"]
    arrays = {row[0]: np.full(row[2], i, np.float32) for i, row in enumerate(rows)}
    path = tmp_path / "lightcnn.npz"
    np.savez(path, **arrays)
    method = create(config(**{"method.identity_weights": str(path)}))
    assert "RANDOM" not in method.stages[0].trains
    plain = create(config())
    assert "RANDOM" in plain.stages[0].trains and plain.pretrained is None
    found = method.pretrained()["frozen"]
    chex.assert_trees_all_equal_shapes(found, shapes()["frozen"])
    first = found["identity"]["conv1"]["filter"]["kernel"]
    assert (first == arrays["features.0.filter.weight"].flat[0]).all()


def test_training_starts_from_released_weights(tmp_path):
    rows = golden_rule.load("fersnet")[1]["weights"]["fersnet"]
    arrays = {row[0]: np.full(row[2], i, np.float32) for i, row in enumerate(rows)}
    path = tmp_path / "fersnet.npz"
    np.savez(path, **arrays)
    fields = {"method.initial": str(path), "method.width": 1.0}
    fields["method.weights.identity"] = 0.0
    method = create(config(**fields), 6)
    fresh = jax.eval_shape(method.init, KEY, None).variables
    found = method.pretrained()
    for kind in ("params", "batch_stats"):
        chex.assert_trees_all_equal_shapes(
            found[kind]["network"], fresh[kind]["network"]
        )
    with pytest.raises(WeightsError, match=r"fersnet\.npz"):
        create(config(**fields, **{"method.multi_task": False}), 6).pretrained()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method.feature_sharing": "none"}, "takes flu or hard"),
        ({"method.adversarial": "hinge"}, "takes least_squares, log, log_saturating"),
        ({"method.multi_task": False, **FULL}, "fes_augmentation"),
        ({"method.image_size": 64}, "no more than that"),
        ({"discriminator.steps": 0}, "1 or more"),
        ({"augment.mixup": 0.2}, "mixup"),
    ],
)
def test_what_does_not_go_together_is_an_error(fields, message):
    with pytest.raises(ConfigError, match=message):
        create(config(**fields))
