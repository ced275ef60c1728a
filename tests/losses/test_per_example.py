"""What holds for every loss that gives one value per example."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import losses

BATCH, CLASSES, WIDTH = 8, 3, 5
ALL = np.ones(BATCH, bool)
WHERE = np.array([True, False, True, True, True, False, True, True])
LABELS = np.array([0, 1, 1, 2, 0, 1, 0, 2], np.int32)
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.standard_normal((BATCH, 2, 3, 2)).astype(np.float32)
CENTERS = RANDOM.standard_normal((CLASSES, WIDTH)).astype(np.float32)


def of_pairs(loss):
    return lambda x, labels, where: loss(x, jnp.sin(3 * x) + 0.1, where=where)


def of_scores(loss):
    return lambda x, labels, where: loss(x, where=where)


def of_centers(loss):
    def to_vectors(x, labels, where):
        return loss(x.reshape(-1, 12)[:, :WIDTH], labels, CENTERS, where=where)

    return to_vectors


def of_batches(loss):
    return lambda x, labels, where: loss(x, labels, 2.0, where=where)


LOSSES = {
    "attention_consistency": of_pairs(losses.attention_consistency),
    "mask_refinement": of_pairs(losses.mask_refinement),
    "pattern_reconstruction": of_pairs(losses.pattern_reconstruction),
    "reconstruction": of_pairs(losses.reconstruction),
    "squared_reconstruction": of_pairs(losses.squared_reconstruction),
    "identity": of_pairs(losses.identity),
    "cycle": of_pairs(losses.cycle),
    "least_squares_discriminator": of_pairs(losses.least_squares_discriminator),
    "least_squares_generator": of_scores(losses.least_squares_generator),
    "log_discriminator": of_pairs(losses.log_adversarial_discriminator),
    "log_generator": of_scores(losses.log_adversarial_generator),
    "saturating_generator": of_scores(
        functools.partial(losses.log_adversarial_generator, saturating=True)
    ),
    "center_loss": of_centers(losses.center_loss),
    "affinity_loss": of_centers(losses.affinity_loss),
    "batch_hard_triplet": of_batches(losses.batch_hard_triplet),
    "semi_hard_triplet": of_batches(losses.semi_hard_triplet),
    "batch_all_triplet": of_batches(losses.batch_all_triplet),
}
each_loss = pytest.mark.parametrize("name", LOSSES)


@functools.cache
def compiled(name):
    """Values and the gradient of their sum."""

    def total(x, labels, where):
        values = LOSSES[name](x, labels, where)
        return jnp.sum(values), values

    differentiated = jax.value_and_grad(total, has_aux=True)

    def run(x, labels, where):
        (_, values), gradient = differentiated(x, labels, where)
        return values, gradient

    return jax.jit(run)


@each_loss
def test_a_mask_equals_the_subset(name):
    values, gradient = map(np.asarray, compiled(name)(IMAGES, LABELS, WHERE))
    expected, slopes = compiled(name)(IMAGES[WHERE], LABELS[WHERE], None)
    assert values.shape == (BATCH,)
    assert np.any(expected)
    np.testing.assert_allclose(values[WHERE], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient[WHERE], slopes, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(values[~WHERE], np.zeros(2))
    np.testing.assert_array_equal(gradient[~WHERE], np.zeros((2, 2, 3, 2)))


@each_loss
def test_what_is_masked_may_hold_anything(name):
    broken = np.where(WHERE[:, None, None, None], IMAGES, np.float32(np.nan))
    padded = np.where(WHERE, LABELS, -1)
    values, gradient = map(np.asarray, compiled(name)(broken, padded, WHERE))
    expected, slopes = map(np.asarray, compiled(name)(IMAGES, LABELS, WHERE))
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(gradient[WHERE], slopes[WHERE])


@each_loss
def test_the_order_of_examples_does_not_matter(name):
    order = np.random.default_rng(1).permutation(BATCH)
    values, _ = compiled(name)(IMAGES[order], LABELS[order], ALL)
    expected = np.asarray(compiled(name)(IMAGES, LABELS, ALL)[0])[order]
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


@each_loss
@pytest.mark.parametrize("value", [0.0, 1.0, 1e4])
def test_equal_examples_have_finite_values_and_gradients(name, value):
    x = np.full_like(IMAGES, value)
    for result in compiled(name)(x, LABELS, ALL):
        assert np.isfinite(result).all()


@each_loss
def test_half_precision_gives_single_precision(name):
    half = jax.ShapeDtypeStruct(IMAGES.shape, jnp.bfloat16)
    values = jax.eval_shape(lambda x: LOSSES[name](x, LABELS, WHERE), half)
    assert values.dtype == jnp.float32


@pytest.mark.parametrize(
    "loss",
    [
        losses.attention_consistency,
        losses.mask_refinement,
        losses.pattern_reconstruction,
        losses.reconstruction,
        losses.squared_reconstruction,
        losses.identity,
        losses.cycle,
        losses.least_squares_discriminator,
        losses.log_adversarial_discriminator,
    ],
)
def test_shapes_that_differ(loss):
    with pytest.raises(ValueError, match=r"got \(8, 2, 3, 2\).*\(8, 2, 3, 1\)"):
        loss(IMAGES, IMAGES[..., :1])
