import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import losses

CLASSES, WIDTH = 4, 6
LABELS = np.array([3, 0, 1, 3, 2], np.int32)
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.standard_normal((5, WIDTH)).astype(np.float32)
CENTERS = RANDOM.standard_normal((CLASSES, WIDTH)).astype(np.float32)
OWN = np.eye(CLASSES, dtype=bool)[LABELS]

cosine_margin = jax.jit(losses.cosine_margin_logits, static_argnums=(3, 4))
angular_margin = jax.jit(losses.angular_margin_logits, static_argnums=(3, 4))
each_margin = pytest.mark.parametrize("logits", [cosine_margin, angular_margin])


@functools.cache
def compiled(loss):
    """Values and the gradients of their sum by features and centers."""

    def total(features, centers, labels):
        values = loss(features, labels, centers)
        return jnp.sum(values), values

    return jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))


def value_and_gradients(loss, features, centers, labels=LABELS):
    (_, values), gradients = compiled(loss)(features, centers, labels)
    return np.asarray(values), *map(np.asarray, gradients)


def center(*arguments):
    return value_and_gradients(losses.center_loss, *arguments)


def affinity(*arguments):
    return value_and_gradients(losses.affinity_loss, *arguments)


def cosines(x, y):
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    y = y / np.linalg.norm(y, axis=1, keepdims=True)
    return x @ y.T


def test_center_loss_leads_to_the_center():
    _, slope, _ = center(FEATURES, CENTERS)
    np.testing.assert_allclose(FEATURES - slope, CENTERS[LABELS], rtol=1e-5, atol=1e-6)
    values, _, _ = center(CENTERS[LABELS], CENTERS)
    np.testing.assert_array_equal(values, np.zeros(5))


def test_center_loss_is_least_at_the_class_means():
    means = np.stack([FEATURES[k == LABELS].mean(axis=0) for k in range(CLASSES)])
    _, _, slope = center(FEATURES, means)
    np.testing.assert_allclose(slope, np.zeros((CLASSES, WIDTH)), atol=1e-6)


def test_affinity_is_the_center_loss_over_the_spread_of_the_centers():
    expected = 2 * center(FEATURES, CENTERS)[0] / np.trace(np.cov(CENTERS.T))
    np.testing.assert_allclose(affinity(FEATURES, CENTERS)[0], expected, rtol=1e-5)


def test_affinity_does_not_see_scale_or_place():
    np.testing.assert_allclose(
        affinity(7 * FEATURES + 2, 7 * CENTERS + 2)[0],
        affinity(FEATURES, CENTERS)[0],
        rtol=1e-4,
    )


def test_affinity_spreads_the_centers():
    _, _, slope = affinity(CENTERS[LABELS] + 1, CENTERS)
    moved = CENTERS - 0.1 * slope
    assert moved.var(axis=0).sum() > CENTERS.var(axis=0).sum()


def test_affinity_of_centers_that_coincide():
    values, *gradients = affinity(FEATURES, np.full_like(CENTERS, 0.3))
    np.testing.assert_array_equal(values, np.zeros(5))
    assert not any(g.any() for g in gradients)


@each_margin
def test_without_a_margin_they_are_scaled_cosines(logits):
    np.testing.assert_allclose(
        logits(FEATURES, CENTERS, LABELS, 0.0, 10.0),
        10 * cosines(FEATURES, CENTERS),
        rtol=1e-4,
        atol=1e-5,
    )


@each_margin
def test_the_margin_is_on_the_own_class_alone_and_makes_it_harder(logits):
    plain = np.asarray(logits(FEATURES, CENTERS, LABELS, 0.0, 10.0))
    hard = np.asarray(logits(FEATURES, CENTERS, LABELS, 0.3, 10.0))
    np.testing.assert_array_equal(hard[~OWN], plain[~OWN])
    assert (hard[OWN] < plain[OWN]).all()


@each_margin
def test_lengths_do_not_matter(logits):
    np.testing.assert_allclose(
        logits(100 * FEATURES, CENTERS / 100, LABELS, 0.3, 10.0),
        logits(FEATURES, CENTERS, LABELS, 0.3, 10.0),
        rtol=1e-4,
        atol=1e-4,
    )


def own_score(angles, margin):
    """The own class's score of embeddings at these angles to its vector."""
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    y = np.array([[1, 0], [0, -1]], np.float32)
    labels = np.zeros(len(angles), np.int32)
    return np.asarray(angular_margin(x, y, labels, margin, 1.0))[:, 0]


def test_the_angle_grows_by_the_margin():
    angles = np.linspace(0, np.pi - 0.51, 50)
    np.testing.assert_allclose(own_score(angles, 0.5), np.cos(angles + 0.5), atol=1e-6)


def test_small_angles_keep_their_digits():
    angles = np.array([1e-6, 1e-5, 1e-4])
    np.testing.assert_allclose(own_score(angles, np.pi / 2), -np.sin(angles), rtol=1e-3)


def test_the_own_score_falls_with_the_angle_up_to_pi():
    scores = own_score(np.linspace(0, np.pi, 50), 0.5)
    assert (np.diff(scores) < 1e-6).all()
    np.testing.assert_allclose(scores[-1], -1 - 0.5 * np.sin(0.5), rtol=1e-6)


@each_margin
def test_gradients_are_finite_and_bounded_where_the_cosine_is_one(logits):
    first = CENTERS[:1]
    features = np.concatenate(
        [first, -first, 0 * first, first * (1 + 2e-7), first + 1e-7]
    )
    labels = np.zeros(5, np.int32)

    @jax.jit
    @jax.grad
    def slope(arrays):
        return losses.cross_entropy(logits(*arrays, labels), labels).sum()

    for weights in [CENTERS, 0 * CENTERS]:
        for gradient in slope((features, weights)):
            assert np.abs(gradient).max() < 1e3


@each_margin
def test_the_gradient_is_that_of_the_formula(logits):
    def plain(x):
        x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
        c = x @ (CENTERS / np.linalg.norm(CENTERS, axis=1, keepdims=True)).T
        harder = c - 0.2 if logits is cosine_margin else jnp.cos(jnp.arccos(c) + 0.2)
        return jnp.sum(jnp.sin(5 * jnp.where(OWN, harder, c)))

    def ours(x):
        return jnp.sum(jnp.sin(logits(x, CENTERS, LABELS, 0.2, 5.0)))

    gradient, expected = jax.jit(lambda x: (jax.grad(ours)(x), jax.grad(plain)(x)))(
        FEATURES
    )
    np.testing.assert_allclose(gradient, expected, atol=1e-4)


@each_margin
def test_a_class_outside_has_no_margin(logits):
    for label in [-1, CLASSES]:
        np.testing.assert_array_equal(
            logits(FEATURES, CENTERS, np.full(5, label, np.int32), 0.3, 10.0),
            logits(FEATURES, CENTERS, LABELS, 0.0, 10.0),
        )


@pytest.mark.parametrize("label", [-1, CLASSES])
@pytest.mark.parametrize("loss", [center, affinity])
def test_a_class_that_does_not_exist_is_nan(loss, label):
    labels = np.where(np.arange(5) == 1, label, LABELS).astype(np.int32)
    values, _, _ = loss(FEATURES, CENTERS, labels)
    np.testing.assert_array_equal(np.isnan(values), np.arange(5) == 1)


@pytest.mark.parametrize(
    ["features", "labels", "centers"],
    [
        (FEATURES, LABELS, CENTERS.T),
        (FEATURES, LABELS[1:], CENTERS),
        (FEATURES, LABELS.astype(np.float32), CENTERS),
        (FEATURES[:, None], LABELS, CENTERS),
    ],
)
def test_shapes_that_do_not_fit(features, labels, centers):
    for loss in [losses.center_loss, losses.affinity_loss]:
        with pytest.raises(ValueError, match=r"expected vectors \(B, D\)"):
            loss(features, labels, centers)
    for logits in [losses.cosine_margin_logits, losses.angular_margin_logits]:
        with pytest.raises(ValueError, match=r"weights \(K, D\), got"):
            logits(features, centers, labels)


def test_one_center_has_no_spread():
    with pytest.raises(ValueError, match="at least two centers, got 1"):
        losses.affinity_loss(FEATURES, LABELS, CENTERS[:1])
