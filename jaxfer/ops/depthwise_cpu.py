"""Depthwise convolution and its gradients as sums of shifted products, for CPU."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxfer.ops.geometry import Geometry, Pair, extent, spatial_pad, spatial_slice


def forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Depthwise convolution of (B, H, W, C) with (kh, kw, 1, C)."""
    kh, kw = kernel.shape[:2]
    return sum(
        tap * kernel[i, j].reshape(1, 1, 1, -1)
        for (i, j), tap in _taps(x, (kh, kw), geometry)
    )


def kernel_gradient(
    x: jax.Array, g: jax.Array, geometry: Geometry, window: Pair
) -> jax.Array:
    """Gradient (*window, 1, C), all taps in one reduction that reads `x`, `g` once."""
    products = [tap * g for _, tap in _taps(x, window, geometry)]
    zero = jnp.zeros((), x.dtype)
    sums = lax.reduce(
        products,
        [zero] * len(products),
        lambda a, b: [p + q for p, q in zip(a, b, strict=True)],
        (0, 1, 2),
    )
    return jnp.stack(sums).reshape(*window, 1, x.shape[3])


def _taps(
    x: jax.Array, window: Pair, geometry: Geometry
) -> list[tuple[Pair, jax.Array]]:
    """The padded image as each tap sees it, (B, H', W', C)."""
    x = spatial_pad(x, geometry.pads)
    covered = extent(window, geometry.dilation)
    counts = [
        (n - k) // s + 1
        for n, k, s in zip(x.shape[1:3], covered, geometry.strides, strict=True)
    ]
    return [
        (
            (i, j),
            spatial_slice(
                x,
                (i * geometry.dilation[0], j * geometry.dilation[1]),
                counts,
                geometry.strides,
            ),
        )
        for i in range(window[0])
        for j in range(window[1])
    ]
