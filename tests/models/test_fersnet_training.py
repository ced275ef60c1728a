import functools

import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fersnet_reference import QUICK, close, compiled, evaluated, official, widen
from flax import traverse_util

from jaxfer import losses, ops
from jaxfer.weights import fersnet as names


@pytest.fixture(scope="module")
def reference():
    return golden_rule.load("fersnet")


def generator_losses(networks, variables, params, batch):
    """The released generator's loss, its parts, and what was seen on the way."""

    def drawn(carry, target):
        images, stats = carry
        outputs, stats = networks["fersnet"].apply(
            {"params": params, **stats},
            images,
            target,
            train=True,
            mutable="batch_stats",
        )
        images = outputs.images["synthesised"]
        return (images, stats), (images, outputs.logits)

    def light(images):
        outputs = networks["lightcnn9"].apply(variables["lightcnn9"], images)
        return outputs.features["map"]

    # There and back: a loop compiles the network once.
    targets = jnp.stack([batch["target"], batch["source"]])
    stats = {"batch_stats": variables["fersnet"]["batch_stats"]}
    (_, stats), (images, logits) = jax.lax.scan(drawn, (batch["face"], stats), targets)
    grey = ops.grayscale(images[0], "bgr")
    real = ops.grayscale(batch["face_target"], "bgr")
    scores = networks["fersnet_discriminator"].apply(
        variables["fersnet_discriminator"], images[0], batch["target"]
    )
    parts = {
        "cls": losses.cross_entropy(logits[0], batch["source"]),
        "idn": losses.reconstruction(grey, real)
        + 0.05 * losses.identity(light(grey), light(real)),
        "tra": losses.least_squares_generator(scores.maps["validity"]),
        "cyc": losses.cycle(batch["face"], images[1]),
    }
    parts = jax.tree.map(jnp.mean, parts)
    parts["all"] = parts["cls"] + parts["idn"] + 0.3 * parts["tra"] + 0.5 * parts["cyc"]
    seen = {"logits": logits[0], "syn": images[0], "cyc": images[1], "updated": stats}
    return parts["all"], (parts, seen)


def adam(rate):
    """PyTorch's Adam: weight decay is added to the gradient."""
    return optax.chain(
        optax.add_decayed_weights(5e-4), optax.adam(rate, b1=0.5, b2=0.999)
    )


def iteration(variables, batch, fake, discriminator_rate):
    """The released loop's body: three steps of the discriminator, one of the rest.

    The discriminator sees images that were synthesised in evaluation mode.
    """
    networks = official()[0]
    discriminator = networks["fersnet_discriminator"]

    def discriminator_loss(params):
        real_map, fake_map = (
            discriminator.apply(params, images, batch["target"]).maps["validity"]
            for images in (batch["face_target"], fake)
        )
        loss = jnp.mean(losses.least_squares_discriminator(real_map, fake_map))
        return loss, jnp.stack(
            [jnp.mean((real_map - 1) ** 2), jnp.mean(fake_map**2), loss]
        )

    def step(carry, _):
        params, state = carry
        gradient, errors = jax.grad(discriminator_loss, has_aux=True)(params)
        update, state = adam(discriminator_rate).update(gradient, state, params)
        return (optax.apply_updates(params, update), state), (errors, gradient)

    params = variables["fersnet_discriminator"]
    (judge, _), (errors, gradients) = jax.lax.scan(
        step, (params, adam(discriminator_rate).init(params)), length=3
    )
    params = variables["fersnet"]["params"]
    loss = functools.partial(
        generator_losses,
        networks,
        variables | {"fersnet_discriminator": judge},
        batch=batch,
    )
    gradient, (parts, seen) = jax.grad(loss, has_aux=True)(params)
    update, _ = adam(1e-4).update(gradient, adam(1e-4).init(params), params)
    after = {"params": optax.apply_updates(params, update), **seen["updated"]}
    first = jax.tree.map(lambda x: x[0], gradients)
    return {
        "losses": parts,
        "seen": seen,
        "gradient": gradient,
        "after": after,
        "judge": judge,
        "errors": errors,
        "judge_gradient": first,
    }


@functools.cache
def iterated(discriminator_rate):
    """One iteration in float64, as NumPy; with rate 0 the discriminator stays."""
    _, variables, batch = official()
    # Optax raises a float to an integer power.
    with jax.enable_x64(), jax.numpy_dtype_promotion("standard"):
        fake = evaluated("float64").images["synthesised"]
        given = widen(variables, "float64"), widen(batch, "float64"), fake
        done = one_iteration()(*given, np.float64(discriminator_rate))
        return jax.tree.map(np.asarray, done)


@functools.cache
def one_iteration():
    return jax.jit(iteration, compiler_options=QUICK)


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
    done, key = iterated(0.0), "fersnet/train0/f64/"
    for name, value in done["losses"].items():
        close(value, golden[f"{key}loss_{name}"], 1e-9)
    close(done["seen"]["logits"], golden[f"{key}logits"], 1e-9)
    for name in ("syn", "cyc"):
        seen = done["seen"][name]
        close(*golden_rule.sample(seen, golden, index, f"{key}{name}"), 1e-8)
    gradient = torch_layout(names.fersnet_entries(), done["gradient"])
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
    updated = iterated(0.0)["seen"]["updated"]["batch_stats"]
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
    done, key = iterated(1e-4), "fersnet/iter/f64/"
    close(done["errors"], golden["fersdis/iter/f64/errors"], 1e-9)
    for name, value in done["losses"].items():
        close(value, golden[f"{key}loss_{name}"], 1e-9)
    entries = names.discriminator_entries()
    order = index["grad_order"]["fersdis"]
    gradient = torch_layout(entries, done["judge_gradient"]["params"])
    expected = golden["fersdis/iter/f64/grad_norms_first"]
    np.testing.assert_allclose(norms(gradient, order), expected, rtol=1e-6, atol=1e-9)
    kept = "fersdis/iter/f64/grad/model.0.weight"
    close(*golden_rule.sample(gradient["model.0.weight"], golden, index, kept), 1e-6)
    judge = torch_layout(entries, done["judge"]["params"])
    expected = golden["fersdis/iter/f64/after_param_norms"]
    np.testing.assert_allclose(norms(judge, order), expected, rtol=1e-9)
    params = torch_layout(names.fersnet_entries(), done["after"]["params"])
    expected = golden[f"{key}after_param_norms"]
    order = index["grad_order"]["fersnet"]
    np.testing.assert_allclose(norms(params, order), expected, rtol=1e-7, atol=1e-12)


def test_networks_after_an_iteration_equal_the_released_ones(reference):
    golden, index = reference
    done, batch = iterated(1e-4), official()[2]
    with jax.enable_x64():
        face, real, target = widen(
            (batch["face"], batch["face_target"], batch["target"]), "float64"
        )
        outputs = compiled("fersnet")(done["after"], face, target)
        scores = compiled("fersnet_discriminator")(done["judge"], real, target)
        outputs, scores = jax.tree.map(np.asarray, (outputs, scores))
    close(scores.maps["validity"], golden["fersdis/iter/f64/after_real"], 1e-8)
    close(outputs.logits, golden["fersnet/iter/f64/after_logits"], 1e-6)
    key = "fersnet/iter/f64/after_out"
    synthesised = outputs.images["synthesised"]
    close(*golden_rule.sample(synthesised, golden, index, key), 1e-5)
