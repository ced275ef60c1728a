import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import losses

M, MIRRORED = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 2), np.float32)
GOLDEN, INDEX = golden_rule.load("losses")

attention_consistency = jax.jit(losses.attention_consistency)


def test_is_zero_for_mirrored_maps_and_nothing_else():
    np.testing.assert_array_equal(
        attention_consistency(M, M[:, :, ::-1]), np.zeros(3, np.float32)
    )
    for other in [M, M[:, ::-1], M[:, ::-1, ::-1]]:
        assert (attention_consistency(M, other) > 0).all()


def test_either_view_may_be_the_first():
    np.testing.assert_allclose(
        attention_consistency(M, MIRRORED),
        attention_consistency(MIRRORED, M),
        rtol=1e-6,
    )


def test_equals_its_formula():
    expected = np.zeros(3)
    for h in range(4):
        for w in range(5):
            expected += ((M[:, h, w] - MIRRORED[:, h, 4 - w]) ** 2).sum(axis=1)
    np.testing.assert_allclose(
        attention_consistency(M, MIRRORED), expected / 40, rtol=1e-5
    )


@pytest.mark.parametrize("case", INDEX["attention"])
def test_equals_the_released_code(case):
    rule, name = INDEX["attention"][case], f"attention/{case}"
    maps = [
        np.random.default_rng(seed).standard_normal(rule["shape"]).astype(np.float32)
        for seed in rule["seeds"]
    ]

    def loss_fn(m, mirrored):
        return jnp.mean(losses.attention_consistency(m, mirrored))

    loss, gradients = jax.jit(jax.value_and_grad(loss_fn, argnums=(0, 1)))(*maps)
    # The released code mirrors on a grid in float32: no closer in float64 either.
    np.testing.assert_allclose(loss, GOLDEN[f"{name}/loss"], rtol=1e-6)
    for gradient, key in zip(gradients, ["grad1", "grad2"], strict=True):
        expected = GOLDEN[f"{name}/{key}"]
        np.testing.assert_allclose(
            gradient, expected, atol=1e-6 * np.abs(expected).max()
        )
