import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import models, weights
from jaxfer.errors import WeightsError


def marked(system, classes=6):
    """Arrays of the released code's names and shapes, cheap to make."""
    rows = golden_rule.load("fersnet")[1]["weights"][system]
    arrays = {name: np.zeros(shape, np.float32) for name, _, shape, *_ in rows}
    return {
        name: array if classes == 6 else reshaped(name, array, classes)
        for name, array in arrays.items()
    }


def reshaped(name, array, classes):
    """The array with another number of classes."""
    shape = list(array.shape)
    if "style_1d.weight" in name:
        shape[1] = classes
    elif name.startswith("classifier.classifier"):
        shape[0] = classes
    elif name == "model.0.weight":
        shape[1] = 3 + classes
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("name", "system"),
    [("fersnet", "fersnet"), ("fersnet_discriminator", "fersdis")],
)
def test_the_number_of_classes_comes_from_the_arrays(name, system):
    variables = weights.from_official(name, marked(system, classes=7))
    model = models.create(name, 7)
    images, target = jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 7))
    expected = jax.eval_shape(model.init, jax.random.key(0), images, target)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, expected)


def test_a_transposed_convolution_is_not_flipped():
    arrays = marked("fersnet")
    name = "decoder.module.28.weight"  # (in, out, height, width)
    arrays[name][5, 7, 1, 2] = 1
    kernel = weights.from_official("fersnet", arrays)["params"]["decoder"]["up0"]
    assert kernel["kernel"][1, 2, 7, 5] == 1 and kernel["kernel"].sum() == 1


def test_missing_names_are_listed():
    arrays = marked("fersnet")
    del arrays["classifier.classifier.bias"], arrays["leakyunitxy2.U.weight"]
    with pytest.raises(
        WeightsError, match=r"missing \(2\): leakyunitxy2.U.weight; classifier"
    ):
        weights.from_official("fersnet", arrays, num_classes=6)


def test_ablations_have_no_released_weights():
    with pytest.raises(WeightsError, match="feature_sharing='flu', got 'hard'"):
        weights.from_official("fersnet", {}, feature_sharing="hard")


def released_lightcnn9():
    """With the layers that follow the features, as released."""
    arrays = marked("lightcnn9") | {
        "fc1.filter.weight": np.ones((512, 8192), np.float32),
        "fc1.filter.bias": np.ones(512, np.float32),
        "fc2.weight": np.ones((10, 256), np.float32),
        "fc2.bias": np.ones(10, np.float32),
    }
    return {f"module.{name}": array for name, array in arrays.items()}


def test_lightcnn_ignores_what_follows_its_last_layer():
    arrays = released_lightcnn9()
    params = weights.from_official("lightcnn9", arrays)["params"]
    assert set(params) == {"conv1", "group1", "group2", "group3", "group4"}
    params = weights.from_official("lightcnn9", arrays, embedding=True)["params"]
    assert params["fc"]["kernel"].shape == (8192, 512)
    del arrays["module.features.7.conv.filter.bias"]
    with pytest.raises(WeightsError, match=r"missing \(1\): features.7.conv.filter.b"):
        weights.from_official("lightcnn9", arrays)


def released_lightcnn29v2():
    """Names and shapes of the released 29-layer network, version 2."""
    layers = {"conv1": (96, 1, 5, 5)}
    channels = 48
    for level, features in enumerate((96, 192, 128, 128), start=1):
        for i in range(level):
            for conv in ("conv1", "conv2"):
                shape = (2 * channels, channels, 3, 3)
                layers[f"block{level}.{i}.{conv}"] = shape
        layers[f"group{level}.conv_a"] = (2 * channels, channels, 1, 1)
        layers[f"group{level}.conv"] = (2 * features, channels, 3, 3)
        channels = features
    arrays = {}
    for name, shape in layers.items():
        arrays[f"{name}.filter.weight"] = np.zeros(shape, np.float32)
        arrays[f"{name}.filter.bias"] = np.zeros(shape[0], np.float32)
    arrays["fc.weight"] = np.zeros((256, 8192), np.float32)
    arrays["fc.bias"] = np.zeros(256, np.float32)
    return arrays | {"fc2.weight": np.zeros((10, 256), np.float32)}


@pytest.mark.parametrize("embedding", [False, True])
def test_lightcnn29v2_takes_the_released_names(embedding):
    arrays = released_lightcnn29v2()
    options = {"embedding": embedding}
    params = weights.from_official("lightcnn29v2", arrays, **options)["params"]
    assert ("fc" in params) == embedding
    del arrays["block4.3.conv2.filter.weight"]
    with pytest.raises(WeightsError, match=r"missing \(1\): block4.3.conv2.filter.w"):
        weights.from_official("lightcnn29v2", arrays, **options)
