"""Plain lax in place of jaxfer's operations that have forms of their own on CPU."""

import contextlib
from collections.abc import Iterator, Sequence
from unittest import mock

import jax
import jax.numpy as jnp
from jax import lax

from jaxfer import ops
from jaxfer.ops.geometry import Padding, explicit_padding, extent, pair


@contextlib.contextmanager
def operations() -> Iterator[None]:
    """Models traced inside use lax and the derivatives that JAX makes of it."""
    forms = {
        "conv": conv,
        "conv_transpose": conv_transpose,
        "max_pool": max_pool,
        "batch_norm": batch_norm,
    }
    with contextlib.ExitStack() as stack:
        for name, form in forms.items():
            stack.enter_context(mock.patch.object(ops, name, form))
        yield


def conv(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> jax.Array:
    strides, dilation = pair(strides), pair(dilation)
    window = extent(kernel.shape[:2], dilation)
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        explicit_padding(padding, x.shape[1:3], window, strides),
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: int | Sequence[int] = 1,
    padding: int = 0,
) -> jax.Array:
    pads = [(k - 1 - padding, k - 1 - padding) for k in kernel.shape[:2]]
    return lax.conv_general_dilated(
        x,
        lax.rev(kernel, (0, 1)),
        (1, 1),
        pads,
        lhs_dilation=pair(strides),
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
    )


def max_pool(
    x: jax.Array,
    window: int | Sequence[int],
    *,
    strides: int | Sequence[int],
    padding: Padding = "SAME",
) -> jax.Array:
    window, strides = pair(window), pair(strides)
    pads = explicit_padding(padding, x.shape[1:3], window, strides)
    whole = ((0, 0), *pads, (0, 0))
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), whole
    )


def batch_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, *, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    axes = tuple(range(x.ndim - 1))
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean, var = jnp.mean(wide, axes), jnp.var(wide, axes)
    y = (wide - lax.expand_dims(mean, axes)) * lax.expand_dims(
        scale * lax.rsqrt(var + epsilon), axes
    )
    y = y + lax.expand_dims(bias, axes)
    return y.astype(x.dtype), lax.stop_gradient(mean), lax.stop_gradient(var)
