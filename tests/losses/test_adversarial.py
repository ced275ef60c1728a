import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import losses

REAL, FAKE = 2 * np.random.default_rng(0).standard_normal((2, 4, 9, 1), np.float32)
ONES, ZEROS = np.ones_like(REAL), np.zeros_like(REAL)

squares = jax.jit(losses.least_squares_discriminator)
logs = jax.jit(losses.log_adversarial_discriminator)


def saturating(fake):
    return losses.log_adversarial_generator(fake, saturating=True)


def test_least_squares_are_least_at_their_targets():
    np.testing.assert_array_equal(squares(ONES, ZEROS), np.zeros(4))
    np.testing.assert_array_equal(squares(ZEROS, ONES), np.ones(4))
    np.testing.assert_array_equal(losses.least_squares_generator(ONES), np.zeros(4))
    np.testing.assert_array_equal(losses.least_squares_generator(ZEROS), np.ones(4))


def test_least_squares_of_scores():
    np.testing.assert_allclose(
        squares(REAL, FAKE),
        ((REAL - 1) ** 2 + FAKE**2).mean(axis=(1, 2)) / 2,
        rtol=1e-5,
    )


@jax.jit
def logs_and_cross_entropies(real, fake):
    """Each log loss, and the same as a choice between two classes."""

    def against(x, label):
        logits = jnp.concatenate([jnp.zeros_like(x), x], axis=2).reshape(36, 2)
        values = losses.cross_entropy(logits, jnp.full(36, label))
        return values.reshape(4, 9).mean(axis=1)

    return [
        (logs(real, fake), (against(real, 1) + against(fake, 0)) / 2),
        (losses.log_adversarial_generator(fake), against(fake, 1)),
        (saturating(fake), -against(fake, 0)),
    ]


def test_the_logs_are_cross_entropies_of_two_classes():
    for values, expected in logs_and_cross_entropies(REAL, FAKE):
        np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_a_discriminator_that_cannot_tell_loses_log_two():
    np.testing.assert_allclose(logs(ZEROS, ZEROS), np.full(4, np.log(2)), rtol=1e-6)


@pytest.mark.parametrize(
    "generator",
    [losses.least_squares_generator, losses.log_adversarial_generator, saturating],
)
def test_generators_raise_the_scores_of_what_they_made(generator):
    slope = jax.jit(jax.grad(lambda x: generator(x).sum()))
    assert (slope(-1 - np.abs(FAKE)) < 0).all()
    assert np.isfinite(slope(np.full_like(FAKE, -1e30))).all()


def test_saturating_has_less_of_a_gradient_while_the_discriminator_is_right():
    x = np.full(1, -10, np.float32)
    slope = jax.grad(lambda x: losses.log_adversarial_generator(x).sum())(x)
    np.testing.assert_allclose(slope, [-1], rtol=1e-3)
    slope = jax.grad(lambda x: saturating(x).sum())(x)
    np.testing.assert_allclose(slope, [-np.exp(-10)], rtol=1e-3)


def test_large_scores_stay_finite():
    x = np.array([[1e30, -1e30]], np.float32)
    run = jax.jit(jax.value_and_grad(lambda x: logs(x, x[:, ::-1]).sum()))
    assert all(np.isfinite(result).all() for result in run(x))


def test_the_discriminators_loss_equals_the_released_code():
    golden, _ = golden_rule.load("losses")
    with jax.enable_x64():
        values = squares(golden["adversarial/real"], golden["adversarial/fake"])
        loss = np.mean(values)
    np.testing.assert_allclose(loss, golden["adversarial/discriminator"], rtol=1e-10)
