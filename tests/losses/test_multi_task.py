import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import losses

TASKS = {
    "local": jnp.asarray([1.0, 2.0, 3.0]),
    "global": jnp.asarray([0.5, 0.25, 4.0]),
    "fused": jnp.asarray([2.0, 0.0, 1.0]),
}
ONES = dict.fromkeys(TASKS, 1.0)
ZEROS = {task: jnp.zeros(()) for task in TASKS}


def test_the_equal_sum_is_the_default():
    expected = TASKS["local"] + TASKS["global"] + TASKS["fused"]
    np.testing.assert_array_equal(losses.multi_task(TASKS), expected)
    np.testing.assert_array_equal(
        losses.multi_task(TASKS, losses.equal_weights()), expected
    )


@pytest.mark.parametrize(
    "weighting", [losses.fixed_weights(ONES), losses.uncertainty_weights(ZEROS)]
)
def test_neutral_weights_equal_the_equal_sum(weighting):
    np.testing.assert_array_equal(
        losses.multi_task(TASKS, weighting), losses.multi_task(TASKS)
    )


def test_a_task_of_weight_zero_does_not_count():
    weighting = losses.fixed_weights({"local": 2.0, "global": 0.0, "fused": 1.0})
    np.testing.assert_array_equal(
        losses.multi_task(TASKS, weighting), 2 * TASKS["local"] + TASKS["fused"]
    )


def test_learned_uncertainties_settle_at_twice_the_loss():
    means = {task: jnp.mean(loss) for task, loss in TASKS.items()}
    best = {task: jnp.log(2 * mean) for task, mean in means.items()}

    def joint(log_variances):
        weighting = losses.uncertainty_weights(log_variances)
        return losses.mean(losses.multi_task(TASKS, weighting))

    for slope in jax.tree.leaves(jax.grad(joint)(best)):
        np.testing.assert_allclose(slope, 0, atol=1e-6)
    assert joint(best) < joint(jax.tree.map(lambda s: s + 0.1, best))
    assert joint(best) < joint(jax.tree.map(lambda s: s - 0.1, best))


def test_an_uncertain_task_counts_less():
    def joint(losses_by_task):
        log_variances = {**ZEROS, "global": jnp.asarray(1.5)}
        weighting = losses.uncertainty_weights(log_variances)
        return losses.multi_task(losses_by_task, weighting).sum()

    gradients = jax.grad(joint)(TASKS)
    np.testing.assert_allclose(gradients["global"], np.full(3, np.exp(-1.5)), rtol=1e-6)
    np.testing.assert_allclose(gradients["fused"], np.ones(3), rtol=1e-6)


def test_your_own_weighting():
    worst = losses.multi_task(TASKS, lambda d: jnp.stack([*d.values()]).max(axis=0))
    np.testing.assert_array_equal(worst, [2.0, 2.0, 4.0])


def test_a_mask_equals_the_subset():
    where = jnp.asarray([True, False, True])
    weighting = losses.uncertainty_weights({t: jnp.asarray(0.3) for t in TASKS})
    broken = {task: jnp.where(where, loss, jnp.nan) for task, loss in TASKS.items()}
    masked = losses.multi_task(broken, weighting, where=where)
    subset = losses.multi_task({t: x[where] for t, x in TASKS.items()}, weighting)
    np.testing.assert_allclose(masked, [subset[0], 0, subset[1]], rtol=1e-6)
    np.testing.assert_allclose(
        losses.mean(masked, where), losses.mean(subset), rtol=1e-6
    )


@pytest.mark.parametrize(
    "weighting",
    [losses.fixed_weights({"local": 1.0}), losses.uncertainty_weights({})],
)
def test_weights_of_other_tasks(weighting):
    with pytest.raises(ValueError, match=r"tasks \['fused', 'global', 'local'\]"):
        losses.multi_task(TASKS, weighting)


def test_no_task():
    with pytest.raises(ValueError, match="at least one task"):
        losses.multi_task({})
