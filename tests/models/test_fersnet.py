import functools

import chex
import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fersnet_reference import compiled, evaluated, official, widen
from golden_rule import close

from jaxfer import models
from jaxfer.errors import ConfigError

GATES = {"leaky": "r", "memory": "z"}
WAYS = ("xy1", "xy2", "xy3", "yx1", "yx2", "yx3")


@pytest.fixture(scope="module")
def reference():
    return golden_rule.load("fersnet")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_outputs_equal_the_released_code(reference, dtype, tolerance):
    golden, index = reference
    outputs = evaluated(dtype)
    assert outputs.logits.dtype == outputs.images["synthesised"].dtype == dtype
    close(outputs.logits, golden["fersnet/eval/f64/logits"], tolerance)
    key = "fersnet/eval/f64/out"
    synthesised = outputs.images["synthesised"]
    close(*golden_rule.sample(synthesised, golden, index, key), tolerance)
    for gate, letter in GATES.items():
        for way in WAYS:
            key = f"fersnet/eval/f64/leakyunit{way}.{letter}"
            gates = outputs.maps[f"{gate}_{way}"]
            close(*golden_rule.sample(gates, golden, index, key), tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_the_discriminator_equals_the_released_code(reference, dtype, tolerance):
    _, variables, batch = official()
    for image, kind in (
        (batch["face_target"], "real"),
        (evaluated("float64").images["synthesised"], "fake"),
    ):
        with jax.enable_x64(dtype == "float64"):
            given = widen(
                (variables["fersnet_discriminator"], image, batch["target"]), dtype
            )
            outputs = compiled("fersnet_discriminator")(*given)
            validity = np.asarray(outputs.maps["validity"])
            mean = np.asarray(outputs.logits)
        close(validity, reference[0][f"fersdis/eval/f64/{kind}"], tolerance)
        np.testing.assert_allclose(mean, validity.mean((1, 2)), rtol=1e-4, atol=1e-6)


def test_parameter_counts():
    images, target = jnp.zeros((1, 96, 96, 3)), jnp.zeros((1, 6))
    for name, inputs, count in (
        ("fersnet", (images, target), 53_983_438),
        ("fersnet_discriminator", (images, target), 2_770_881),
    ):
        init = models.create(name, 6).init
        params = jax.eval_shape(init, jax.random.key(0), *inputs)["params"]
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def shapes(**options):
    """Outputs and variables of a small network, without computing them."""
    model = models.create("fersnet", 4, width=0.0625, **options)
    images = jax.ShapeDtypeStruct((2, 64, 32, 3), jnp.float32)
    return jax.eval_shape(model.init_with_output, jax.random.key(0), images)


def some_variables(model, *inputs):
    """Random variables, quicker than `init`, which compiles a draw per shape."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        scale = {"kernel": 0.1, "bias": 0.1}.get(path[-1].key, 0.0)
        offset = float(path[-1].key in ("scale", "var"))
        return np.float32(offset + scale * rng.standard_normal(leaf.shape))

    variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    return jax.tree_util.tree_map_with_path(draw, variables)


@functools.cache
def small():
    """A small network, its variables, three images and targets."""
    model = models.create("fersnet", 4, width=0.0625)
    images = jax.random.uniform(jax.random.key(1), (3, 64, 64, 3))
    target = jax.nn.one_hot(jnp.arange(3), 4)
    return model, some_variables(model, images, target), images, target


@functools.cache
def drawn():
    """The small network as a program, with noise."""
    model = small()[0]

    def draw(variables, images, target, key):
        return model.apply(variables, images, target, rngs={"noise": key})

    return jax.jit(draw)


def with_noise(scale):
    """The small network's variables, with this scale of all noise."""
    return jax.tree_util.tree_map_with_path(
        lambda path, x: np.full_like(x, scale) if path[-1].key == "noise" else x,
        small()[1],
    )


@functools.cache
def recognised():
    """The small network's outputs without a target."""
    model, variables, images, _ = small()
    return jax.jit(model.apply)(variables, images)


def test_gates_are_shares():
    outputs = recognised()
    assert set(outputs.maps) == {f"{gate}_{way}" for gate in GATES for way in WAYS}
    for gates in outputs.maps.values():
        assert (gates >= 0).all() and (gates <= 1).all() and gates.std() > 0


def test_recognition_does_not_depend_on_what_is_drawn():
    _, variables, images, target = small()
    key = jax.random.key(2)
    first = drawn()(variables, images, target, key)
    second = drawn()(variables, images, target[::-1], key)
    np.testing.assert_allclose(first.logits, recognised().logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(first.logits, second.logits)
    assert recognised().images == {}
    synthesised = first.images["synthesised"]
    assert synthesised.shape == images.shape
    # The middle image's target is the same.
    changed = np.abs(synthesised - second.images["synthesised"]).max((1, 2, 3))
    assert changed[0] > 0.01 and changed[2] > 0.01 and changed[1] == 0


def test_noise_changes_images_where_its_learned_scale_is_not_zero():
    _, _, images, target = small()
    keys = [jax.random.key(i) for i in (2, 3)]
    silent = [drawn()(with_noise(0.0), images, target, key) for key in keys]
    noisy = [drawn()(with_noise(0.5), images, target, key) for key in keys]
    chex.assert_trees_all_equal(*silent)
    images = [outputs.images["synthesised"] for outputs in (*silent, *noisy)]
    assert np.abs(images[2] - images[3]).max() > 0.01
    assert np.abs(images[2] - images[0]).max() > 0.01
    np.testing.assert_array_equal(noisy[0].logits, silent[0].logits)


def test_one_image_does_not_see_the_others():
    _, variables, images, target = small()
    key = jax.random.key(2)
    first = drawn()(variables, images, target, key)
    second = drawn()(variables, images.at[1:].multiply(0.5), target, key)
    chex.assert_trees_all_equal(
        jax.tree.map(lambda x: x[0], first), jax.tree.map(lambda x: x[0], second)
    )
    assert (first.logits[1:] != second.logits[1:]).any()


def test_half_precision_keeps_what_losses_see_wide():
    _, variables, images, target = small()
    wide = drawn()(variables, images, target, jax.random.key(2))
    half = models.create("fersnet", 4, width=0.0625, dtype=jnp.bfloat16)
    apply = functools.partial(half.apply, train=True, mutable=["batch_stats"])
    outputs, updated = jax.eval_shape(apply, variables, images, target)
    chex.assert_trees_all_equal_dtypes(updated["batch_stats"], variables["batch_stats"])
    assert outputs.logits.dtype == jnp.float32
    assert outputs.images["synthesised"].dtype == jnp.float32
    assert outputs.features["pooled"].dtype == jnp.bfloat16
    recognise = jax.jit(half.apply)
    close(recognise(variables, images).logits, wide.logits, 0.1)


def test_ablations_take_parts_away():
    (full, everything), (hard, without), (alone, recogniser) = (
        shapes(feature_sharing=sharing) for sharing in ("flu", "hard", "none")
    )
    names = [set(v["params"]) for v in (everything, without, recogniser)]
    units = {name for name in names[0] if name.startswith("flu_")}
    assert len(units) == 6
    assert names[1] == names[0] - units
    assert names[2] == names[1] - {"y1", "y2", "y3", "decoder"}
    joint = [
        v["params"]["joint"]["conv1"]["kernel"].shape for v in (without, recogniser)
    ]
    assert joint == [(3, 3, 64, 64), (3, 3, 32, 32)]
    assert full.logits.shape == hard.logits.shape == alone.logits.shape == (2, 4)
    # Without a target, `init` makes the decoder and so shows its image.
    assert full.images["synthesised"].shape == hard.images["synthesised"].shape
    assert hard.maps == alone.maps == alone.images == {}


def test_a_patch_is_judged_by_what_it_should_show():
    model = models.create("fersnet_discriminator", 4, width=0.0625)
    _, _, images, target = small()
    variables = some_variables(model, images, target)
    apply = jax.jit(model.apply)
    first = apply(variables, images, target)
    assert first.maps["validity"].shape == (3, 4, 4, 1)
    second = apply(variables, images, target[::-1])
    changed = np.abs(first.logits - second.logits).max(1)
    assert changed[0] > 0 and changed[2] > 0 and changed[1] == 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fersnet", {"feature_sharing": "soft"}, "one of flu, hard, none, got 'soft'"),
        ("fersnet", {"width": 0.0}, "fersnet width must be positive, got 0"),
        ("fersnet_discriminator", {"width": -1.0}, "must be positive, got -1"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ConfigError, match=message):
        models.create(name, 6, **options)


def test_bad_inputs():
    model, variables, images, target = small()
    with pytest.raises(ConfigError, match=r"64 x 48 images cannot be.* 32 divides"):
        model.apply(variables, images[:, :, :48], target)
    with pytest.raises(ConfigError, match=r"target \(3, 4\).*got \(3, 5\)"):
        model.apply(variables, images, jnp.zeros((3, 5)))
    alone = models.create("fersnet", 4, feature_sharing="none")
    with pytest.raises(ConfigError, match="draws no faces: pass no target"):
        alone.apply(variables, images, target)
