import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import models
from jaxfer.errors import ConfigError
from jaxfer.models import epm
from jaxfer.models.counts import count_parameters

CLASSES = 3
SIZE = 14
KEY = jax.random.key(0)


def images(count=2, size=SIZE):
    return np.random.default_rng(0).random((count, size, size, 3), np.float32)


@functools.cache
def model():
    """A narrow network, variables without a zero in them, and its answers."""
    network = models.create("epm", CLASSES, width=0.02)
    rng = np.random.default_rng(1)

    def draw(leaf):
        spread = np.sqrt(2 / max(1, leaf.size // leaf.shape[-1]))
        return np.float32(spread * rng.standard_normal(leaf.shape))

    variables = jax.tree.map(draw, jax.eval_shape(network.init, KEY, images()))
    return network, variables, jax.jit(network.apply)(variables, images())


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        (224, [1, 4, 7, 14, 28, 56, 112, 224]),
        (112, [1, 4, 7, 14, 28, 56, 112]),
        (14, [1, 4, 7, 14]),
    ],
)
def test_shapes_within(size, sides):
    network = models.create("epm", 7)
    found, variables = jax.eval_shape(
        lambda x: network.init_with_output(
            KEY, x, capture_intermediates=True, mutable=True
        ),
        jnp.zeros((2, size, size, 3)),
    )
    inside = variables["intermediates"]["epmg"]
    decoder = [inside[f"decoder{i}"]["__call__"][0] for i in range(1, len(sides))]
    shapes = [inside["encoder2"]["__call__"][0].shape, *(d.shape for d in decoder)]
    channels = [128, *(64, 32, 16, 8, 4, 2)[: len(sides) - 2], 1]
    assert shapes == [(2, n, n, c) for n, c in zip(sides, channels, strict=True)]
    assert inside["encoder1"]["__call__"][0].shape == (2, 4, 4, 256)
    chex.assert_shape([found.logits, found.heads["efe"]], (2, 7))
    chex.assert_shape([found.maps["mask"], found.maps["refined_mask"]], (2, 7, 7, 1))
    assert found.features["map"].shape == (2, 7, 7, 512)
    assert found.features["embedding"].shape == (2, 128)
    assert found.features["hidden"].shape == (2, 16)
    assert found.images["pattern"].shape == (2, size, size, 1)


def test_parameter_counts():
    network = models.create("epm", 7)
    shapes = jax.eval_shape(network.init, KEY, jnp.zeros((1, 224, 224, 3)))
    params = shapes["params"]
    counts = {name: count_parameters({"params": params[name]}) for name in params}
    refiner = 16 + 16 * 16 + 16 + 16 + 1
    assert counts == {
        "efe": 14_714_688 + 513 + 512 * 7 + 7,
        "emr": refiner,
        "epmg": 2_097_408 + 524_416 + 8_256 + 455 + 16 * 10_922 + 127,
    }
    assert sum(counts.values()) == 17_524_511


def test_masks_and_pattern_maps_lie_between_0_and_1():
    _, _, found = model()
    for array in (*found.maps.values(), *found.images.values()):
        assert (array > 0).all() and (array < 1).all()
        assert np.std(array) > 1e-3


def test_the_refiner_reads_the_mask_one_value_after_the_other():
    _, variables, found = model()
    p = jax.tree.map(np.float64, variables["params"]["emr"])
    for image, mask in enumerate(np.float64(found.maps["mask"])):
        h, y = np.zeros(16), []
        for x in mask.reshape(49, 1):
            h = np.tanh(
                x @ p["input"]["kernel"] + p["input"]["bias"] + h @ p["recurrent"]
            )
            y.append(
                1 / (1 + np.exp(-(h @ p["output"]["kernel"] + p["output"]["bias"])))
            )
        refined = np.reshape(y, (7, 7, 1))
        np.testing.assert_allclose(found.maps["refined_mask"][image], refined, 1e-5)
        np.testing.assert_allclose(found.features["hidden"][image], h, 1e-4, 1e-6)


def test_the_first_classifier_sees_the_masked_map():
    _, variables, found = model()
    layer = variables["params"]["efe"]["classifier"]
    pooled = (found.maps["mask"] * found.features["map"]).mean((1, 2))
    expected = pooled @ layer["kernel"] + layer["bias"][None]
    np.testing.assert_allclose(found.heads["efe"], expected, 1e-5, 1e-6)


def test_the_modules_alone_make_the_whole():
    network, variables, found = model()

    @jax.jit
    def apart(params):
        def alone(name, method, *args):
            return network.apply({"params": {name: params[name]}}, *args, method=method)

        coarse = alone("efe", epm.EPM.extract, images())
        return (
            coarse,
            alone("emr", epm.EPM.refine, coarse.mask),
            alone("epmg", epm.EPM.generate, coarse.masked, 1),
        )

    coarse, (refined, hidden), pattern = apart(variables["params"])
    chex.assert_trees_all_close(
        found,
        models.Outputs(
            pattern.logits,
            {"efe": coarse.logits},
            {
                "map": coarse.features,
                "embedding": pattern.embedding,
                "hidden": hidden,
            },
            {"mask": coarse.mask, "refined_mask": refined},
            {"pattern": pattern.image},
        ),
        rtol=1e-5,
    )


def test_mixed_precision_keeps_what_people_see_in_float32():
    network = models.create("epm", CLASSES, width=0.02, dtype=jnp.bfloat16)
    found = jax.eval_shape(network.apply, model()[1], images())
    wide = (found.logits, found.heads, found.maps, found.images)
    assert {leaf.dtype for leaf in jax.tree.leaves(wide)} == {jnp.dtype(jnp.float32)}
    assert found.features["map"].dtype == jnp.bfloat16


@pytest.mark.parametrize("shape", [(1, 48, 48, 3), (1, 7, 7, 3), (1, 28, 56, 3)])
def test_other_sizes_are_refused(shape):
    network = models.create("epm", CLASSES)
    with pytest.raises(ConfigError, match="14, 28, 56, 112, 224, found"):
        jax.eval_shape(network.init, KEY, jnp.zeros(shape))


def test_a_width_of_zero():
    with pytest.raises(ConfigError, match="epm width must be positive"):
        models.create("epm", CLASSES, width=0.0)
