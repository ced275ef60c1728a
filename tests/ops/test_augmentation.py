import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import ops

KEY = jax.random.key(0)


def images(count=6, height=10, width=12):
    x = np.random.default_rng(0).random((count, height, width, 3), np.float32)
    return jnp.asarray(x)


def test_flip_mirrors_all_none_or_some():
    x = images(count=200, height=2, width=3)
    chex.assert_trees_all_equal(ops.random_flip(KEY, x, 0.0), x)
    chex.assert_trees_all_equal(ops.random_flip(KEY, x, 1.0), x[:, :, ::-1])
    y = ops.random_flip(KEY, x)
    flipped = np.all(np.asarray(y == x[:, :, ::-1]), axis=(1, 2, 3))
    kept = np.all(np.asarray(y == x), axis=(1, 2, 3))
    assert np.all(flipped | kept) and 60 < flipped.sum() < 140


def test_no_affine_change_is_the_identity():
    x = images()
    chex.assert_trees_all_close(ops.random_affine(KEY, x), x, atol=1e-6)


def test_a_shift_moves_the_image_and_repeats_its_edge():
    # Find the shift that the key draws, from an image that tells its columns.
    ramp = jnp.broadcast_to(jnp.arange(32.0)[None, None, :, None], (4, 32, 32, 1))
    y = np.asarray(ops.random_affine(KEY, ramp, translate=0.25))
    shift = 16 - y[:, 16, 16, 0]
    assert np.all(np.abs(shift) <= 8) and np.ptp(shift) > 0.5
    expected = np.clip(np.arange(32)[None] - shift[:, None], 0, 31)
    np.testing.assert_allclose(y[:, 16, :, 0], expected, atol=1e-4)


def test_rotation_about_the_centre_keeps_the_centre_and_radial_images():
    row, col = np.mgrid[:33, :33] - 16.0
    radial = np.exp(-(row**2 + col**2) / 80).astype(np.float32)[None, ..., None]
    y = ops.random_affine(KEY, jnp.asarray(radial), degrees=90.0)
    # Half a pixel off the centre would differ by 0.05; bilinear reading by 0.006.
    np.testing.assert_allclose(
        np.asarray(y)[0, 8:25, 8:25], radial[0, 8:25, 8:25], atol=1e-2
    )


def test_zoom_scales_distances_from_the_centre():
    ramp = jnp.broadcast_to(
        (jnp.arange(33.0) - 16)[None, None, :, None], (8, 33, 33, 1)
    )
    y = np.asarray(ops.random_affine(KEY, ramp, scale=0.2))[:, 16, :, 0]
    zoom = 4 / y[:, 20]
    assert np.all((zoom > 0.8) & (zoom < 1.2)) and np.ptp(zoom) > 0.05
    np.testing.assert_allclose(y[:, 18], 2 / zoom, rtol=1e-4)


def test_erasing_writes_one_rectangle_of_the_right_size():
    x = images(count=64, height=32, width=32) + 1
    y = np.asarray(ops.random_erasing(KEY, x, probability=1.0, value=0.5))
    changed = (y != np.asarray(x)).all(axis=-1)
    for mask in changed:
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == len(rows) * len(cols) > 0  # a full rectangle
        assert rows[-1] - rows[0] + 1 == len(rows)
    share = changed.mean(axis=(1, 2))
    assert share.min() > 0.01 and share.max() < 0.28
    assert (y[changed] == 0.5).all()
    untouched = ops.random_erasing(KEY, x, probability=0.0)
    chex.assert_trees_all_equal(untouched, x)


@pytest.mark.parametrize(
    "change",
    [
        ops.random_flip,
        ops.random_erasing,
        lambda k, x: ops.random_affine(k, x, degrees=9, translate=0.1, scale=0.1),
    ],
)
def test_changes_depend_on_the_key_alone(change):
    x = images(count=16)
    other = jax.random.key(1)
    chex.assert_trees_all_equal(change(KEY, x), change(KEY, x))
    assert not np.array_equal(change(KEY, x), change(other, x))
    assert change(KEY, x).dtype == x.dtype


def test_resize_keeps_constants_and_passes_equal_sizes_through():
    x = images(height=10, width=10)
    assert ops.resize(x, 10) is x
    flat = jnp.full((2, 10, 10, 3), 0.25)
    chex.assert_trees_all_close(ops.resize(flat, 23), jnp.full((2, 23, 23, 3), 0.25))
