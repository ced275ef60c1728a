"""How far two samples of feature vectors are apart: squared MMD, cubic kernel."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class KernelDistance(NamedTuple):
    """An estimate, 0 or less where two samples cannot be told apart.

    Attributes:
      distance: of squared maximum mean discrepancy, unbiased.
      standard_error: of it, by leaving out each group once.
    """

    distance: Array
    standard_error: Array


def polynomial_kernel(x: Array, y: Array, *, degree: int = 3) -> Array:
    """(x . y / D + 1)^degree of every two vectors.

    Args:
      x: (m, D).
      y: (n, D).
      degree: of the polynomial.

    Returns:
      (m, n).
    """
    return (x @ y.T / x.shape[1] + 1) ** degree


def kernel_distance(
    x: Array,
    y: Array,
    *,
    groups: tuple[Array, Array] | None = None,
    num_groups: int = 0,
    degree: int = 3,
) -> KernelDistance:
    """The squared maximum mean discrepancy of two samples, without bias.

        mean of k(x_i, x_j), i != j, + mean of k(y_i, y_j), i != j
            - 2 mean of k(x_i, y_j)

    This is the estimator of the Kernel Inception Distance; it bears that name only
    with the features of the Inception network. The features' scale matters to a
    polynomial kernel: compare distances in one feature space alone.

    The standard error is the jackknife's, which leaves out one group at a time, so
    that images of one person, or drawn from one image, do not count as independent.
    Where the samples are of one distribution the estimate varies less than it says.

    Args:
      x: (m, D), m of 2 or more.
      y: (n, D), n of 2 or more.
      groups: which group each vector is of, int (m,) and (n,); the same number in
        both is the same group. None: every vector stands alone.
      num_groups: G, with `groups`; each number from 0 to G - 1 is in use.
      degree: of the kernel.

    Returns:
      `KernelDistance`, scalars; a standard error of nan if a sample without one of
      its groups has less than two vectors.

    References:
      Gretton et al., A Kernel Two-Sample Test, JMLR 2012, equation 3; Binkowski et
      al., Demystifying MMD GANs, ICLR 2018, section 4.
    """
    if groups is None:
        every = jnp.arange(x.shape[0] + y.shape[0])
        groups, num_groups = (every[: x.shape[0]], every[x.shape[0] :]), every.size
    of_x, of_y = (jax.nn.one_hot(group, num_groups, dtype=x.dtype) for group in groups)

    def sums(left: Array, right: Array, kernel: Array) -> Array:
        """Of each two groups, (G, G)."""
        return left.T @ kernel @ right

    def alone(values: Array) -> Array:
        return values * (1 - jnp.eye(values.shape[0], dtype=values.dtype))

    xx = sums(of_x, of_x, alone(polynomial_kernel(x, x, degree=degree)))
    yy = sums(of_y, of_y, alone(polynomial_kernel(y, y, degree=degree)))
    xy = sums(of_x, of_y, polynomial_kernel(x, y, degree=degree))

    def distance(xx: Array, yy: Array, xy: Array, m: Array, n: Array) -> Array:
        return xx / (m * (m - 1)) + yy / (n * (n - 1)) - 2 * xy / (m * n)

    def without(total: Array) -> Array:
        """The sum without each group, (G,)."""
        return jnp.sum(total) - total.sum(0) - total.sum(1) + jnp.diag(total)

    m, n = jnp.sum(of_x), jnp.sum(of_y)
    whole = distance(jnp.sum(xx), jnp.sum(yy), jnp.sum(xy), m, n)
    left = distance(
        without(xx), without(yy), without(xy), m - of_x.sum(0), n - of_y.sum(0)
    )
    spread = jnp.sum((left - jnp.mean(left)) ** 2)
    error = jnp.sqrt((num_groups - 1) / num_groups * spread)
    possible = jnp.all(m - of_x.sum(0) >= 2) & jnp.all(n - of_y.sum(0) >= 2)
    return KernelDistance(whole, jnp.where(possible, error, jnp.nan))
