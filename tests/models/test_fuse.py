import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from golden_rule import close

from jaxfer import models, ops
from jaxfer.errors import ConfigError
from jaxfer.models import mobilenet, resnet
from jaxfer.models.fuse import deployed, fold_batch_norm, fuse
from jaxfer.models.layers import CONV, conv_norm, norm_of


def statistics(rng, channels):
    return {
        "mean": jnp.asarray(rng.standard_normal(channels), jnp.float32),
        "var": jnp.asarray(rng.random(channels) + 0.1, jnp.float32),
    }


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("shape", [(3, 3, 4, 6), (5, 3, 1, 4)])
def test_a_folded_convolution_equals_the_pair(shape, bias, affine):
    rng = np.random.default_rng(0)
    draw = lambda *n: jnp.asarray(rng.standard_normal(n), jnp.float32)  # noqa: E731
    kernel, channels = draw(*shape), shape[-1]
    offset = draw(channels) if bias else None
    norm = {"scale": draw(channels), "bias": draw(channels)} if affine else {}
    stats, x = statistics(rng, channels), draw(2, 6, 5, 4)
    groups = 4 // shape[2]
    y = ops.conv(x, kernel, groups=groups)
    y = y if offset is None else y + offset.reshape(1, 1, 1, -1)
    expected = ops.batch_norm_inference(
        y,
        **stats,
        scale=norm.get("scale", jnp.ones(channels)),
        bias=norm.get("bias", jnp.zeros(channels)),
        epsilon=1e-3,
    )
    kernel, offset = fold_batch_norm(kernel, offset, norm, stats, epsilon=1e-3)
    found = ops.conv(x, kernel, groups=groups) + offset.reshape(1, 1, 1, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_rest_is_left_as_it_is():
    dense = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    assert fuse({"params": {"logits": dense}}) == {"params": {"logits": dense}}


def test_the_trained_variables_do_not_change():
    rng = np.random.default_rng(1)
    variables = {
        "params": {
            "conv": {"kernel": jnp.ones((1, 1, 2, 2))},
            "bn": {"scale": jnp.full(2, 2.0), "bias": jnp.ones(2)},
        },
        "batch_stats": {"bn": statistics(rng, 2)},
    }
    before = jax.tree.map(lambda leaf: leaf.copy(), variables)
    fused = jax.jit(fuse)(variables)
    assert set(fused) == {"params"} and set(fused["params"]) == {"conv"}
    jax.tree.map(np.testing.assert_array_equal, variables, before)


def test_a_batch_norm_that_follows_no_convolution():
    norm = {"scale": jnp.ones(2), "bias": jnp.zeros(2)}
    stats = statistics(np.random.default_rng(2), 2)
    variables = {
        "params": {"branch": {"conv1a": {"kernel": jnp.ones((1, 2))}, "bn1a": norm}},
        "batch_stats": {"branch": {"bn1a": stats}},
    }
    with pytest.raises(ConfigError, match="batch norm at branch/bn1a"):
        fuse(variables)


NETWORKS = {
    "resnet50": {"stem": "vggface2"},
    "mobilenet_v2": {},
    "eac": {"backbone": "resnet18", "small_images": True},
}


@pytest.fixture
def shallow(monkeypatch):
    """Fewer blocks, of all kinds: a whole network says no more, and compiles longer."""
    monkeypatch.setattr(resnet, "STAGES", {18: (1, 1), 50: (1, 1)})
    monkeypatch.setattr(mobilenet, "BLOCKS", ((1, 16, 1, 1), (6, 16, 1, 2)))


def drawn(model, images):
    """Random variables, no statistic of which is 0 or 1."""
    rng = np.random.default_rng(3)

    def draw(path, leaf):
        noise = rng.standard_normal(leaf.shape)
        name = path[-1].key
        if name == "kernel":
            return noise * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        if name in ("scale", "var"):
            return 1 + np.abs(noise) / 4
        return noise / 10

    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("shallow")
def test_a_fused_network_gives_the_same_outputs(name):
    model = models.create(name, 5, width=0.0625, **NETWORKS[name])
    images = np.random.default_rng(4).random((2, 32, 32, 3))
    variables = drawn(model, images)
    quick, fold = deployed(model)
    folded = fold(variables)
    assert set(folded) == {"params"}
    shapes = jax.eval_shape(quick.init, jax.random.key(0), images)
    assert jax.tree.map(np.shape, folded) == jax.tree.map(np.shape, shapes)

    @jax.jit
    def both(variables, folded):
        return model.apply(variables, images), quick.apply(folded, images)

    with jax.enable_x64():  # an identity; float32 adds its rounding, 1e-5 or less
        expected, found = jax.tree.map(np.asarray, both(variables, folded))
    assert expected.logits.dtype == np.float64
    jax.tree.map(functools.partial(close, tolerance=1e-12), found, expected)
    with pytest.raises(ConfigError, match="no batch norm and cannot be trained"):
        jax.eval_shape(functools.partial(quick.apply, train=True), folded, images)


def test_a_network_that_cannot_be_fused_is_deployed_as_it_is():
    network, fold = deployed(models.create("cfnet", 5))
    assert network == models.create("cfnet", 5)
    assert fold(variables := {"params": {}}) is variables


@pytest.mark.parametrize(
    ("conv", "norm"),
    [
        ("conv", "bn"),
        ("conv12", "bn12"),
        ("stem_conv", "stem_bn"),
        ("a_conv2", "a_bn2"),
    ],
)
def test_the_names_of_a_pair(conv, norm):
    class Pair(nn.Module):
        @nn.compact
        def __call__(self, x, fused=False):
            return conv_norm(x, 3, (1, 1), name=conv, fused=fused)

    x = jnp.ones((1, 2, 2, 3))
    variables = jax.eval_shape(Pair().init, jax.random.key(0), x)
    assert CONV.fullmatch(conv) and norm_of(conv) == norm
    assert set(variables["params"]) == {conv, norm}
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), variables)
    fused = jax.eval_shape(
        functools.partial(Pair().init, fused=True), jax.random.key(0), x
    )
    assert jax.tree.map(np.shape, fuse(zeros)) == jax.tree.map(np.shape, fused)


def test_a_pair_without_scale_and_offset():
    kernel = np.ones((1, 1, 2, 3), np.float32)
    stats = {"mean": np.full(3, 4.0), "var": np.full(3, 0.25)}
    variables = {"params": {"conv": {"kernel": kernel}}, "batch_stats": {"bn": stats}}
    folded = fuse(variables, epsilon=0.0)["params"]
    assert set(folded) == {"conv"}
    np.testing.assert_array_equal(folded["conv"]["kernel"], 2 * kernel)
    np.testing.assert_array_equal(folded["conv"]["bias"], np.full(3, -8.0))
