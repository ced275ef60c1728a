import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxfer import metrics

M, N, D = 12, 10, 5


@functools.cache
def samples():
    rng = np.random.default_rng(0)
    return rng.normal(size=(M, D)), rng.normal(0.5, 1, (N, D))


def brute_force(x, y):
    def k(a, b):
        return (sum(a * b) / D + 1) ** 3

    def within(z):
        return np.mean([k(a, b) for a, b in itertools.permutations(z, 2)])

    return within(x) + within(y) - 2 * np.mean([[k(a, b) for b in y] for a in x])


def test_the_distance_and_its_jackknife_by_brute_force():
    x, y = samples()
    groups = np.arange(M) % 4, np.arange(N) % 3
    left = [brute_force(x[groups[0] != g], y[groups[1] != g]) for g in range(4)]
    error = np.sqrt(3 / 4 * np.sum((left - np.mean(left)) ** 2))
    with jax.enable_x64():
        found = metrics.kernel_distance(x, y, groups=groups, num_groups=4)
        np.testing.assert_allclose(found.distance, brute_force(x, y), rtol=1e-10)
        np.testing.assert_allclose(found.standard_error, error, rtol=1e-10)
        back = metrics.kernel_distance(y, x, groups=groups[::-1], num_groups=4)
        np.testing.assert_allclose(back, found, rtol=1e-10)


def test_single_vectors_are_groups_of_their_own():
    x, y = samples()
    left = [brute_force(np.delete(x, i, 0), y) for i in range(M)]
    left += [brute_force(x, np.delete(y, i, 0)) for i in range(N)]
    count = M + N
    error = np.sqrt((count - 1) / count * np.sum((left - np.mean(left)) ** 2))
    with jax.enable_x64():
        found = metrics.kernel_distance(x, y)
        np.testing.assert_allclose(found.standard_error, error, rtol=1e-10)


def test_unbiased_where_samples_are_alike_and_its_error_where_they_are_not():
    keys = jax.random.split(jax.random.key(0), 400)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def drawn(key, shift):
        x, y = jax.random.normal(key, (2, 24, D))
        return metrics.kernel_distance(x, y + shift)

    same = drawn(keys, jnp.float32(0)).distance
    assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(len(keys))
    assert (np.asarray(same) < 0).any()
    apart = drawn(keys, jnp.float32(1))
    assert np.mean(apart.distance) > 10 * np.std(same)
    ratio = np.mean(apart.standard_error) / np.std(apart.distance)
    assert 0.85 < ratio < 1.3


def test_no_error_is_told_of_samples_that_are_too_small():
    x, y = samples()
    groups = np.arange(M) // 11, np.arange(N) % 2  # one vector without group 0
    with jax.enable_x64():
        found = metrics.kernel_distance(x, y, groups=groups, num_groups=2)
        assert np.isfinite(found.distance) and np.isnan(found.standard_error)
