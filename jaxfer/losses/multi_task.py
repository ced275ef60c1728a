"""Joint losses of several tasks, and ways to weigh the tasks."""

import functools
import operator
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

Weighting = Callable[[Mapping[str, jax.Array]], jax.Array]
"""Losses (B,) by task to their weighted sum (B,)."""


def _same_tasks(losses: Mapping[str, jax.Array], weights: Mapping[str, object]) -> None:
    if set(losses) != set(weights):
        raise ValueError(
            f"expected one weight for each of the tasks {sorted(losses)}, "
            f"got weights for {sorted(weights)}"
        )


def equal_weights() -> Weighting:
    """Weigh all tasks by 1: sum_t L_t.

    References:
      CFNet, Applied Soft Computing 141, 2023, multi-task joint loss.
    """
    return lambda losses: functools.reduce(operator.add, losses.values())


def fixed_weights(weights: Mapping[str, float]) -> Weighting:
    """Weigh task t by a given number: sum_t w_t L_t.

    Args:
      weights: w by task, the same tasks as the losses.
    """

    def weigh(losses: Mapping[str, jax.Array]) -> jax.Array:
        _same_tasks(losses, weights)
        return equal_weights()({t: weights[t] * loss for t, loss in losses.items()})

    return weigh


def uncertainty_weights(log_variances: Mapping[str, jax.Array]) -> Weighting:
    """Weigh tasks by learned homoscedastic uncertainties.

    sum_t exp(-s_t) L_t + s_t / 2,  s_t = log sigma_t^2

    which is L_t / sigma_t^2 + log sigma_t, the paper's form for classification. With
    all s_t = 0 it is the equal sum. Minimising it over s_t gives exp(s_t) = 2 L_t.

    Args:
      log_variances: s by task, (), trained with the network.

    References:
      Kendall, Gal and Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses,
      CVPR 2018, equation 10 (one regression, one classification; here every task is
      a classification).
    """

    def weigh(losses: Mapping[str, jax.Array]) -> jax.Array:
        _same_tasks(losses, log_variances)
        terms = {
            task: jnp.exp(-s).astype(losses[task].dtype) * losses[task]
            + (s / 2).astype(losses[task].dtype)
            for task, s in log_variances.items()
        }
        return equal_weights()(terms)

    return weigh


def multi_task(
    losses: Mapping[str, jax.Array],
    weighting: Weighting | None = None,
    *,
    where: jax.Array | None = None,
) -> jax.Array:
    """Weighted sum of the losses of several tasks, per example.

    Args:
      losses: (B,) by task.
      weighting: `equal_weights()` (None), `fixed_weights(...)`,
        `uncertainty_weights(...)` or a function of yours.
      where: (B,) bool; other examples get 0 and no gradient.

    Returns:
      (B,).

    Raises:
      ValueError: no losses, or the weighting is for other tasks.

    References:
      CFNet, Applied Soft Computing 141, 2023, multi-task joint loss.
    """
    if not losses:
        raise ValueError("expected the losses of at least one task, got none")
    if where is not None:
        losses = {t: jnp.where(where, loss, 0.0) for t, loss in losses.items()}
    total = (weighting or equal_weights())(losses)
    return total if where is None else jnp.where(where, total, 0.0)
