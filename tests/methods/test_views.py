import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import ops
from jaxfer.methods import eac
from jaxfer.methods.views import normalize, prepare, views

KEY = jax.random.key(3)
GEOMETRY = {"augment.flip": True, "augment.rotate": 20.0, "augment.translate": 0.2}


def images(seed=0, count=16, size=24):
    shape = (count, size, size, 3)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def two(key=KEY, **fields):
    """Both views, without noise and erasing unless `fields` say so."""
    config = eac.default_config()
    config.update_from_flattened_dict(
        {"augment.noise": 0.0, "augment.erase": 0.0} | fields
    )
    return views(key, images(), config, 24)


def mirrored(view):
    return view[:, :, ::-1]


@pytest.mark.parametrize("second_view", ["flip", "independent"])
def test_places_correspond_whatever_the_geometry(second_view):
    first, second = two(**{"method.second_view": second_view}, **GEOMETRY)
    chex.assert_trees_all_close(second, mirrored(first))
    plain = two(**{"method.second_view": second_view})
    assert not np.allclose(first, plain[0], atol=0.5)


def test_the_flip_is_exact_with_the_same_noise_and_erasing():
    disturbed = {"augment.noise": 30.0, "augment.erase": 1.0}
    first, second = two(**{"method.second_view": "flip"}, **disturbed)
    chex.assert_trees_all_equal(second, mirrored(first))
    assert (np.asarray(first) == 0).all(-1).any()  # erased


def test_the_independent_view_has_no_noise():
    noisy = {"augment.noise": 30.0, "augment.noise_probability": 1.0}
    first, second = two(**{"method.second_view": "independent"}, **noisy, **GEOMETRY)
    calm, _ = two(**{"method.second_view": "independent"}, **GEOMETRY)
    chex.assert_trees_all_close(second, mirrored(calm))
    assert not np.allclose(first, calm, atol=0.05)


def test_the_independent_view_is_erased_elsewhere():
    first, second = two(**{"method.second_view": "independent", "augment.erase": 1.0})
    original = normalize(jnp.asarray(images() / 255, jnp.float32))
    erased = [
        np.asarray(jnp.abs(view - original).max(axis=-1) > 1e-5)
        for view in (first, mirrored(second))
    ]
    shares = [one.mean(axis=(1, 2)) for one in erased]
    for share in shares:
        assert (share > 0.015).all() and (share < 0.3).all()
    same = [np.array_equal(a, b) for a, b in zip(*erased, strict=True)]
    assert not any(same)


@pytest.mark.parametrize("second_view", ["flip", "independent"])
def test_views_follow_from_the_key(second_view):
    fields = {"method.second_view": second_view, "augment.erase": 1.0} | GEOMETRY
    once, again, other = (two(key, **fields) for key in (KEY, KEY, jax.random.key(4)))
    chex.assert_trees_all_equal(once, again)
    for here, there in zip(once, other, strict=True):
        assert not np.allclose(here, there)


def test_without_consistency_there_is_one_view():
    assert len(two(**{"method.consistency": 0.0})) == 1


def test_colours_are_taken_away_where_a_recipe_says_so():
    images = np.random.default_rng(0).random((2, 6, 6, 3), np.float32)
    grey = np.repeat(np.asarray(ops.grayscale(jnp.asarray(images))), 3, axis=-1)
    seen = prepare(jnp.asarray(images), 6, grey=True)
    np.testing.assert_allclose(seen, normalize(jnp.asarray(grey)), rtol=1e-5)
    assert not np.allclose(seen, prepare(jnp.asarray(images), 6))
    # Grey images stay as they are, to four digits.
    same = prepare(jnp.asarray(grey), 6, grey=True)
    np.testing.assert_allclose(same, prepare(jnp.asarray(grey), 6), atol=1e-3)
