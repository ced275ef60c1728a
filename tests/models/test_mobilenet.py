import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import models
from jaxfer.errors import ConfigError
from jaxfer.models import backbone, mobilenet


@pytest.mark.parametrize(
    ("options", "size", "shape", "parameters"),
    [
        ({}, 224, (1, 7, 7, 1280), 3_504_872),
        ({"small_images": True}, 48, (1, 3, 3, 1280), 3_504_872),
        ({"width": 0.25}, 64, (1, 2, 2, 320), None),
    ],
)
def test_shapes_and_parameter_count(options, size, shape, parameters):
    model = models.create("mobilenet_v2", 1000, **options)
    outputs, variables = jax.eval_shape(
        model.init_with_output, jax.random.key(0), jnp.zeros((1, size, size, 3))
    )
    assert outputs.features["map"].shape == shape
    assert outputs.logits.shape == (1, 1000)
    if parameters:
        count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        assert count == parameters


@pytest.mark.parametrize(
    ("stride", "channels", "expansion"), [(1, 8, 1), (2, 8, 6), (1, 16, 6)]
)
def test_a_block_whose_projection_is_zero(stride, channels, expansion):
    block = mobilenet.InvertedResidual(channels, stride, expansion)
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 8)).astype(np.float32)
    shapes = jax.eval_shape(block.init, jax.random.key(1), x)
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    for name in ("scale", "bias"):
        variables["params"]["project_bn"][name][:] = 0
    shortcut = stride == 1 and channels == 8
    expected = x if shortcut else np.zeros((2, 6 // stride, 6 // stride, channels))
    np.testing.assert_array_equal(jax.jit(block.apply)(variables, x), expected)
    assert ("expand_conv" in variables["params"]) == (expansion > 1)


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [(32, 1, 32), (32, 0.35, 16), (24, 0.5, 16), (64, 0.01, 8), (1280, 1.4, 1792)],
)
def test_channels_are_multiples_of_eight(channels, width, expected):
    assert backbone.scaled(channels, width) == expected


def test_a_width_of_zero():
    with pytest.raises(ConfigError, match="mobilenet_v2 width must be positive"):
        models.create("mobilenet_v2", 7, width=0.0)
