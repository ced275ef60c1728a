import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import models
from jaxfer.errors import ConfigError
from jaxfer.models import backbone, resnet


def shapes(name, size, classes=7, **options):
    model = models.create(name, classes, **options)
    images = jnp.zeros((1, *size, 3))
    return jax.eval_shape(model.init_with_output, jax.random.key(0), images)


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("resnet18", 1000, 11_689_512),
        ("resnet50", 1000, 25_557_032),
    ],
)
def test_parameter_count(name, classes, parameters):
    _, variables = shapes(name, (224, 224), classes)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == parameters


# The first convolution leaves 112, 113 and 48 pixels. The pool leaves, by PyTorch's
# rule, floor((n - 1) / 2) + 1 with padding, and ceil((n - 3) / 2) + 1 without but in
# ceil mode: 56 and 56, 57 and 56, 24. Each of three stages halves that, rounding up.
@pytest.mark.parametrize(
    ("options", "size", "side"),
    [
        ({"stem": "torchvision"}, 224, 7),
        ({"stem": "vggface2"}, 224, 7),
        ({"stem": "torchvision"}, 226, 8),
        ({"stem": "vggface2"}, 226, 7),
        ({"stem": "vggface2"}, 96, 3),
        ({"small_images": True}, 48, 6),
    ],
)
def test_sizes_of_the_map(options, size, side):
    outputs, _ = shapes("resnet18", (size, size), width=0.25, **options)
    assert outputs.features["map"].shape == (1, side, side, 128)
    assert outputs.features["pooled"].shape == (1, 128)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("stem", resnet.STEMS)
def test_where_the_stride_lies(name, stem):
    convs = resnet.ResNetTrunk(int(name[6:]), stem)._convs(128, 2)
    expected = {
        ("resnet18", "torchvision"): [2, 1],
        ("resnet18", "vggface2"): [2, 1],
        ("resnet50", "torchvision"): [1, 2, 1],
        ("resnet50", "vggface2"): [2, 1, 1],
    }
    assert [stride for _, _, stride in convs] == expected[name, stem]


def test_a_block_whose_last_scale_is_zero_is_its_shortcut():
    block = resnet.Residual(((8, 1, 1), (8, 3, 1)))
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 8)).astype(np.float32)
    shapes = jax.eval_shape(block.init, jax.random.key(1), x)
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    apply = jax.jit(block.apply)
    assert (apply(variables, x) != np.maximum(x, 0)).any()
    for name in ("scale", "bias"):
        variables["params"]["bn2"][name][:] = 0
    np.testing.assert_array_equal(apply(variables, x), np.maximum(x, 0))
    assert not any("downsample" in name for name in variables["params"])


def test_he_initialisation():
    kernel = backbone.he_fan_out(jax.random.key(0), (3, 3, 32, 64))
    assert kernel.shape == (3, 3, 32, 64)
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 64)), rtol=0.02)
    assert abs(kernel.mean()) < 0.02 * kernel.std()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stem": "tf"}, "resnet50 stem must be one of torchvision, vggface2, got"),
        ({"width": 0.0}, "resnet50 width must be positive, got 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        models.create("resnet50", 7, **options)
