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
    y = np.asarray(ops.random_affine(KEY, ramp, zoom=(0.8, 1.2)))[:, 16, :, 0]
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
        lambda k, x: ops.random_affine(k, x, degrees=9, translate=0.1, shear=5),
        lambda k, x: ops.random_light(k, x, brightness=0.3, contrast=0.3),
        lambda k, x: ops.random_noise(k, x, variance=30.0),
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


def test_a_probability_leaves_the_other_images_untouched():
    x = images(count=64)
    y = np.asarray(ops.random_affine(KEY, x, degrees=20, probability=0.3))
    changed = (y != np.asarray(x)).any(axis=(1, 2, 3))
    assert 8 <= changed.sum() <= 32


def test_shear_moves_rows_in_proportion_to_their_height():
    ramp = jnp.broadcast_to(jnp.arange(33.0)[None, None, :, None], (8, 33, 33, 1))
    y = np.asarray(ops.random_affine(KEY, ramp, shear=20))[..., 0]
    shift = y[:, 12:21, 16] - 16  # near the centre no edge interferes
    slope = shift[:, :1] / -4
    assert np.ptp(slope) > 0.1
    np.testing.assert_allclose(shift, slope * np.arange(-4, 5), atol=1e-4)


def test_light_keeps_the_order_of_pixels_and_the_range():
    x = images(count=8) * 0.5 + 0.25
    y = np.asarray(ops.random_light(KEY, x, brightness=0.2, contrast=0.2))
    assert y.min() >= 0 and y.max() <= 1
    for before, after in zip(np.asarray(x).reshape(8, -1), y.reshape(8, -1)):
        assert (np.diff(after[np.argsort(before)]) >= -1e-6).all()
    same = ops.random_light(KEY, x)
    chex.assert_trees_all_close(same, x, atol=1e-6)


def test_noise_has_the_variance_asked_for():
    x = jnp.full((4, 64, 64, 3), 0.5)
    y = ops.random_noise(KEY, x, variance=30.0, probability=1.0)
    assert abs(float(jnp.var((y - x) * 255)) - 30) < 1.5


def test_mixup_mixes_images_and_targets_by_the_same_share():
    x = jnp.arange(16.0).reshape(16, 1, 1, 1) * jnp.ones((1, 3, 3, 2))
    targets = jax.nn.one_hot(jnp.arange(16), 16)
    mixed, labels = ops.mixup(KEY, x, targets, alpha=1.0)
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    expected = labels @ jnp.arange(16.0)[:, None]
    np.testing.assert_allclose(mixed[:, 0, 0, :1], expected, rtol=1e-5)
    assert (jnp.argmax(labels, axis=1) == jnp.arange(16)).all()
    assert float(jnp.min(jnp.max(labels, axis=1))) < 0.9
