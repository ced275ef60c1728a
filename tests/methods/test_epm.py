import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxfer import losses, ops
from jaxfer.errors import ConfigError, WeightsError
from jaxfer.methods import common, epm, epm_steps
from jaxfer.methods.optimizers import create_optimizer
from jaxfer.methods.views import normalize
from jaxfer.models.epm import EPM, pools
from jaxfer.models.vgg import CONVOLUTIONS
from jaxfer.weights import model_file

CLASSES = 3
KEY = jax.random.key(0)
CLIP = 0.01
MODULES = {"efe": {"efe"}, "emr": {"efe", "emr"}, "epmg": {"epmg"}}
TERMS = {
    "efe": {"classification": 1.0},
    "emr": {"classification": 2.0, "mask_refinement": 100.0, "hidden_triplet": 100.0},
    "epmg": {
        "pattern_reconstruction": 1e-4,
        "pattern_triplet": 1e-4,
        "embedding_triplet": 1.0,
        "classification": 1.0,
    },
}

each_step = pytest.mark.parametrize("name", MODULES)


def config(**fields):
    """Narrow; every update is as long as the clipping allows."""
    config = epm.default_config()
    config.method.image_size = 14
    config.method.width = 0.01
    config.batch_size = 4
    for part in (config, config.emr, config.epmg):
        part.optim.learning_rate = 1.0
        part.optim.momentum = 0.0
        part.optim.clip_norm = CLIP
    config.update_from_flattened_dict(fields)
    return config


def create(**fields):
    return epm.create(config(**fields), num_classes=CLASSES, steps_per_epoch=6)


def batch(label=(0, 1, 2, 0, 1, 2)):
    label = np.array(label, np.int32)
    images = np.random.default_rng(0).integers(0, 256, (6, 14, 14, 3), np.uint8)
    target = np.eye(CLASSES, dtype=np.float32)[label]
    return {"image": images, "label": label, "target": target}


@functools.cache
def started():
    method = create()
    return method, jax.jit(method.init)(KEY, batch()["image"][:1])


@functools.cache
def compiled(name):
    method, _ = started()
    (stage,) = (stage for stage in method.stages if stage.name == name)
    return jax.jit(stage.passes[0].train_step)


@functools.cache
def stepped(name):
    """The state before and after a step, on the host, and its metrics."""
    state = started()[1]
    after, metrics = compiled(name)(state, batch(), KEY)
    return jax.device_get((state, after, metrics))


def params(state):
    return state.variables["params"]


@each_step
def test_a_step_trains_its_modules_and_nothing_else(name):
    before, after, _ = stepped(name)
    frozen = CONVOLUTIONS[:5] if name == "emr" else ()
    old, moved = flatten_dict(params(before)), set()
    for path, leaf in flatten_dict(params(after)).items():
        if path[0] in MODULES[name] and path[-2] not in frozen:
            moved |= {path[:-1]} if (leaf != old[path]).any() else set()
        else:
            chex.assert_trees_all_equal(leaf, old[path])
    expected = {p[:-1] for p in old if p[0] in MODULES[name] and p[-2] not in frozen}
    assert moved == expected
    for other in MODULES:
        if other != name:
            chex.assert_trees_all_equal(before.opt_state[other], after.opt_state[other])


@each_step
def test_the_gradient_of_each_module_is_clipped(name):
    before, after, _ = stepped(name)
    change = jax.tree.map(lambda a, b: a - b, params(after), params(before))
    for module in MODULES[name]:
        squares = [np.square(leaf).sum() for leaf in jax.tree.leaves(change[module])]
        np.testing.assert_allclose(np.sqrt(np.sum(squares)), CLIP, rtol=1e-3)


@each_step
def test_the_objective_is_the_weighted_sum_of_the_terms(name):
    _, _, metrics = stepped(name)
    totals = {key: float(total) for key, (total, _) in metrics.items()}
    assert all(float(count) == 6 for _, count in metrics.values())
    expected = sum(weight * totals[term] for term, weight in TERMS[name].items())
    np.testing.assert_allclose(totals["objective"], expected, rtol=1e-5)
    np.testing.assert_allclose(totals["loss"], totals["classification"], rtol=1e-5)
    heads = {"", "efe/"} if name == "epmg" else {""}
    figures = {f"{head}{f}" for head in heads for f in ("loss", "accuracy")}
    assert set(totals) == {"objective", *TERMS[name], *figures}


def test_every_term_has_its_own_weight_margin_and_mining():
    """Recomputed from what the network's modules give."""
    fields = {f"method.weights.l{n}": 0.1 * n for n in range(1, 8)}
    fields |= {"method.refinement_weights": "given", "method.mining": "semi_hard"}
    margins = {"hidden": 5.0, "embedding": 7.0, "pattern": 11.0}
    fields |= {f"method.margins.{name}": m for name, m in margins.items()}
    method, state = create(**fields), started()[1]
    sample, network = batch(), EPM(CLASSES, 0.01)
    variables, label = {"params": params(state)}, sample["label"]
    apply = jax.jit(network.apply, static_argnames="method", static_argnums=2)
    images = jnp.asarray(sample["image"], jnp.float32) / 255
    coarse = apply(variables, normalize(images), method=EPM.extract)
    refined, hidden = apply(variables, coarse.mask, method=EPM.refine)
    pattern = apply(variables, coarse.masked, pools(14, 14), method=EPM.generate)

    def classification(logits):
        return losses.cross_entropy(logits, sample["target"])

    def triplets(of, name):
        return losses.semi_hard_triplet(of, label, margins[name])

    grey = ops.grayscale(images)
    expected = {
        "emr": [
            classification(coarse.logits),
            losses.mask_refinement(coarse.mask, refined),
            triplets(hidden, "hidden"),
        ],
        "epmg": [
            losses.pattern_reconstruction(pattern.image, grey),
            triplets(pattern.image, "pattern"),
            triplets(pattern.embedding, "embedding"),
            classification(pattern.logits),
        ],
    }
    weights = iter(range(1, 8))
    for stage in method.stages[1:]:
        total = sum(0.1 * next(weights) * term for term in expected[stage.name])
        _, metrics = jax.jit(stage.passes[0].train_step)(state, sample, KEY)
        found, count = metrics["objective"]
        assert float(count) == 6
        np.testing.assert_allclose(found, np.sum(total), rtol=1e-5)


def test_norms_behind_frozen_convolutions_go_on_learning():
    made = config(**{"method.group_norm": True})
    network = EPM(CLASSES, made.method.width, True)
    images = jax.ShapeDtypeStruct((1, 14, 14, 3), jnp.float32)
    shapes = jax.eval_shape(network.init, KEY, images)["params"]
    _, fixed = epm_steps.create(network, made.method)["emr"].split(shapes)
    assert set(fixed["efe"]["trunk"]) == set(CONVOLUTIONS[:5])


@pytest.mark.parametrize("name", ["emr", "epmg"])
def test_a_batch_of_one_class_has_no_triplets_and_finite_gradients(name):
    _, before = started()
    after, metrics = compiled(name)(before, batch(label=[1] * 6), KEY)
    chex.assert_tree_all_finite(params(after))
    triplets = [float(total) for key, (total, _) in metrics.items() if "triplet" in key]
    assert triplets and not any(triplets)


def test_alternating_takes_the_three_steps_in_turn():
    method, state = create(**{"method.schedule": "alternate"}), started()[1]
    (stage,) = method.stages
    expected, names = state, set()
    for name, one in zip(MODULES, stage.passes, strict=True):
        expected, plain = compiled(name)(expected, batch(), KEY)
        state, metrics = jax.jit(one.train_step)(state, batch(), KEY)
        prefix = "" if name == "epmg" else f"{name}_step/"
        assert set(metrics) == {prefix + key for key in plain}
        assert not names & set(metrics)
        names |= set(metrics)
    chex.assert_trees_all_equal(state, expected)
    assert int(state.step) == 3


def test_stages_and_their_batches():
    fields = {"batch_size": 12, "emr.images_per_class": 2, "epmg.images_per_class": 5}
    fields |= {"epochs": 3, "emr.epochs": 1, "data.sampler": "balanced"}
    passes = [(12, "balanced"), (6, "triplet"), (15, "triplet")]
    stages = create(**fields).stages
    assert [(s.name, s.epochs) for s in stages] == [
        ("efe", 3),
        ("emr", 1),
        ("epmg", 30),
    ]
    assert [p[1:] for s in stages for p in s.passes] == passes
    assert "random weights" in stages[0].trains
    (stage,) = create(**fields, **{"method.schedule": "alternate"}).stages
    assert (stage.name, stage.epochs) == ("alternate", 3)
    assert [p[1:] for p in stage.passes] == passes


@pytest.mark.parametrize("schedule", ["sequential", "alternate"])
def test_the_decision_is_chosen_when_maps_have_formed(schedule):
    fields = {"epochs": 7, "epmg.epochs": 7, "epmg.select_after": 0.5}
    stages = create(**fields, **{"method.schedule": schedule}).stages
    *before, last = (stage.selection.first_epoch for stage in stages)
    assert not any(before)
    assert last == 3


def test_the_whole_predicts_with_its_parts():
    method, state = started()
    images = batch()["image"]
    whole = jax.jit(method.predict)(state.variables, images)
    first = jax.jit(method.stages[0].predict)(state.variables, images)
    chex.assert_trees_all_close(whole.heads["efe"], first.logits, rtol=1e-5)
    chex.assert_trees_all_close(whole.maps["mask"], first.maps["mask"], rtol=1e-5)
    chex.assert_shape(whole.images["pattern"], (6, 14, 14, 1))


def test_sharpness_aware_steps_pass_through_the_modules():
    """The gradient a step of sam_radius up the slope, of one module at a time."""
    optim = config(**{"optim.sam_radius": 0.5, "optim.clip_norm": 0.0}).optim
    made = create_optimizer(optim, epochs=1, steps_per_epoch=1)
    optimizer, start = epm_steps.by_module(made), {"a": jnp.ones(1), "b": jnp.ones(2)}

    def loss(p):
        return jnp.sum(p["a"] ** 2) + jnp.sum(p["b"] ** 2) / 2, None

    @jax.jit
    def step(p):
        return common.gradient_step(loss, optimizer, p, optimizer.init(p), jnp.ones(()))

    after, _, _ = step(start)
    beyond = 1 + 0.5 / np.sqrt(2)
    expected = {"a": np.array([1 - 2 * 1.5]), "b": np.full(2, 1 - beyond)}
    chex.assert_trees_all_close(after, jax.tree.map(np.float32, expected), rtol=1e-5)


def test_the_trunk_begins_from_a_file(tmp_path):
    method, state = started()
    path = tmp_path / "trained.safetensors"
    variables = jax.device_get(method.deployed.trainable(state.variables))
    model_file.write(path, variables, {"trainable": True}, precision="float32")
    second = create(**{"method.initial": str(path)})
    assert "from trained.safetensors" in second.stages[0].trains
    trunk = {"trunk": variables["params"]["efe"]["trunk"]}
    chex.assert_trees_all_equal(second.pretrained(), {"params": {"efe": trunk}})


@pytest.mark.parametrize("learned", [True, False])
def test_a_trunk_is_not_read_with_or_without_group_norm_as_it_comes(tmp_path, learned):
    method = create(**{"method.group_norm": learned})
    state = jax.jit(method.init)(KEY, batch()["image"][:1])
    path = tmp_path / "trained.safetensors"
    variables = jax.device_get(method.deployed.trainable(state.variables))
    model_file.write(path, variables, {"trainable": True}, precision="float32")
    fields = {"method.initial": str(path), "method.group_norm": not learned}
    with pytest.raises(WeightsError, match=f"set it to {learned}"):
        create(**fields).pretrained()


def test_released_weights_want_the_images_they_were_trained_on(tmp_path):
    arrays = {"fc8.bias": np.zeros(2)}
    for number, name in enumerate(CONVOLUTIONS):
        arrays[f"{name}.weight"] = np.full((8, 8 if number else 3, 3, 3), number)
        arrays[f"{name}.bias"] = np.zeros(8)
    path = tmp_path / "vgg_face.npz"
    np.savez(path, **arrays)
    fields = {"method.initial": str(path)}
    with pytest.raises(WeightsError, match=r"VGG-Face.*set it to vgg_face"):
        create(**fields).pretrained()
    part = create(**fields, **{"method.normalization": "vgg_face"}).pretrained()
    trunk = part["params"]["efe"]["trunk"]
    for number, name in enumerate(CONVOLUTIONS):
        assert (trunk[name]["kernel"] == number).all()
    assert set(trunk) == set(CONVOLUTIONS)


def test_images_as_vgg_face_wants_them():
    images = jnp.ones((1, 1, 1, 3))
    found = epm_steps.model_inputs(images, "vgg_face")
    np.testing.assert_allclose(found.ravel(), [125.8137, 150.2376, 161.406], rtol=1e-5)


@pytest.mark.parametrize(
    ("word", "l2", "expected"), [("text", 100.0, 0.01), ("given", 7.0, 7.0)]
)
def test_weights_of_the_refinement_by_their_word(word, l2, expected):
    fields = {"method.refinement_weights": word, "method.weights.l2": l2}
    made = config(**fields)
    steps = epm_steps.create(started()[0], made.method)
    assert steps["emr"].weights["mask_refinement"] == expected
    assert steps["emr"].weights["classification"] == 2.0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"augment.mixup": 0.2}, "augment.mixup to 0"),
        ({"method.normalization": "vgg_face"}, "name their file in method.initial"),
        ({"method.weights.l3": 1.0}, "set it to 'given'"),
        ({"method.image_size": 48}, "expected a side of 14, 28"),
        (
            {"method.schedule": "alternate", "emr.optim.plateau.metric": "loss"},
            "set epmg.optim.plateau",
        ),
    ],
)
def test_options_that_do_not_go_together(fields, words):
    with pytest.raises(ConfigError, match=words):
        create(**fields)
