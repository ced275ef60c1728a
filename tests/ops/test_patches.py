import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import ops


def by_splitting(images, grid):
    """Rows first, then columns, each stacked on the channels."""
    rows = np.concatenate(np.split(images, grid, axis=1), axis=-1)
    return np.concatenate(np.split(rows, grid, axis=2), axis=-1)


@pytest.mark.parametrize(
    ("shape", "grid"), [((2, 14, 14, 3), 7), ((1, 6, 9, 2), 3), ((2, 4, 5, 1), 1)]
)
def test_equals_splitting_rows_then_columns(shape, grid):
    images = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.testing.assert_array_equal(
        ops.patches_to_channels(jnp.asarray(images), grid), by_splitting(images, grid)
    )


def test_channel_order():
    images = np.random.default_rng(0).random((2, 21, 28, 3), np.float32)
    stacked = ops.patches_to_channels(jnp.asarray(images), 7)
    assert stacked.shape == (2, 3, 4, 147)
    row, col, c = 5, 2, 1
    np.testing.assert_array_equal(
        stacked[..., col * 21 + row * 3 + c], images[:, 15:18, 8:12, c]
    )


def test_keeps_the_type():
    images = jnp.zeros((1, 7, 7, 3), jnp.uint8)
    assert ops.patches_to_channels(images).dtype == jnp.uint8


@pytest.mark.parametrize("shape", [(1, 15, 14, 3), (1, 14, 15, 3)])
def test_a_grid_that_does_not_divide(shape):
    with pytest.raises(ValueError, match=r"sides 7 divides, got 1[45]x1[45]"):
        ops.patches_to_channels(jnp.zeros(shape))
