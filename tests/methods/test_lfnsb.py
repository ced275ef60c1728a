import functools

import chex
import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from jaxfer import weights
from jaxfer.errors import ConfigError, WeightsError
from jaxfer.evaluate import attention
from jaxfer.methods import State, lfn, lfnsb, supervised
from jaxfer.weights import model_file

CLASSES = 3
RELEASED_CLASSES = 7
KEY = jax.random.key(0)


def config(module=lfnsb, **fields):
    config = module.default_config()
    config.method.image_size = 16
    config.method.width = 0.03125
    config.method.depth = 0.01
    config.batch_size = 6
    config.update_from_flattened_dict(fields)
    return config


def create(module=lfnsb, **fields):
    made = config(module, **fields)
    return module.create(made, num_classes=CLASSES, steps_per_epoch=1)


def batch():
    label = np.arange(6, dtype=np.int32) % CLASSES
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
    target = np.eye(CLASSES, dtype=np.float32)[label]
    return {"image": images, "label": label, "target": target}


@functools.cache
def trained():
    method = create(**{"method.consistency": 5.0})
    step = jax.jit(lambda s: method.stages[0].passes[0].train_step(s, batch(), KEY))
    start = jax.jit(method.init)(KEY, batch()["image"])
    return method, start, *step(start)


def test_the_centers_are_learned_with_the_network():
    _, start, state, metrics = trained()
    centers = [s.variables["params"]["centers"] for s in (start, state)]
    assert centers[0].shape == (CLASSES, 8)  # the narrowest map
    assert not np.allclose(*centers)
    assert float(metrics["objective"][0]) > float(metrics["loss"][0])


def test_attention_is_kept_consistent_with_the_released_head():
    method, start, state, metrics = trained()
    chex.assert_tree_all_finite((state.variables, metrics))
    before, after = (
        s.variables["batch_stats"]["network"]["spatial_bias"]["reduce"]["bn"]["var"]
        for s in (start, state)
    )
    # One batch leaves nine tenths of the old statistics, the two views of it less.
    assert float(before.min()) == 1 and float(after.min()) < 0.9
    outputs = jax.eval_shape(method.predict, state.variables, batch()["image"])
    assert outputs.maps["attention"].shape == (6, 2, 2, CLASSES)
    # The tools that show where a model looked keep to the feature map: it is finer.
    finer = outputs._replace(features={"map": jnp.zeros((6, 7, 7, 8))})
    assert attention.class_maps(finer) is None


def test_without_the_loss_there_are_no_centers():
    plain = create(**{"method.cosine_harmony": 0.0})
    images = jax.ShapeDtypeStruct((1, 16, 16, 3), np.uint8)
    state = jax.eval_shape(plain.init, KEY, images)
    assert set(state.variables["params"]) == {"network"}


def test_the_fused_network_gives_the_same_answers():
    method, _, state, _ = trained()

    def moved(a):  # so that no statistic is 0 or 1
        wave = jnp.sin(jnp.arange(a.size, dtype=a.dtype) + 1)
        return a + 0.1 * jnp.abs(wave).reshape(a.shape)

    variables = jax.tree.map(moved, state.variables)
    converted = method.deployed.convert(variables)
    assert "batch_stats" not in converted
    network = method.deployed.trainable(variables)
    chex.assert_trees_all_equal(method.deployed.fold(network), converted)
    images = batch()["image"]
    expected = jax.jit(method.predict)(variables, images).logits
    found = jax.jit(method.deployed.predict)(converted, images).logits
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_pretrained_backbone_becomes_the_start(tmp_path):
    source = create(lfn)
    state = jax.jit(source.init)(KEY, batch()["image"])
    network = jax.device_get(source.deployed.trainable(state.variables))
    path = tmp_path / "lfn.safetensors"
    model_file.write(path, network, {"trainable": True}, precision="float32")
    part = create(**{"method.initial": str(path)}).pretrained()
    for kind in ("params", "batch_stats"):
        found = part[kind]["network"]
        assert set(found) == {"backbone"}
        chex.assert_trees_all_close(found["backbone"], network[kind]["backbone"])


def test_a_fused_file_cannot_be_the_start(tmp_path):
    method, _, state, _ = trained()
    path = tmp_path / "fused.safetensors"
    model_file.write(path, method.deployed.convert(state.variables), {})
    with pytest.raises(WeightsError, match="--trainable"):
        create(**{"method.initial": str(path)}).pretrained()


@pytest.mark.parametrize("variant", ["printed", "separating"])
def test_flooding_is_of_the_released_loss(variant):
    fields = {"method.harmony_variant": variant}
    create(**fields)
    with pytest.raises(ConfigError, match=r"set method\.flood_level to 0"):
        create(**fields, **{"method.flood_level": 0.5})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"augment.mixup": 0.2}, "augment.mixup is 0.2; lfn takes 0"),
        ({"finetune.epochs": 1}, "finetune.image_size is 224 and method.image_size 16"),
    ],
)
def test_identities_are_not_mixed_and_keep_their_size(fields, expected):
    create(lfn)
    with pytest.raises(ConfigError, match=expected):
        create(lfn, **fields)


@functools.cache
def released():
    """The released code's weights by name, as our variables, and its centres."""
    arrays = golden_rule.weights(golden_rule.load("lfnsb")[1], "lfnsb")
    centers = golden_rule.draw(
        "lfnsb", "AffinityLoss.centers", "normal", (RELEASED_CLASSES, 256), keras=False
    )
    return arrays, weights.from_official("lfnsb", arrays), centers


def by_released_name(variables):
    """Arrays of a tree like our variables, by the name that each is released under."""
    arrays, ours, _ = released()
    names = {(a.size, a.min()): name for name, a in arrays.items()}
    ours = traverse_util.flatten_dict(ours, sep="/")
    found = traverse_util.flatten_dict(variables, sep="/")
    return {
        names[ours[path].size, np.asarray(ours[path]).min()]: np.asarray(array)
        for path, array in found.items()
    }


@functools.cache
def stepped():
    """A step on the released code's weights, in float64: variables before and after.

    Plain gradient descent at rate 1 moves the parameters by minus the gradient.
    """
    made = lfnsb.default_config()
    made.precision = "float64"
    rule = {"name": "sgd", "momentum": 0.0, "learning_rate": 1.0, "weight_decay": 0.0}
    made.optim.update(rule | {"schedule": "constant"})
    method = lfnsb.create(made, num_classes=RELEASED_CLASSES, steps_per_epoch=1)
    rule = golden_rule.load("lfnsb")[1]["inputs"]["lfnsb.x"]
    view = golden_rule.uniform(rule["seed"], rule["shape"])
    label = np.asarray(rule["labels"])
    batch = {
        "image": np.zeros(rule["shape"], np.uint8),  # the view stands in for them
        "label": label,
        "target": np.eye(RELEASED_CLASSES)[label],
    }
    _, variables, centers = released()
    params = {"network": variables["params"], "centers": centers}
    with jax.enable_x64(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervised, "views", lambda *_: [jnp.asarray(view, jnp.float64)])
        fresh = jax.eval_shape(method.init, KEY, batch["image"])
        before = {
            "params": jax.tree.map(np.float64, params),
            "batch_stats": {"network": variables["batch_stats"]},
        }
        state = State(
            np.zeros((), np.int32),
            before,
            jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), fresh.opt_state),
            np.ones((), np.float32),
        )
        step = jax.jit(method.stages[0].passes[0].train_step)
        after, metrics = step(state, batch, KEY)
        return before, *jax.tree.map(np.asarray, (after.variables, metrics))


def test_the_losses_of_a_step_equal_the_released_code():
    golden = golden_rule.load("lfnsb")[0]
    _, _, metrics = stepped()
    for ours, name in (("loss", "ce"), ("objective", "loss")):
        total, count = metrics[ours]
        assert count == 3
        # Metrics are float32.
        golden_rule.close(total / count, golden[f"lfnsb/train/f64/{name}"], 1e-6)


def test_the_gradients_of_a_step_equal_the_released_code():
    golden, index = golden_rule.load("lfnsb")
    before, after, _ = stepped()
    gradient = jax.tree.map(np.subtract, before["params"], after["params"])
    ours = by_released_name({"params": gradient["network"]})
    # The released order is that of the weights, running statistics left out.
    names = [name for name in released()[0] if ".running_" not in name]
    norms = golden["lfnsb/train/f64/grad_norms"]
    expected = {
        name: norm for name, norm in zip(names, norms, strict=True) if norm >= 0
    }
    assert set(names) - set(expected) == {"bn.weight", "bn.bias"}  # never called
    assert set(ours) == set(expected)
    # Ours computes the Cosine-Harmony loss from features in float32.
    np.testing.assert_allclose(
        [np.linalg.norm(ours[name]) for name in expected],
        list(expected.values()),
        rtol=1e-6,
        atol=1e-9 * norms.max(),  # some are zero, before a batch norm
    )
    for name, array in (
        ("fc.weight", ours["fc.weight"].T),
        ("features.0.c.weight", ours["features.0.c.weight"].transpose(3, 2, 0, 1)),
        ("centers", gradient["centers"]),
    ):
        key = f"lfnsb/train/f64/grad/{name}"
        golden_rule.close(*golden_rule.sample(array, golden, index, key), 1e-7)


def test_the_statistics_after_a_step_equal_the_released_code():
    golden = golden_rule.load("lfnsb")[0]
    _, after, _ = stepped()
    ours = by_released_name({"batch_stats": after["batch_stats"]["network"]})
    key = "lfnsb/train/f64/updated/"
    expected = {k.removeprefix(key): v for k, v in golden.items() if k.startswith(key)}
    assert len(expected) == 8
    for name, statistic in expected.items():
        golden_rule.close(ours[name], statistic, 1e-6)
