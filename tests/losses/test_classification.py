import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer import losses

BATCH, CLASSES = 6, 4


@pytest.fixture
def logits():
    return 3 * jax.random.normal(jax.random.key(0), (BATCH, CLASSES))


@pytest.fixture
def labels():
    return jax.random.randint(jax.random.key(1), (BATCH,), 0, CLASSES)


@pytest.fixture
def where():
    return jnp.asarray([True, False, True, True, False, True])


def one_hot(labels):
    return jax.nn.one_hot(labels, CLASSES)


def test_is_minus_the_log_of_the_softmax(logits, labels):
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        losses.cross_entropy(logits, labels),
        -np.log(probabilities[np.arange(BATCH), labels]),
        rtol=1e-5,
    )


def test_equals_optax(logits, labels):
    np.testing.assert_allclose(
        losses.cross_entropy(logits, labels),
        optax.softmax_cross_entropy_with_integer_labels(logits, labels),
        rtol=1e-5,
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_one_hot_distribution_equals_its_class(logits, labels, smoothing):
    np.testing.assert_array_equal(
        losses.cross_entropy(logits, labels, label_smoothing=smoothing),
        losses.cross_entropy(logits, one_hot(labels), label_smoothing=smoothing),
    )


def test_is_linear_in_the_distribution(logits, labels):
    mixed = 0.3 * one_hot(labels) + 0.7 * one_hot((labels + 1) % CLASSES)
    np.testing.assert_allclose(
        losses.cross_entropy(logits, mixed),
        0.3 * losses.cross_entropy(logits, labels)
        + 0.7 * losses.cross_entropy(logits, (labels + 1) % CLASSES),
        rtol=1e-5,
    )


def test_full_smoothing_forgets_the_label(logits, labels):
    smooth = losses.cross_entropy(logits, labels, label_smoothing=1.0)
    uniform = jnp.full((BATCH, CLASSES), 1 / CLASSES)
    np.testing.assert_allclose(smooth, losses.cross_entropy(logits, uniform), rtol=1e-6)


def test_smoothing_equals_optax(logits, labels):
    smooth = optax.smooth_labels(one_hot(labels), 0.2)
    np.testing.assert_allclose(
        losses.cross_entropy(logits, labels, label_smoothing=0.2),
        optax.softmax_cross_entropy(logits, smooth),
        rtol=1e-5,
    )


def test_gradient_is_softmax_minus_target(logits, labels):
    gradient = jax.grad(lambda x: losses.cross_entropy(x, labels).sum())(logits)
    np.testing.assert_allclose(
        gradient, jax.nn.softmax(logits) - one_hot(labels), atol=1e-6
    )


def test_large_logits_stay_finite():
    logits = jnp.asarray([[1e30, -1e30, 0.0]])
    loss, gradient = jax.value_and_grad(
        lambda x: losses.cross_entropy(x, jnp.asarray([0])).sum()
    )(logits)
    assert loss == 0
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("soft", [False, True])
def test_a_mask_equals_the_subset(logits, labels, where, soft):
    targets = one_hot(labels) if soft else labels

    def loss_fn(logits, targets, where=None):
        return losses.mean(losses.cross_entropy(logits, targets, where=where), where)

    masked, gradient = jax.value_and_grad(loss_fn)(logits, targets, where)
    subset, expected = jax.value_and_grad(loss_fn)(logits[where], targets[where])
    np.testing.assert_allclose(masked, subset, rtol=1e-6)
    np.testing.assert_allclose(gradient[where], expected, rtol=1e-6)
    np.testing.assert_array_equal(gradient[~where], np.zeros((2, CLASSES)))


def test_what_is_masked_may_hold_anything(logits, labels, where):
    garbage = jnp.where(where[:, None], logits, jnp.nan)
    padded = jnp.where(where, labels, -1)

    def loss_fn(logits):
        return losses.cross_entropy(logits, padded, where=where).sum()

    loss, gradient = jax.value_and_grad(loss_fn)(garbage)
    assert jnp.isfinite(loss)
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_a_class_that_does_not_exist_is_nan(logits, label):
    labels = jnp.full((BATCH,), label)
    assert jnp.isnan(losses.cross_entropy(logits, labels)).all()


def test_half_precision_is_computed_in_float32(logits, labels):
    half = logits.astype(jnp.bfloat16)
    loss = losses.cross_entropy(half, labels)
    assert loss.dtype == jnp.float32
    np.testing.assert_array_equal(
        loss, losses.cross_entropy(half.astype(jnp.float32), labels)
    )


@pytest.mark.parametrize(
    "labels",
    [
        jnp.zeros((BATCH, 1), jnp.int32),
        jnp.zeros((BATCH, CLASSES), jnp.int32),
        jnp.zeros((BATCH,)),
        jnp.zeros((BATCH, CLASSES + 1)),
    ],
)
def test_shapes_that_do_not_belong_together(logits, labels):
    with pytest.raises(ValueError, match="expected integer labels"):
        losses.cross_entropy(logits, labels)


def test_mean_of_nothing_is_zero_with_zero_gradient():
    nothing = jnp.zeros((3,), bool)
    value, gradient = jax.value_and_grad(losses.mean)(jnp.ones(3), nothing)
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros(3))


def test_mean_without_a_mask_is_the_mean():
    assert losses.mean(jnp.asarray([1.0, 2.0, 6.0])) == 3
