"""Depthwise convolution and its kernel's gradient as shifted products, for CPU.

XLA's CPU backend has no kernel for grouped convolutions. Measured with jaxlib
0.10.2 on 2 cores, 16 images of 7x7x960 to 112x112x96, kernels 3x3 and 7x7: the
forward pass is 5 to 60 times faster here than in lax, the input's gradient (the
same sum, a phase of the stride at a time) 15 to 200 times and the kernel's
gradient 2 to 25 times.
"""

import operator
from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax

from jaxfer.ops.geometry import Geometry, Pair, extent, spatial_pad, spatial_slice


def forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Depthwise convolution of (B, H, W, C) with (kh, kw, 1, C)."""
    kh, kw = kernel.shape[:2]
    products = [
        tap * kernel[i, j].reshape(1, 1, 1, -1)
        for (i, j), tap in _taps(x, (kh, kw), geometry)
    ]
    return reduce(operator.add, products)


def kernel_gradient(
    x: jax.Array, g: jax.Array, geometry: Geometry, window: Pair
) -> jax.Array:
    """Gradient (*window, 1, C), all taps in one reduction that reads `x`, `g` once.

    Summing over the batch afterwards leaves an axis to divide among the cores.
    """
    products = [tap * g for _, tap in _taps(x, window, geometry)]
    zero = jnp.zeros((), x.dtype)
    sums = lax.reduce(
        products,
        [zero] * len(products),
        lambda a, b: [p + q for p, q in zip(a, b, strict=True)],
        (1, 2),
    )
    return jnp.stack(sums, axis=1).sum(axis=0).reshape(*window, 1, x.shape[3])


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
