import chex
import golden_rule
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxfer import ops

DIMENSIONS = 6


def vectors(key, count=5):
    keys = jax.random.split(jax.random.key(key), 3)
    return [jax.random.normal(k, (count, DIMENSIONS)) for k in keys]


def positive(key):
    return [jnp.abs(x) for x in vectors(key)]


def test_cosine_of_known_angles():
    x = jnp.asarray([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [3.0, 4.0]])
    y = jnp.asarray([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [3.0, 0.0]])
    np.testing.assert_allclose(
        ops.cosine_similarity(x, y), [1.0, 0.0, -1.0, 0.6], rtol=1e-6
    )


def test_cosine_does_not_see_lengths():
    x, y, _ = vectors(0)
    cosine = ops.cosine_similarity(x, y)
    np.testing.assert_allclose(
        cosine, ops.cosine_similarity(100 * x, 0.01 * y), rtol=1e-5
    )
    assert (jnp.abs(cosine) <= 1 + 1e-6).all()


def test_cosine_equals_the_released_code():
    golden, _ = golden_rule.load("cfnet")
    a, b = golden["cfnet_fusion/edge/a"], golden["cfnet_fusion/edge/b"]
    np.testing.assert_allclose(
        jnp.tanh(ops.cosine_similarity(jnp.asarray(a), jnp.asarray(b))),
        golden["cfnet_fusion/edge/tanh_cos"][:, 0],
        rtol=1e-6,
    )


def test_weights_sum_to_one_and_favour_the_one_that_agrees():
    local, global_, fused = positive(1)
    a_local, a_global = ops.constraint_weights(local, global_, fused)
    np.testing.assert_allclose(a_local + a_global, np.ones(5), rtol=1e-6)
    nearer = ops.cosine_similarity(local, fused) > ops.cosine_similarity(global_, fused)
    np.testing.assert_array_equal(a_local > 0.5, nearer)


def test_exchanging_the_branches_exchanges_the_weights():
    local, global_, fused = positive(2)
    chex.assert_trees_all_close(
        ops.constraint_weights(local, global_, fused),
        ops.constraint_weights(global_, local, fused)[::-1],
    )


def test_branches_that_agree_alike_share_alike():
    x, _, fused = positive(3)
    for weight in ops.constraint_weights(x, 2 * x, fused):
        np.testing.assert_allclose(weight, np.full(5, 0.5), rtol=1e-6)


def test_fusion_concatenates_the_weighted_branches():
    local, global_, fused = positive(4)
    a_local, a_global = ops.constraint_weights(local, global_, fused)
    together = ops.constraint_fusion(local, global_, fused)
    expected = np.concatenate(
        [a_local[:, None] * local, a_global[:, None] * global_], axis=1
    )
    np.testing.assert_allclose(together, expected, rtol=1e-6)


def zero_cases():
    """Three vectors, of which any may be zero, for all eight choices."""
    full = vectors(5, count=8)
    kept = np.indices((2, 2, 2)).reshape(3, 8, 1).astype(np.float32)
    return [jnp.abs(x) * k for x, k in zip(full, kept, strict=True)]


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap])
def test_zero_vectors_give_finite_values_and_gradients(transform):
    arguments = zero_cases()
    values = transform(ops.constraint_fusion)(*arguments)
    chex.assert_tree_all_finite(values)

    def total(*arguments):
        return jnp.sum(jnp.square(ops.constraint_fusion(*arguments)))

    batched = transform is jax.vmap
    gradient = transform(jax.grad(total, argnums=(0, 1, 2)))
    gradients = gradient(*arguments) if batched else jax.jit(gradient)(*arguments)
    chex.assert_tree_all_finite(gradients)


def test_zero_vectors_give_equal_weights():
    zero, x = jnp.zeros((1, 3)), jnp.ones((1, 3))
    for case in [(zero, zero, x), (x, x, zero), (zero, zero, zero)]:
        np.testing.assert_array_equal(ops.constraint_weights(*case), [[0.5], [0.5]])
    np.testing.assert_array_equal(ops.constraint_weights(zero, x, x), [[0], [1]])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-45, 15), min_size=3, max_size=3), st.integers(0, 2**16))
def test_no_scale_makes_a_value_or_a_gradient_infinite(exponents, key):
    scaled = [
        jnp.abs(x) * jnp.float32(10.0**e)
        for x, e in zip(vectors(key, count=1), exponents, strict=True)
    ]
    chex.assert_tree_all_finite(FUSION_AND_GRADIENT(*scaled))


FUSION_AND_GRADIENT = jax.jit(
    jax.value_and_grad(
        lambda *x: jnp.sum(ops.constraint_weights(*x)[0]), argnums=(0, 1, 2)
    )
)


def test_half_precision_is_computed_in_float32():
    halves = [x.astype(jnp.bfloat16) for x in positive(6)]
    weights = ops.constraint_weights(*halves)
    chex.assert_trees_all_close(
        weights, ops.constraint_weights(*[x.astype(jnp.float32) for x in halves])
    )
    assert ops.constraint_fusion(*halves).dtype == jnp.bfloat16
