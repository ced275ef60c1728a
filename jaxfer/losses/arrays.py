"""What several losses do to their arrays before they compute."""

import jax
import jax.numpy as jnp
import numpy as np

MIN_NORM = 1e-12
"""Vectors shorter than this count as zero."""


def widen(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The arrays in one dtype that holds them all, at least float32."""
    wide = np.result_type(np.float32, *(x.dtype for x in arrays))
    return tuple(x.astype(wide) for x in arrays)


def keep(x: jax.Array, where: jax.Array | None) -> jax.Array:
    """`x`, (B, ...), with zeros for the examples that do not count, where (B,)."""
    if where is None:
        return x
    return jnp.where(where.reshape(-1, *[1] * (x.ndim - 1)), x, 0.0)


def difference(x: jax.Array, y: jax.Array, where: jax.Array | None) -> jax.Array:
    """Their difference x - y, (B, ...), with zeros for what does not count."""
    if x.shape != y.shape:
        raise ValueError(f"expected two arrays of one shape, got {x.shape}, {y.shape}")
    x, y = widen(x, y)
    return keep(x - y, where)


def rest(x: jax.Array) -> tuple[int, ...]:
    """All axes but the batch's."""
    return tuple(range(1, x.ndim))


def unit(x: jax.Array) -> jax.Array:
    """Vectors x / |x| (last axis); 0, with zero gradients, where x is 0."""
    squares = jnp.sum(x * x, axis=-1, keepdims=True)
    # The slope at 0 is infinite, so the branch not taken must not see 0.
    some = squares > MIN_NORM**2
    return jnp.where(some, x * jax.lax.rsqrt(jnp.where(some, squares, 1.0)), 0.0)


def norm(x: jax.Array) -> jax.Array:
    """Lengths |x| (last axis), with zero gradients where x is 0."""
    squares = jnp.sum(x * x, axis=-1)
    some = squares > MIN_NORM**2
    return jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1.0)), 0.0)


def check_vectors(
    vectors: jax.Array, labels: jax.Array, centers: jax.Array, name: str
) -> None:
    """Refuse vectors (B, D), labels (B,) and centers (K, D) that do not fit."""
    if (
        vectors.ndim != 2
        or labels.shape != vectors.shape[:1]
        or not jnp.issubdtype(labels.dtype, jnp.integer)
        or centers.ndim != 2
        or centers.shape[1] != vectors.shape[1]
    ):
        raise ValueError(
            f"expected vectors (B, D), integer labels (B,) and {name} (K, D), got "
            f"{vectors.shape}, {labels.dtype} labels {labels.shape}, {centers.shape}"
        )
