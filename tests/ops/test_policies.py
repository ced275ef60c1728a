import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jaxfer import ops
from jaxfer.ops.policies import CHANGES, change

KEY = jax.random.key(0)
PICTURE = np.random.default_rng(0).integers(20, 231, (24, 24, 3)).astype(np.uint8)

changed = jax.jit(change)
POLICIES = {
    "rand_augment": jax.jit(functools.partial(ops.rand_augment, num_ops=2)),
    "trivial_augment": jax.jit(ops.trivial_augment),
}


def images(count=64):
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.random((count, 12, 16, 3), np.float32))


def every_change(picture, magnitude):
    """The picture after each change alone, by name."""
    count = len(CHANGES)
    batch = jnp.broadcast_to(picture[None], (count, *picture.shape))
    which = jnp.arange(count, dtype=jnp.int32)[:, None]
    found = changed(batch, which, jnp.full((count, 1), magnitude, jnp.float32))
    return dict(zip(CHANGES, np.asarray(found)))


PILLOW = {
    "identity": lambda x, m: x,
    "color": lambda x, m: ImageEnhance.Color(x).enhance(1 + 0.9 * m),
    "contrast": lambda x, m: ImageEnhance.Contrast(x).enhance(1 + 0.9 * m),
    "brightness": lambda x, m: ImageEnhance.Brightness(x).enhance(1 + 0.9 * m),
    "sharpness": lambda x, m: ImageEnhance.Sharpness(x).enhance(1 + 0.9 * m),
    "posterize": lambda x, m: ImageOps.posterize(x, round(8 - 4 * abs(m))),
    "solarize": lambda x, m: ImageOps.solarize(x, 256 * (1 - abs(m))),
}
FULL = {
    "auto_contrast": lambda x, m: ImageOps.autocontrast(x),
    "equalize": lambda x, m: ImageOps.equalize(x),
}


@pytest.mark.parametrize("magnitude", [-1.0, -0.45, 0.3, 1.0])
def test_colors_change_as_pillow_changes_them(magnitude):
    found = every_change(jnp.asarray(PICTURE, jnp.float32) / 255, magnitude)
    oracles = PILLOW | (FULL if abs(magnitude) == 1 else {})
    for name, oracle in oracles.items():
        expected = np.asarray(oracle(Image.fromarray(PICTURE), magnitude), np.float32)
        # Pillow rounds or cuts to whole levels, the mean grey too.
        np.testing.assert_allclose(
            found[name] * 255, expected, atol=1.6, err_msg=name, rtol=0
        )
        assert name == "identity" or np.abs(found[name] * 255 - PICTURE).max() > 0.5


def test_geometric_changes_have_the_ranges_that_are_told():
    height, width = 20, 40
    rows, cols = np.mgrid[:height, :width].astype(np.float32)
    where = jnp.asarray(np.stack([rows, cols, rows], axis=-1) / width)
    found = {k: v * width for k, v in every_change(where, 0.5).items()}
    middle = slice(9, 11), slice(19, 21)  # whose surroundings are all in the image
    row, col = (rows - 9.5)[middle], (cols - 19.5)[middle]
    turn = np.deg2rad(15)
    expected = {
        "identity": (row, col),
        "shear_x": (row, col + 0.15 * row),
        "shear_y": (row + 0.15 * col, col),
        "translate_x": (row, col + 0.5 * 150 / 331 * width),
        "translate_y": (row + 0.5 * 150 / 331 * height, col),
        "rotate": (
            np.cos(turn) * row - np.sin(turn) * col,
            np.sin(turn) * row + np.cos(turn) * col,
        ),
    }
    for name, (r, c) in expected.items():
        np.testing.assert_allclose(found[name][middle][..., 0], r + 9.5, atol=1e-4)
        np.testing.assert_allclose(found[name][middle][..., 1], c + 19.5, atol=1e-4)


def test_changes_of_one_image_follow_each_other():
    x = jnp.full((2, 32, 32, 1), 0.2).at[:, 16, 20].set(0.9)
    names = ("translate_x", "rotate", "brightness"), ("brightness", "solarize", "color")
    which = jnp.array([[CHANGES.index(name) for name in row] for row in names])
    strength = jnp.array([[0.2, 1.0, 0.5], [-0.5, 0.95, 1.0]])
    moved, colored = np.asarray(changed(x, which, strength))
    # Brightened to 0.29; and darkened to 0.11 and 0.495, of which all is inverted.
    np.testing.assert_allclose(moved[0, 0, 0], 0.29, atol=1e-6)
    np.testing.assert_allclose(colored[0, 0, 0], 0.89, atol=1e-6)
    np.testing.assert_allclose(colored[16, 20, 0], 0.505, atol=1e-6)
    # The spot, shifted first and turned then, as the two do it alone.
    turned = changed(
        changed(x, which[:, :1], strength[:, :1]), which[:, 1:2], strength[:, 1:2]
    )
    bright = [np.unravel_index(a.argmax(), a.shape) for a in (moved, turned[0])]
    assert bright[0] == bright[1] != (16, 20, 0)


def test_without_strength_nothing_changes():
    x = images(len(CHANGES)).at[0, 0, 0].set(1.0)
    which = jnp.arange(len(CHANGES), dtype=jnp.int32)[:, None]
    which = jnp.concatenate([which, which[::-1]], axis=1)
    chex.assert_trees_all_equal(changed(x, which, jnp.zeros(which.shape)), x)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_keeps_the_range_and_depends_on_the_key_alone(policy):
    x, apply = images(), POLICIES[policy]
    y = apply(KEY, x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert 0 <= float(y.min()) <= float(y.max()) <= 1
    chex.assert_trees_all_equal(apply(KEY, x), y)
    assert not np.array_equal(apply(jax.random.key(1), x), y)
    half = jax.eval_shape(apply, KEY, x.astype(jnp.bfloat16))
    assert (half.shape, half.dtype) == (x.shape, jnp.bfloat16)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_image_draws_its_own_changes(policy):
    same = jnp.broadcast_to(images(1), (64, 12, 16, 3))
    y = np.asarray(POLICIES[policy](KEY, same))
    kept = (y == np.asarray(same)).all(axis=(1, 2, 3))
    kinds = len({image.tobytes() for image in y})
    # Of one change alone, the identity is one in fourteen.
    assert kinds > 30 and kept.sum() < 16
    assert kept.any() == (policy == "trivial_augment")


def test_one_image_is_changed_alike_alone_and_among_others():
    x = images(6)
    which = jax.random.randint(KEY, (6, 2), 0, len(CHANGES))
    strength = jax.random.uniform(KEY, (6, 2), minval=-1.0)
    whole = changed(x, which, strength)
    alone = [changed(x[i][None], which[i][None], strength[i][None])[0] for i in (0, 5)]
    chex.assert_trees_all_close(alone, [whole[0], whole[5]], atol=1e-6)


def test_flat_images_stay_flat():
    flat = jnp.full((8, 8, 3), 0.4)
    for name, found in every_change(flat, 0.7).items():
        assert np.ptp(found) < 1e-3 and np.isfinite(found).all(), name


def test_strength_is_drawn_up_to_the_largest_by_trivial_augment_alone():
    ramp = jnp.broadcast_to(
        jnp.linspace(0, 1, 64)[None, None, :, None], (512, 4, 64, 1)
    )
    seen = {}
    for policy, apply in (
        ("trivial_augment", ops.trivial_augment),
        ("rand_augment", functools.partial(ops.rand_augment, num_ops=1)),
    ):
        y = np.asarray(jax.jit(functools.partial(apply, magnitude=0.5))(KEY, ramp))
        brightness = y[:, 2, 32, 0] / np.asarray(ramp)[0, 2, 32, 0]
        scaled = np.isclose(y[:, 2, 16] / y[:, 2, 32], 16 / 32, atol=1e-4)[:, 0]
        seen[policy] = {round(float(v), 3) for v in brightness[scaled] if v < 0.95}
    assert seen["rand_augment"] == {0.55}
    assert len(seen["trivial_augment"]) > 8 and min(seen["trivial_augment"]) > 0.55
