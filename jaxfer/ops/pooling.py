"""Pooling over windows and over whole images, channels last."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from jaxfer.ops.geometry import Padding, Pads, Pair, explicit_padding, pair


def max_pool(
    x: jax.Array,
    window: int | Sequence[int],
    *,
    strides: int | Sequence[int],
    padding: Padding = "SAME",
) -> jax.Array:
    """Largest value of each window; the gradient goes to the first of equal ones.

    XLA's CPU backend scatters the gradient value by value. Two passes, one along each
    axis, that remember in a byte where the largest value was, give the same
    result: value and gradient together 3 to 12 times faster than in lax, the value
    alone up to 3 times (jaxlib 0.10.2, 2 cores, 16x16 to 112x112 images, windows 2
    and 3). Accelerators run plain lax.

    Args:
      x: (B, H, W, C), floating.
      window: one number or (height, width).
      strides: one number or (vertical, horizontal).
      padding: "SAME", "VALID", a number or ((lo, hi), (lo, hi)); pads with -inf.

    Returns:
      (B, H', W', C).

    Raises:
      ValueError: the padding is unknown.
    """
    window, strides = pair(window), pair(strides)
    pads = explicit_padding(padding, x.shape[1:3], window, strides)
    if max(window) > 255:  # the position in a window is kept in a byte
        return _reduce_max(x, window, strides, pads)
    return _max_pool(x, window, strides, pads)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: jax.Array, window: Pair, strides: Pair, pads: Pads) -> jax.Array:
    def by_axis(x: jax.Array) -> jax.Array:
        none = (0, 0)
        x = _reduce_max(x, (1, window[1]), (1, strides[1]), (none, pads[1]))
        return _reduce_max(x, (window[0], 1), (strides[0], 1), (pads[0], none))

    plain = partial(_reduce_max, window=window, strides=strides, pads=pads)
    return lax.platform_dependent(x, cpu=by_axis, default=plain)


# x, and the positions of the largest values in the rows' and the columns' windows,
# of which each platform uses its own; what it does not use is never computed.
_Residuals = tuple[jax.Array, jax.Array, jax.Array]


def _max_pool_fwd(
    x: jax.Array, window: Pair, strides: Pair, pads: Pads
) -> tuple[jax.Array, _Residuals]:
    def by_axis(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        across, columns = _max_along(x, 2, window[1], strides[1], pads[1])
        y, rows = _max_along(across, 1, window[0], strides[0], pads[0])
        return y, columns, rows

    shapes = jax.eval_shape(by_axis, x)

    def plain(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        columns, rows = (jnp.zeros(each.shape, each.dtype) for each in shapes[1:])
        return _reduce_max(x, window, strides, pads), columns, rows

    y, columns, rows = lax.platform_dependent(x, cpu=by_axis, default=plain)
    return y, (x, columns, rows)


def _max_pool_bwd(
    window: Pair, strides: Pair, pads: Pads, residuals: _Residuals, g: jax.Array
) -> tuple[jax.Array]:
    def by_axis(
        x: jax.Array, columns: jax.Array, rows: jax.Array, g: jax.Array
    ) -> jax.Array:
        height, width = x.shape[1:3]
        g = _spread_along(g, rows, 1, height, window[0], strides[0], pads[0])
        return _spread_along(g, columns, 2, width, window[1], strides[1], pads[1])

    def plain(
        x: jax.Array, columns: jax.Array, rows: jax.Array, g: jax.Array
    ) -> jax.Array:
        _, pullback = jax.vjp(lambda x: _reduce_max(x, window, strides, pads), x)
        return pullback(g)[0]

    return (lax.platform_dependent(*residuals, g, cpu=by_axis, default=plain),)


_max_pool.defvjp(_max_pool_fwd, _max_pool_bwd)


def _reduce_max(x: jax.Array, window: Pair, strides: Pair, pads: Pads) -> jax.Array:
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0))
    )


def _max_along(
    x: jax.Array, axis: int, window: int, stride: int, pads: Pair
) -> tuple[jax.Array, jax.Array]:
    """Largest values of windows along one axis, and their first positions in them."""
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (*pads, 0)
    x = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), config)
    reach = x.shape[axis] - window + 1
    taps = [
        lax.slice_in_dim(x, tap, tap + reach, stride, axis) for tap in range(window)
    ]
    y, position = taps[0], jnp.zeros(taps[0].shape, jnp.uint8)
    for tap in range(1, window):
        position = jnp.where(taps[tap] > y, jnp.uint8(tap), position)
        y = jnp.maximum(y, taps[tap])
    return y, position


def _spread_along(
    g: jax.Array,
    position: jax.Array,
    axis: int,
    size: int,
    window: int,
    stride: int,
    pads: Pair,
) -> jax.Array:
    """Give each window's gradient to its position, along one axis of length `size`.

    Entry h met window o at position i where h + pads[0] = o stride + i; those
    entries that share a remainder by the stride share their positions.
    """
    count = -(-size // stride)
    phases = []
    for phase in range(stride):
        total = jnp.zeros((*g.shape[:axis], count, *g.shape[axis + 1 :]), g.dtype)
        for tap in range((phase + pads[0]) % stride, window, stride):
            first = (phase + pads[0] - tap) // stride
            config = [(0, 0, 0)] * g.ndim
            config[axis] = (-first, count - g.shape[axis] + first, 0)
            own = jnp.where(position == tap, g, jnp.zeros((), g.dtype))
            total = total + lax.pad(own, jnp.zeros((), g.dtype), config)
        phases.append(total)
    dx = jnp.stack(phases, axis + 1)
    dx = dx.reshape(*g.shape[:axis], count * stride, *g.shape[axis + 1 :])
    return lax.slice_in_dim(dx, 0, size, axis=axis)


def avg_pool(
    x: jax.Array,
    window: int | Sequence[int],
    *,
    strides: int | Sequence[int],
    padding: Padding = "SAME",
) -> jax.Array:
    """Mean of each window, padding counted as zeros.

    Args:
      x: (B, H, W, C), floating.
      window: one number or (height, width).
      strides: one number or (vertical, horizontal).
      padding: "SAME", "VALID", a number or ((lo, hi), (lo, hi)).

    Returns:
      (B, H', W', C).
    """
    window, strides = pair(window), pair(strides)
    pads = explicit_padding(padding, x.shape[1:3], window, strides)
    total = lax.reduce_window(
        x, 0.0, lax.add, (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0))
    )
    return total / (window[0] * window[1])


def global_avg_pool(x: jax.Array) -> jax.Array:
    """Mean over the image: (B, H, W, C) to (B, C)."""
    return jnp.mean(x, axis=(1, 2))


def adaptive_avg_pool(x: jax.Array, size: int) -> jax.Array:
    """Means over `size` x `size` windows that cover the image, whatever its size.

    Window i of n covers rows floor(i H / n) up to, but without, ceil((i + 1) H / n),
    as PyTorch's; windows overlap where n does not divide H.

    Args:
      x: (B, H, W, C).
      size: n.

    Returns:
      (B, n, n, C).
    """

    def along(x: jax.Array, axis: int) -> jax.Array:
        length = x.shape[axis]
        windows = [
            lax.slice_in_dim(
                x, i * length // size, -(-(i + 1) * length // size), axis=axis
            )
            for i in range(size)
        ]
        return jnp.stack([window.mean(axis) for window in windows], axis)

    return along(along(x, 1), 2)
