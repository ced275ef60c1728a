import functools

import chex
import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fersnet_reference import compiled, official, widen
from flax import traverse_util
from golden_rule import close

from jaxfer.methods import common, fersnet
from jaxfer.methods.fersnet_iteration import Pairs, iteration
from jaxfer.methods.fersnet_recipe import create_recipe
from jaxfer.weights import fersnet as names


@pytest.fixture(scope="module")
def reference():
    return golden_rule.load("fersnet")


def remember():
    """Keep the first gradient in the optimiser's state."""

    def update(gradient, state, params=None):
        first, begun = state
        kept = jax.tree.map(lambda a, g: jnp.where(begun, a, g), first, gradient)
        return gradient, (kept, jnp.ones((), bool))

    def init(params):
        return jax.tree.map(jnp.zeros_like, params), jnp.zeros((), bool)

    return optax.GradientTransformation(init, update)


def one_step(variables, batch, judge_scale):
    """The released loop's body, with the default config's losses and optimisers."""
    config = fersnet.default_config()
    recipe = create_recipe(config, num_classes=6, steps_per_epoch=1)
    networks = official()[0]
    recipe = recipe._replace(
        network=networks["fersnet"],
        discriminator=networks["fersnet_discriminator"],
        identity=networks["lightcnn9"],
        optimizer=optax.chain(remember(), recipe.optimizer),
        judge_optimizer=optax.chain(
            remember(), recipe.judge_optimizer, optax.scale(judge_scale)
        ),
    )
    params = {
        "network": variables["fersnet"]["params"],
        "discriminator": variables["fersnet_discriminator"]["params"],
    }
    whole = {
        "params": params,
        "batch_stats": {"network": variables["fersnet"]["batch_stats"]},
        "frozen": {"identity": variables["lightcnn9"]["params"]},
    }
    opt_state = {
        "network": recipe.optimizer.init(params["network"]),
        "discriminator": recipe.judge_optimizer.init(params["discriminator"]),
    }
    pairs = Pairs(batch["face"], batch["source"], batch["face_target"], batch["target"])
    start = common.start(whole, opt_state)
    after, seen = iteration(recipe, start, pairs, key=None)
    return after.variables, {k: s[0][0] for k, s in after.opt_state.items()}, seen


@functools.cache
def iterated(judge_scale):
    """One iteration in float64, as NumPy; with scale 0 the discriminator stays."""
    _, variables, batch = official()
    # Optax raises a float to an integer power.
    with jax.enable_x64(), jax.numpy_dtype_promotion("standard"):
        given = widen(variables, "float64"), widen(batch, "float64")
        done = compiled_step()(*given, np.float64(judge_scale))
        return jax.tree.map(np.asarray, done)


@functools.cache
def compiled_step():
    return jax.jit(one_step)


def released_terms(seen):
    """Mean losses by the names of the released code."""
    terms = {name: np.mean(term) for name, term in seen.terms.items()}
    return {
        "cls": terms["recognition"],
        "idn": terms["reconstruction"] + 0.05 * terms["identity"],
        "tra": terms["adversarial"],
        "cyc": terms["cycle"],
        "all": terms["objective"],
    }


def torch_layout(entries, tree):
    """Arrays by the released names and in PyTorch's layout."""
    flat = traverse_util.flatten_dict(tree, sep="/")
    return {
        e.official: flat[path].transpose(np.argsort(e.axes)) if e.axes else flat[path]
        for e in entries
        if (path := e.path.removeprefix("params/")) in flat
    }


def norms(arrays, order):
    return np.asarray([np.linalg.norm(arrays[name]) for name in order])


def test_the_first_gradients_equal_the_released_code(reference):
    golden, index = reference
    (_, gradients, seen), key = iterated(0.0), "fersnet/train0/f64/"
    for name, value in released_terms(seen).items():
        close(value, golden[f"{key}loss_{name}"], 1e-9)
    close(seen.logits, golden[f"{key}logits"], 1e-9)
    for name, images in zip(("syn", "cyc"), seen.images, strict=True):
        close(*golden_rule.sample(images, golden, index, f"{key}{name}"), 1e-8)
    gradient = torch_layout(names.fersnet_entries(), gradients["network"])
    order = index["grad_order"]["fersnet"]
    # The scale of the noise has no gradient: none is drawn.
    expected = np.maximum(golden[f"{key}grad_norms"], 0)
    np.testing.assert_allclose(norms(gradient, order), expected, rtol=1e-6, atol=1e-9)
    for kept in golden:
        if kept.startswith(f"{key}grad/"):
            kept = kept.removesuffix("|flat")
            name = kept.removeprefix(f"{key}grad/")
            close(*golden_rule.sample(gradient[name], golden, index, kept), 1e-6)


def test_running_statistics_equal_the_released_code(reference):
    golden, index = reference
    updated = iterated(0.0)[0]["batch_stats"]["network"]
    for norm, place in {
        "stem.1": updated["stem_bn"],
        "conv1x.bn1": updated["x1"]["bn1"],
        "conv4xy.bn2": updated["joint"]["bn2"],
        "classifier.pooling.1": updated["classifier_bn"],
    }.items():
        for part in ("mean", "var"):
            key = f"fersnet/train0/f64/updated/{norm}.running_{part}"
            close(*golden_rule.sample(place[part], golden, index, key), 1e-6)


def test_an_iteration_equals_the_released_loop(reference):
    golden, index = reference
    (after, gradients, seen), key = iterated(1.0), "fersnet/iter/f64/"
    real, fake = np.moveaxis(seen.scores, 1, 0)
    errors = [np.mean(e, axis=(1, 2, 3, 4)) for e in ((real - 1) ** 2, fake**2)]
    errors = np.stack([*errors, np.mean(seen.judge_losses, axis=1)], axis=1)
    close(errors, golden["fersdis/iter/f64/errors"], 1e-9)
    for name, value in released_terms(seen).items():
        close(value, golden[f"{key}loss_{name}"], 1e-9)
    entries = names.discriminator_entries()
    order = index["grad_order"]["fersdis"]
    gradient = torch_layout(entries, gradients["discriminator"])
    expected = golden["fersdis/iter/f64/grad_norms_first"]
    np.testing.assert_allclose(norms(gradient, order), expected, rtol=1e-6, atol=1e-9)
    kept = "fersdis/iter/f64/grad/model.0.weight"
    close(*golden_rule.sample(gradient["model.0.weight"], golden, index, kept), 1e-6)
    judge = torch_layout(entries, after["params"]["discriminator"])
    expected = golden["fersdis/iter/f64/after_param_norms"]
    np.testing.assert_allclose(norms(judge, order), expected, rtol=1e-9)
    params = torch_layout(names.fersnet_entries(), after["params"]["network"])
    expected = golden[f"{key}after_param_norms"]
    order = index["grad_order"]["fersnet"]
    np.testing.assert_allclose(norms(params, order), expected, rtol=1e-7, atol=1e-12)


def test_networks_after_an_iteration_equal_the_released_ones(reference):
    golden, index = reference
    (after, _, _), batch = iterated(1.0), official()[2]
    network = {kind: after[kind]["network"] for kind in ("params", "batch_stats")}
    judge = {"params": after["params"]["discriminator"]}
    frozen = after["frozen"]["identity"]
    chex.assert_trees_all_equal(
        frozen, widen(official()[1], "float64")["lightcnn9"]["params"]
    )
    with jax.enable_x64():
        face, real, target = widen(
            (batch["face"], batch["face_target"], batch["target"]), "float64"
        )
        outputs = compiled("fersnet")(network, face, target)
        scores = compiled("fersnet_discriminator")(judge, real, target)
        outputs, scores = jax.tree.map(np.asarray, (outputs, scores))
    close(scores.maps["validity"], golden["fersdis/iter/f64/after_real"], 1e-8)
    close(outputs.logits, golden["fersnet/iter/f64/after_logits"], 1e-6)
    key = "fersnet/iter/f64/after_out"
    synthesised = outputs.images["synthesised"]
    close(*golden_rule.sample(synthesised, golden, index, key), 1e-5)
