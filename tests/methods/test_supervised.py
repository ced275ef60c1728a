import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxfer import losses, ops
from jaxfer.errors import ConfigError, WeightsError
from jaxfer.methods import eac, supervised, views
from jaxfer.models import Outputs
from jaxfer.models.layers import BatchNorm, Conv
from jaxfer.train.start import lay_over
from jaxfer.weights import model_file

KEY = jax.random.key(0)
CLASSES = 3


class Small(nn.Module):
    """A feature map, batch norm, and a classifier that gives attention maps."""

    maps: bool = True

    @nn.compact
    def __call__(self, images, train=False):
        x = Conv(4, (3, 3), strides=2)(images)
        x = nn.relu(BatchNorm()(x, train=train))
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (4, CLASSES))
        maps = {"attention": ops.class_activation_map(x, kernel)} if self.maps else {}
        return Outputs(jnp.mean(x, axis=(1, 2)) @ kernel, maps=maps)


def config(**fields):
    config = supervised.default_config()
    config.method.name = "small"
    config.method.image_size = 8
    config.optim.name = "sgd"
    config.optim.momentum = 0.0
    config.optim.learning_rate = 0.1
    config.update_from_flattened_dict(fields)
    return config


def batch(count=6):
    rng = np.random.default_rng(0)
    label = np.arange(count, dtype=np.int32) % CLASSES
    return {
        "image": rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8),
        "label": label,
        "target": np.eye(CLASSES, dtype=np.float32)[label],
        "index": np.arange(count, dtype=np.int32),
    }


def trained(steps=1, network=None, criterion=None, **fields):
    method = supervised.create(
        config(**fields), network or Small(), steps_per_epoch=1, criterion=criterion
    )
    state = method.init(KEY, batch()["image"])
    step = jax.jit(method.stages[0].passes[0].train_step)
    for number in range(steps):
        state, metrics = step(state, batch(), jax.random.fold_in(KEY, number))
    return method, state, metrics


def value(metrics, name):
    total, count = metrics[name]
    return float(total / count)


def test_a_step_is_plain_gradient_descent_on_the_cross_entropy():
    method, after, metrics = trained()
    before = method.init(KEY, batch()["image"]).variables
    images = views.normalize(batch()["image"].astype(np.float32) / 255)

    def loss(params):
        variables = {
            "params": params,
            "batch_stats": before["batch_stats"]["network"],
        }
        outputs, _ = Small().apply(variables, images, train=True, mutable="batch_stats")
        return jnp.mean(losses.cross_entropy(outputs.logits, batch()["label"]))

    start = before["params"]["network"]
    expected, grads = jax.value_and_grad(loss)(start)
    stepped = jax.tree.map(lambda p, g: p - 0.1 * g, start, grads)
    chex.assert_trees_all_close(
        after.variables["params"]["network"], stepped, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(value(metrics, "objective"), expected, rtol=1e-5)


def test_flooding_climbs_below_its_level():
    free, flooded = trained()[1], trained(**{"method.flood_level": 50.0})[1]
    start = trained(steps=1, **{"optim.learning_rate": 0.0})[1]
    params = [
        s.variables["params"]["network"]["kernel"] for s in (start, free, flooded)
    ]
    np.testing.assert_allclose(
        params[2] - params[0], -(params[1] - params[0]), rtol=1e-3, atol=1e-6
    )


def test_the_average_follows_the_weights_and_predicts():
    method, state, _ = trained(steps=3, **{"method.ema": 0.5})
    average, current = state.variables["average"], state.variables["params"]["network"]
    start = method.init(KEY, batch()["image"]).variables["average"]["params"]
    between = (average["params"]["kernel"] - start["kernel"]) / (
        current["kernel"] - start["kernel"]
    )
    assert 0 < float(jnp.median(between)) < 1
    images = views.normalize(batch()["image"].astype(np.float32) / 255)
    expected = Small().apply(average, images).logits
    found = method.predict(state.variables, batch()["image"]).logits
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)
    converted = method.deployed.convert(state.variables)
    deployed = method.deployed.predict(converted, batch()["image"]).logits
    chex.assert_trees_all_close(deployed, found, rtol=1e-6)


def test_the_average_has_its_decay_where_that_is_less_than_the_first_steps():
    _, state, _ = trained(**{"method.ema": 0.05})  # the first step's is 0.1
    average, current = state.variables["average"], state.variables["params"]["network"]
    start = trained(**{"optim.learning_rate": 0.0})[1].variables["params"]["network"]
    expected = jax.tree.map(lambda a, b: 0.05 * a + 0.95 * b, start, current)
    chex.assert_trees_all_close(average["params"], expected, rtol=1e-6, atol=1e-7)


def test_the_second_stage_starts_from_the_average():
    fields = {"method.ema": 0.5, "finetune.epochs": 1, "finetune.image_size": 8}
    method, state, _ = trained(**fields)
    first, second = method.stages
    assert first.begin is None
    begun = second.begin(state.variables)
    average = state.variables["average"]
    chex.assert_trees_all_equal(begun["params"]["network"], average["params"])
    chex.assert_trees_all_equal(begun["batch_stats"]["network"], average["batch_stats"])
    chex.assert_trees_all_equal_structs(begun, state.variables)
    assert trained(**{**fields, "method.ema": 0.0})[0].stages[1].begin is None


def test_flipping_at_test_time_makes_the_answer_symmetric():
    method, state, _ = trained(**{"method.test_time_flip": True})
    images = batch()["image"]
    found = method.predict(state.variables, images).logits
    mirrored = method.predict(state.variables, images[:, :, ::-1]).logits
    chex.assert_trees_all_close(found, mirrored, rtol=1e-4, atol=1e-6)
    plain, _, _ = trained()
    assert not np.allclose(plain.predict(state.variables, images).logits, found)


@pytest.mark.parametrize("view", ["flip", "independent"])
def test_consistency_adds_the_disagreement_of_mirrored_views(view):
    fields = {"method.consistency": 5.0, "method.second_view": view}
    method, state, metrics = trained(**fields)
    _, plain, alone = trained()
    assert value(metrics, "objective") > value(alone, "objective")
    # Both views pass the batch norm, so its statistics move twice.
    before = method.init(KEY, batch()["image"]).variables["batch_stats"]["network"]
    assert float(jnp.abs(before["BatchNorm_0"]["mean"]).sum()) == 0
    once = plain.variables["batch_stats"]["network"]["BatchNorm_0"]["mean"]
    twice = state.variables["batch_stats"]["network"]["BatchNorm_0"]["mean"]
    assert float(jnp.linalg.norm(twice)) > 1.5 * float(jnp.linalg.norm(once))


def test_consistency_falls_when_it_is_trained():
    fields = {"method.consistency": 50.0, "optim.learning_rate": 0.02}
    _, _, first = trained(**fields)
    _, _, last = trained(steps=20, **fields)
    assert value(last, "objective") < 0.7 * value(first, "objective")


def test_a_network_without_attention_maps_cannot_be_made_consistent():
    with pytest.raises(ConfigError, match="gives no attention maps"):
        trained(network=Small(maps=False), **{"method.consistency": 1.0})


def test_mixup_trains_on_mixed_targets():
    seen = []

    def criterion(params, outputs, batch):
        jax.debug.callback(
            lambda *now: seen.append(now), outputs.logits, batch["target"]
        )
        return losses.cross_entropy(outputs.logits, batch["target"])

    _, _, metrics = trained(criterion=criterion, **{"augment.mixup": 1.0})
    jax.effects_barrier()
    logits, targets = seen[0]
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    assert ((targets > 0.01) & (targets < 0.99)).any()
    expected = np.mean(losses.cross_entropy(logits, targets))
    np.testing.assert_allclose(value(metrics, "objective"), expected, rtol=1e-5)


def test_sharpness_aware_steps_use_the_gradient_of_moved_weights():
    _, sharp, _ = trained(**{"optim.sam_radius": 0.5})
    _, tiny, _ = trained(**{"optim.sam_radius": 1e-6})
    _, plain, _ = trained()
    kernels = [s.variables["params"]["network"]["kernel"] for s in (sharp, tiny, plain)]
    chex.assert_trees_all_close(kernels[1], kernels[2], rtol=1e-3, atol=1e-6)
    assert not np.allclose(kernels[0], kernels[2], rtol=1e-3)


def test_erasing_writes_what_normalisation_turns_into_zero():
    mean = jnp.asarray(views.IMAGENET_MEAN).reshape(1, 1, 1, 3)
    images = ops.random_erasing(
        KEY, jnp.ones((8, 16, 16, 3)), probability=1.0, value=views.IMAGENET_MEAN
    )
    normal = views.normalize(images)
    erased = (normal == 0).all(axis=-1)
    assert 0 < float(erased.mean()) < 0.5
    chex.assert_trees_all_close(views.normalize(mean), jnp.zeros_like(mean))


def test_finetuning_continues_at_another_size():
    fields = {"finetune.epochs": 2, "finetune.image_size": 12}
    method, state, _ = trained(**fields)
    second = method.stages[1]
    assert (second.name, second.epochs) == ("finetune", 2)
    tuned, _ = jax.jit(second.passes[0].train_step)(state, batch(), KEY)
    changed = tuned.variables["params"]["network"]["kernel"]
    assert not np.allclose(changed, state.variables["params"]["network"]["kernel"])
    images = batch()["image"]
    large = jax.image.resize(images / 255.0, (6, 12, 12, 3), "bilinear")
    network = {k: v["network"] for k, v in tuned.variables.items()}
    expected = Small().apply(network, views.normalize(large)).logits
    found = method.predict(tuned.variables, images).logits
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)
    first = method.stages[0].predict(tuned.variables, images).logits
    assert not np.allclose(found, first)


class Trunk(nn.Module):
    width: int

    @nn.compact
    def __call__(self, images, train):
        x = Conv(self.width, (3, 3), strides=2)(images)
        return nn.relu(BatchNorm()(x, train=train))


class Trunked(nn.Module):
    """A network in two parts, of which the first can be given."""

    width: int = 4

    @nn.compact
    def __call__(self, images, train=False):
        x = Trunk(self.width, name="trunk")(images, train)
        return Outputs(nn.Dense(CLASSES)(jnp.mean(x, axis=(1, 2))))


def test_a_trunk_is_taken_from_a_file_and_the_rest_starts_fresh(tmp_path):
    source, state, _ = trained(network=Trunked(), **{"method.ema": 0.9})
    network = source.deployed.trainable(state.variables)
    stats = network["batch_stats"]
    network = {**network, "batch_stats": {"trunk": {}}}
    path = tmp_path / "first.safetensors"
    model_file.write(path, network, {"trainable": True}, precision="float32")
    head = network["params"].pop("Dense_0")
    fields = {"method.initial": str(path), "method.ema": 0.9}
    target = supervised.create(config(**fields), Trunked(), steps_per_epoch=1)
    with pytest.raises(WeightsError, match="batch norm folded away"):
        target.pretrained()
    network["batch_stats"] = stats
    model_file.write(path, network, {"trainable": True}, precision="float32")
    part = target.pretrained()
    for found in (part["params"]["network"], part["average"]["params"]):
        chex.assert_trees_all_close(found, network["params"])
    wide = supervised.create(config(**fields), Trunked(6), steps_per_epoch=1)
    with pytest.raises(WeightsError) as error:
        wide.pretrained()
    assert str(error.value).startswith(f"{path}: these weights do not fit")
    assert "trunk/Conv_0/bias is (4,), expected (6,); and 1 more" in str(error.value)
    model_file.write(path, {**network, "batch_stats": {"trunk": {"x": np.ones(2)}}}, {})
    with pytest.raises(WeightsError, match=r"stats/trunk/x: the network has no such"):
        supervised.create(config(**fields), Trunked(), steps_per_epoch=1).pretrained()
    model_file.write(path, {"params": {"other": np.ones(2)}}, {})
    with pytest.raises(WeightsError, match="holds no 'trunk'"):
        supervised.create(config(**fields), Trunked(), steps_per_epoch=1).pretrained()
    whole = {**network, "params": {**network["params"], "Dense_0": head}}
    model_file.write(path, whole, {}, precision="float32")
    fields["method.initial_part"] = "all"
    every = supervised.create(config(**fields), Trunked(), steps_per_epoch=1)
    chex.assert_trees_all_close(every.pretrained()["average"], whole)
    fields |= {"method.initial": "weights.npz", "method.initial_part": "trunk"}
    foreign = supervised.create(config(**fields), Trunked(), steps_per_epoch=1)
    with pytest.raises(WeightsError, match="no released weights are known"):
        foreign.pretrained()


def test_given_weights_take_their_places_in_every_run():
    fresh = {"a": {"w": jnp.zeros((2, 3)), "b": jnp.ones((2, 1))}}
    whole = lay_over(fresh, {"a": {"w": np.arange(3)}})
    chex.assert_trees_all_close(whole["a"]["w"], jnp.asarray([[0.0, 1, 2]] * 2))
    chex.assert_trees_all_equal(whole["a"]["b"], fresh["a"]["b"])
    with pytest.raises(WeightsError, match=r"\(4,\), expected \(3,\)"):
        lay_over(fresh, {"a": {"w": np.arange(4)}})


def test_a_network_that_can_be_fused_answers_so():
    made = eac.default_config()
    made.method.update({"backbone": "resnet18", "stem": "torchvision", "width": 0.05})
    made.method.image_size = 32
    method = eac.create(made, num_classes=CLASSES, steps_per_epoch=1)
    images = np.zeros((2, 32, 32, 3), np.uint8)
    state = jax.eval_shape(method.init, KEY, images)
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), state[1])
    converted = method.deployed.convert(variables)
    assert set(converted) == {"params"}
    answer = jax.eval_shape(method.deployed.predict, converted, images)
    assert answer.logits.shape == (2, CLASSES)
    assert jax.tree.structure(method.deployed.trainable(variables)) == (
        jax.tree.structure({k: v["network"] for k, v in variables.items()})
    )


def test_a_policy_changes_the_images_and_nothing_else_that_is_drawn():
    views_of = {}
    for policy in ("", *ops.POLICIES):
        fields = {"augment.policy": policy, "augment.flip": True}
        made = config(**{**fields, "method.consistency": 1.0})
        views_of[policy] = views.views(KEY, batch(32)["image"], made, 8)
        first, second = views_of[policy]
        chex.assert_trees_all_equal(second, first[:, :, ::-1])
        made.method.second_view = "independent"
        _, second = views.views(KEY, batch(32)["image"], made, 8)
        chex.assert_trees_all_close(second, first[:, :, ::-1], atol=1e-5)
    plain, rand, trivial = (np.asarray(v[0]) for v in views_of.values())
    # What draws the identity is as it is without a policy, its flip too.
    same = [
        np.isclose(v, plain, atol=1e-5).all(axis=(1, 2, 3)) for v in (rand, trivial)
    ]
    assert all(0 < s.sum() < 20 for s in same)
