import functools

import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import losses

MINING = {
    "hard": losses.batch_hard_triplet,
    "semi_hard": losses.semi_hard_triplet,
    "all": losses.batch_all_triplet,
}
LABELS = np.array([0, 1, 0, 2, 1, 0, 2, 1, 3], np.int32)
X = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)

each_mining = pytest.mark.parametrize("mining", MINING)


@functools.cache
def compiled(mining):
    def total(x, labels, margin):
        values = MINING[mining](x, labels, margin)
        return jnp.mean(values), values

    return jax.jit(jax.value_and_grad(total, has_aux=True))


def run(mining, x, labels=LABELS, margin=1.0):
    """Values (B,) and the gradient of their mean."""
    (_, values), gradient = compiled(mining)(x, labels, margin)
    return np.asarray(values), np.asarray(gradient)


def by_loops(mining, x, labels, margin):
    """The definitions, one anchor, one positive, one negative at a time."""
    x = np.asarray(x, float)
    values = []
    for a in range(len(x)):
        d = ((x - x[a]) ** 2).sum(axis=1)
        own = [d[p] for p in range(len(x)) if labels[p] == labels[a] and p != a]
        others = [d[n] for n in range(len(x)) if labels[n] != labels[a]]
        hinges = []
        if mining == "hard" and others:
            hinges = [max([0, *own]) - min(others) + margin]
        if mining == "semi_hard" and others:
            for p in own:
                farther = [n for n in others if n > p]
                hinges.append(p - (min(farther) if farther else max(others)) + margin)
        if mining == "all":
            hinges = [p - n + margin for p in own for n in others]
        values.append(np.maximum(hinges, 0).mean() if hinges else 0.0)
    return np.array(values)


@pytest.mark.parametrize("margin", [0.0, 0.5, 6.0])
@each_mining
def test_equals_its_definition(mining, margin):
    expected = by_loops(mining, X, LABELS, margin)
    values, _ = run(mining, X, margin=margin)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)


def test_no_triplet_is_worse_than_the_hardest():
    hard, _ = run("hard", X)
    for mining in ["semi_hard", "all"]:
        assert (run(mining, X)[0] <= hard + 1e-5).all()
        assert (run(mining, X)[0] < hard - 1e-5).any()


@each_mining
def test_classes_far_apart_cost_nothing(mining):
    values, gradient = run(mining, X + 100 * LABELS[:, None].astype(np.float32))
    assert not values.any()
    assert not gradient.any()


@each_mining
def test_a_batch_of_one_class_costs_nothing(mining):
    values, gradient = run(mining, X, np.zeros(9, np.int32))
    assert not values.any()
    assert not gradient.any()


def test_images_are_vectors_of_pixels():
    values, gradient = run("hard", X.reshape(9, 2, 2, 1))
    expected, slopes = run("hard", X)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient.reshape(9, 4), slopes, rtol=1e-5, atol=1e-7)


@each_mining
def test_moving_all_examples_changes_nothing(mining):
    values, gradient = run(mining, X + 300)
    expected, slopes = run(mining, X)
    np.testing.assert_allclose(values, expected, atol=2e-3)
    np.testing.assert_allclose(gradient, slopes, atol=2e-3)


@each_mining
def test_examples_at_one_place_cost_the_margin(mining):
    values, gradient = run(mining, np.full_like(X, 1000.3), margin=0.3)
    # The only example of class 3 has no other positive.
    expected = np.where((LABELS == 3) & (mining != "hard"), 0, 0.3)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, np.zeros((9, 4)), atol=1e-3)


def test_distances_of_what_was_mined_keep_their_digits():
    near = 1000 + 0.01 * X
    values, _ = run("hard", near, margin=0.0)
    np.testing.assert_allclose(values, by_loops("hard", near, LABELS, 0), rtol=1e-5)


@each_mining
@pytest.mark.parametrize(
    "labels", [LABELS[:3], LABELS.astype(np.float32), LABELS[:, None]]
)
def test_labels_that_do_not_fit(mining, labels):
    with pytest.raises(ValueError, match=r"expected integer labels \(B,\)"):
        MINING[mining](X, labels)


GOLDEN, INDEX = golden_rule.load("losses")


@functools.cache
def batch_hard():
    """The loss and its gradient, as one program for all cases."""

    def loss_fn(x, labels, margin, where):
        values = losses.batch_hard_triplet(x, labels, margin, where=where)
        return losses.mean(values, where)

    return jax.jit(jax.value_and_grad(loss_fn))


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("case", INDEX["triplet"])
def test_batch_hard_equals_the_reference_loop(case, double):
    x, labels, margin, loss, expected = (
        GOLDEN[f"triplet/{case}/{key}"] for key in ["x", "y", "alpha", "loss", "grad"]
    )
    batch, width = x.shape
    padding = ((0, 32 - batch), (0, 128 - width))  # rows masked, columns all equal
    dtype, tolerance = (np.float64, 1e-7) if double else (np.float32, 1e-5)
    with jax.enable_x64(double):
        value, gradient = batch_hard()(
            np.pad(x, padding, constant_values=2).astype(dtype),
            np.pad(labels, padding[0]),
            float(margin),
            np.arange(32) < batch,
        )
    np.testing.assert_allclose(value, loss, rtol=tolerance)
    np.testing.assert_allclose(
        gradient,
        np.pad(expected, padding),
        atol=tolerance * np.abs(expected).max(),
    )
