"""Deletion and insertion, of models that look at one place or at none."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.evaluate.insertion import (
    SHARES,
    area,
    create_step,
    curves,
    ranks,
    shuffled,
    without,
)
from jaxfer.models import Outputs


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    found = rng.integers(90, 110, (3, 8, 8, 3)).astype(np.uint8)
    found[:, :2, 4:6] = 250  # what the model below looks at
    return found


def test_the_order_falls_with_the_mask_and_ties_are_read():
    mask = jnp.asarray([[[0.0, 3.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]])
    rank = ranks(mask, 2, 2)
    np.testing.assert_array_equal(rank, [[[3, 0], [1, 2]], [[0, 1], [2, 3]]])
    large = np.asarray(ranks(mask, 8, 8))
    assert all(sorted(r.ravel()) == list(range(64)) for r in large)
    assert large[0, :3, 5:].max() < 16 and large[0, :2, :2].min() > 40


def test_what_is_deleted_is_what_would_be_inserted(images):
    rank = ranks(jnp.asarray(images[..., 0]), 8, 8)
    pixels, share = jnp.asarray(images), jnp.float32(0.25)
    rest = np.asarray(without(pixels, rank, share, jnp.bool_(False)))
    part = np.asarray(without(pixels, rank, share, jnp.bool_(True)))
    first = np.asarray(rank) < 16
    np.testing.assert_array_equal(part[first], images[first])
    np.testing.assert_array_equal(rest[~first], images[~first])
    mean = np.round(images.mean((1, 2)))[:, None, None]
    for hidden, place in ((part, ~first), (rest, first)):
        wanted = np.broadcast_to(mean, images.shape)[place]
        np.testing.assert_allclose(hidden[place], wanted, atol=1)


def test_a_model_that_sees_nothing_is_flat(images):
    step = create_step(lambda v, x: Outputs(v[None] + 0 * x[:, 0, 0].astype("float32")))
    rng = np.random.default_rng(1)
    mask = rng.random((3, 4, 4)).astype(np.float32)
    logits = np.array([0.0, 1.0, 3.0], np.float32)
    found = curves(step, jnp.asarray(logits), images, mask, np.array([2, 2, 0]))
    p = np.exp(logits) / np.exp(logits).sum()
    for curve in found:
        assert curve.shape == (3, len(SHARES))
        np.testing.assert_allclose(curve, curve[:, :1].repeat(11, 1), rtol=1e-6)
        np.testing.assert_allclose(area(curve), p[[2, 2, 0]], rtol=1e-5)


def test_a_mask_of_what_counts_beats_a_shuffled_one(images):
    def predict(v, x):
        seen = jnp.mean(x[:, :2, 4:6].astype(jnp.float32), axis=(1, 2, 3)) / 250
        return Outputs(jnp.stack([v * seen, jnp.zeros_like(seen)], axis=1))

    step = create_step(predict)
    mask = np.zeros((3, 4, 4), np.float32)
    mask[:, 0, 2] = 1
    random = shuffled(mask, np.random.default_rng(2))
    np.testing.assert_array_equal(
        np.sort(random.reshape(3, -1)), np.sort(mask.reshape(3, -1))
    )
    assert not np.array_equal(random, mask)
    told = np.zeros(3, int)
    right = curves(step, jnp.float32(20), images, mask, told)
    wrong = curves(step, jnp.float32(20), images, random, told)
    assert area(right.deletion).mean() < area(wrong.deletion).mean()
    assert area(right.insertion).mean() > area(wrong.insertion).mean()
    for curve in (right, wrong):  # nothing is gone at 0, nothing is left at 1
        np.testing.assert_array_equal(curve.deletion[:, 0], curve.insertion[:, -1])
        np.testing.assert_array_equal(curve.deletion[:, -1], curve.insertion[:, 0])
