import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_rule import close

from jaxfer import models, weights
from jaxfer.errors import ConfigError
from jaxfer.models import backbone, vgg


def test_the_trunk_equals_torchvision():
    golden, index = golden_rule.load("tv")
    arrays = golden_rule.weights(index, "tv_vgg16_features")
    arrays = {f"features.{name}": array for name, array in arrays.items()}
    variables = weights.from_official("vgg16", arrays, trunk_only=True)
    images = golden_rule.uniform(1542, (2, 224, 224, 3))
    trunk = {"params": variables["params"]["trunk"]}
    features = jax.jit(vgg.VGGTrunk().apply)(trunk, images)
    key = "tv_vgg16_features/eval/f64/30"
    close(*golden_rule.sample(features, golden, index, key), 1e-5)


@pytest.mark.parametrize(
    ("size", "side", "classes", "parameters"),
    [(224, 7, 1000, 138_357_544), (48, 1, 7, 134_289_223)],
)
def test_shapes_and_parameter_count(size, side, classes, parameters):
    model = models.create("vgg16", classes)
    outputs, variables = jax.eval_shape(
        model.init_with_output, jax.random.key(0), jnp.zeros((2, size, size, 3))
    )
    assert outputs.features["map"].shape == (2, side, side, 512)
    assert outputs.features["hidden"].shape == (2, 4096)
    assert outputs.logits.shape == (2, classes)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == parameters


def test_group_norm_forgets_how_bright_an_image_is():
    trunk = vgg.VGGTrunk(0.125, pools=1, group_norm=True)
    images = jnp.asarray(np.random.default_rng(0).random((2, 14, 14, 3)), jnp.float32)
    variables = trunk.init(jax.random.key(0), images)
    names = {name for name in variables["params"] if name.startswith("norm")}
    assert names == {name.replace("conv", "norm") for name in vgg.CONVOLUTIONS}
    plain = jax.jit(trunk.apply)(variables, images)
    close(jax.jit(trunk.apply)(variables, 3 * images), np.asarray(plain), 1e-4)
    assert jnp.ptp(plain) > 0.1


def test_the_classifier_counts_by_channel_then_row_then_column():
    """Official weights do. A map of 7 x 1 is seen as 7 x 7 of equal columns."""
    model = models.create("vgg16", 3, width=0.02)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.random((2, 224, 32, 3)), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    variables = jax.tree.map(
        lambda leaf: np.float32(0.2 * rng.standard_normal(leaf.shape)), shapes
    )
    outputs = jax.jit(model.apply)(variables, images)
    assert outputs.features["map"].shape == (2, 7, 1, 16)
    x = np.repeat(outputs.features["map"], 7, axis=2)
    x = np.moveaxis(x, -1, 1).reshape(2, -1)
    for name in ("fc6", "fc7"):
        layer = variables["params"][name]
        x = np.maximum(x @ layer["kernel"] + layer["bias"][None], 0)
    assert x.any()
    close(outputs.features["hidden"], x, 1e-5)
    layer = variables["params"]["fc8"]
    close(outputs.logits, x @ layer["kernel"] + layer["bias"][None], 1e-5)


def test_a_width_of_zero():
    with pytest.raises(ConfigError, match="vgg16 width must be positive"):
        models.create("vgg16", 7, width=0.0)


def test_fresh_kernels_keep_the_size_of_what_passes():
    kernel = backbone.he_fan_in(jax.random.key(0), (3, 3, 32, 64))
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 32)), rtol=0.02)
    assert abs(kernel.mean()) < 0.01 * kernel.std() + 1e-3
