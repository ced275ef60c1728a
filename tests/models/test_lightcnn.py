import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fersnet_reference import compiled, evaluated, official, widen
from golden_rule import close

from jaxfer import losses, models, ops
from jaxfer.errors import ConfigError
from jaxfer.models import lightcnn


@pytest.fixture(scope="module")
def reference():
    return golden_rule.load("fersnet")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_lightcnn_and_its_losses_equal_the_released_code(reference, dtype, tolerance):
    golden, index = reference
    _, variables, batch = official()
    with jax.enable_x64(dtype == "float64"):
        out = evaluated("float64").images["synthesised"]
        given, target, out = jax.tree.map(
            jnp.asarray,
            widen((variables["lightcnn9"], batch["face_target"], out), dtype),
        )
        grey = {
            "target": ops.grayscale(target, "bgr"),
            "out": ops.grayscale(out, "bgr"),
        }
        features = {
            name: compiled("lightcnn9")(given, images).features["map"]
            for name, images in grey.items()
        }
        mse = float(losses.identity(features["out"], features["target"]).mean())
        l1 = float(losses.reconstruction(grey["out"], grey["target"]).mean())
        features = jax.tree.map(np.asarray, features)
    for name in ("target", "out"):
        key = f"lightcnn9/f64/feat_{name}"
        close(*golden_rule.sample(features[name], golden, index, key), tolerance)
    for name, value in {
        "rec_feat_mse": mse,
        "rec_l1": l1,
        "rec": 0.05 * mse + l1,
    }.items():
        close(value, golden[f"fersnet/loss_eval/f64/{name}"], tolerance)


def network(name, side, **options):
    """A network, random variables and two random images."""
    model = models.create(name, 0, **options)
    images = jax.random.uniform(jax.random.key(0), (2, side, side, 1))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda x: np.float32(0.1 * rng.standard_normal(x.shape)),
        jax.eval_shape(model.init, jax.random.key(0), images),
    )
    return model, variables, images


def count(name, side=128, **options):
    _, variables, _ = network(name, side, **options)
    return sum(leaf.size for leaf in jax.tree.leaves(variables))


def test_parameter_counts():
    assert count("lightcnn9") == 1_286_048
    fc = 8 * 8 * 128 * 512 + 512
    assert count("lightcnn9", embedding=True) == 1_286_048 + fc
    fc = 8 * 8 * 128 * 256 + 256
    assert count("lightcnn29v2", embedding=True) - count("lightcnn29v2") == fc


@pytest.mark.parametrize(("name", "sides"), [("lightcnn9", 3), ("lightcnn29v2", 4)])
def test_odd_sizes(name, sides):
    model, variables, images = network(name, 39)
    outputs = jax.eval_shape(model.apply, variables, images)
    assert outputs.features["map"].shape == (2, sides, sides, 128)
    assert outputs.features["pooled"].shape == (2, 128)
    assert outputs.logits.shape == (2, 0)


def test_max_feature_map_takes_the_larger_half():
    x = jnp.asarray([[1.0, 5.0, 3.0, 4.0]])
    np.testing.assert_array_equal(lightcnn.max_feature_map(x), [[3.0, 5.0]])


def test_a_residual_block_without_weights_is_the_identity():
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 8))
    block = lightcnn.ResBlock()
    shapes = jax.eval_shape(block.init, jax.random.key(0), x)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    np.testing.assert_array_equal(block.apply(zeros, x), x)


@pytest.mark.parametrize(
    ("name", "wide"), [("lightcnn9", True), ("lightcnn29v2", False)]
)
def test_the_embedding_reads_the_map_channel_by_channel(name, wide):
    model, variables, images = network(name, 128, embedding=True)
    # Unit 0 reads row 1, column 2 of channel 3 of the 8 x 8 map.
    kernel = np.zeros_like(variables["params"]["fc"]["kernel"])
    kernel[3 * 64 + 1 * 8 + 2, 0] = 1
    bias = np.zeros_like(variables["params"]["fc"]["bias"])
    bias[256:] = -np.inf  # the other half of the max-feature-map
    variables["params"]["fc"] = {"kernel": kernel, "bias": bias}
    features = jax.jit(model.apply)(variables, images).features
    map_ = features["map"]
    if not wide:  # the fourth pooling comes after the map
        windows = map_.reshape(2, 8, 2, 8, 2, 128)
        map_ = windows.max((2, 4)) + windows.mean((2, 4))
    assert features["embedding"].shape == (2, 256)
    np.testing.assert_allclose(features["embedding"][:, 0], map_[:, 1, 2, 3], rtol=1e-5)


def test_bad_images():
    model, variables, images = network("lightcnn9", 32)
    with pytest.raises(ConfigError, match=r"lightcnn9 expects grey images .*32, 3\)"):
        model.apply(variables, jnp.concatenate([images] * 3, axis=-1))
    model = models.create("lightcnn29v2", 0, embedding=True)
    with pytest.raises(ConfigError, match="of 128 x 128 images, got 32 x 32"):
        model.apply(variables, images)
