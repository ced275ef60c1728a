"""Convolution and its two gradients: plain lax, and forms fast in XLA's CPU backend.

What was slow, measured with jaxlib 0.10.2 on 2 cores (`python -m benchmarks.ops`
measures it again; a form whose gain has gone can be deleted):

- The kernel's gradient. By default jaxlib 0.10 hands two-dimensional convolutions
  to YNNPACK, which computes this one at 10 to 50 GFLOP/s where the older Eigen
  route reaches 100 to 180. The flag
  `--xla_cpu_experimental_ynn_fusion_type=-individual_convolution` brings that route
  back; `jaxfer.cpu` sets it for the launcher. Without it these gradients are as fast
  as lax's. (A padded row also makes YNNPACK decline: 2 to 5 times faster for some
  shapes, 20 times slower for others.)
- Any gradient inside `lax.scan`, `lax.map` or another loop. XLA reorders the
  dimensions of a convolution for Eigen only outside loops; the gradients that lax
  derives then run as naive loops, 6 (input) to 200 (kernel) times slower. All
  forms here keep the order that needs no change: NHWC, HWIO, NHWC.
- 1x1 kernels: matrix products, 2 to 9 times faster for the kernel's gradient
  without the flag, 1 to 2 times with it. That gradient needs one of its two images
  transposed, which XLA does at a crawl where there are many pixels: the one with
  fewer channels, some 2,000 pixels at a time, is 1.5 to 4 times faster again at 28
  pixels a side and more (8 images, 56x56, 64 to 256 channels: 58 ms to 18).
- An image smaller than the kernel, as the last layers see of small faces: XLA
  leaves Eigen's route for a naive loop, 200 times slower (3x3 over 64 images of
  2x2x512: 1,160 ms against 30). There the taps are gathered for a matrix product.
- The input's gradient of a strided convolution: lax convolves an image with zeros
  between its pixels; a small convolution for each phase of the stride leaves out
  the multiplications by zero, up to 1.5 times faster.

Tried without gain: horizontal taps folded into channels, or space to depth, for
the few channels of a first layer.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxfer.ops import depthwise_cpu
from jaxfer.ops.geometry import Geometry, Pads, Pair, extent, spatial_pad, spatial_slice

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# Below so many input channels the phases' convolutions are too thin to be fast.
_PHASE_CHANNELS = 16
# Pixels whose transposition stays in cache, and whose product is worth a sum.
_BLOCK = 256, 2048


def plain_forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Convolution in lax: (B, H, W, C), (kh, kw, C / groups, O) to (B, H', W', O)."""
    return lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        geometry.pads,
        rhs_dilation=geometry.dilation,
        dimension_numbers=DIMENSIONS,
        feature_group_count=geometry.groups,
    )


def plain_input_gradient(
    g: jax.Array, kernel: jax.Array, geometry: Geometry, size: Pair
) -> jax.Array:
    """Gradient (B, *size, C) for the output's gradient `g` (B, H', W', O), by lax."""
    shape = (g.shape[0], *size, kernel.shape[2] * geometry.groups)
    (dx,) = jax.linear_transpose(
        lambda x: plain_forward(x, kernel, geometry),
        jax.ShapeDtypeStruct(shape, g.dtype),
    )(g)
    return dx


def plain_kernel_gradient(
    x: jax.Array, g: jax.Array, geometry: Geometry, window: Pair
) -> jax.Array:
    """Gradient (*window, C / groups, O) for the output's gradient `g`, by lax."""
    shape = (*window, x.shape[3] // geometry.groups, g.shape[3])
    (dk,) = jax.linear_transpose(
        lambda kernel: plain_forward(x, kernel, geometry),
        jax.ShapeDtypeStruct(shape, x.dtype),
    )(g)
    return dk


def is_pointwise(window: Sequence[int], geometry: Geometry) -> bool:
    """Whether the convolution is one matrix product over channels."""
    no_pads = geometry.pads == ((0, 0), (0, 0))
    return tuple(window) == (1, 1) and no_pads and geometry.groups == 1


def forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """`plain_forward`, in the form that is fast on CPU."""
    if is_pointwise(kernel.shape[:2], geometry):
        x = x[:, :: geometry.strides[0], :: geometry.strides[1]]
        return lax.dot_general(x, kernel[0, 0], (((3,), (0,)), ((), ())))
    if _is_depthwise(x.shape[3], kernel.shape[3], geometry):
        return depthwise_cpu.forward(x, kernel, geometry)
    return _forward(x, kernel, geometry)


def input_gradient(
    g: jax.Array, kernel: jax.Array, geometry: Geometry, size: Pair
) -> jax.Array:
    """`plain_input_gradient`, in the form that is fast on CPU."""
    channels = kernel.shape[2] * geometry.groups
    depthwise = _is_depthwise(channels, kernel.shape[3], geometry)
    if is_pointwise(kernel.shape[:2], geometry):
        dx = lax.dot_general(g, kernel[0, 0], (((3,), (1,)), ((), ())))
        rest = [
            (0, n - (m - 1) * s - 1, s - 1)
            for n, m, s in zip(size, g.shape[1:3], geometry.strides, strict=True)
        ]
        return lax.pad(dx, jnp.zeros((), dx.dtype), ((0, 0, 0), *rest, (0, 0, 0)))
    if geometry.dilation == (1, 1) and (depthwise or channels >= _PHASE_CHANNELS):
        return _by_phases(g, kernel, geometry, size)
    return _dilated_input_gradient(g, kernel, geometry, size)


def kernel_gradient(
    x: jax.Array, g: jax.Array, geometry: Geometry, window: Pair
) -> jax.Array:
    """`plain_kernel_gradient`, in the form that is fast on CPU."""
    if is_pointwise(window, geometry):
        x = x[:, :: geometry.strides[0], :: geometry.strides[1]]
        return _pointwise_kernel_gradient(x, g)[None, None]
    if _is_depthwise(x.shape[3], g.shape[3], geometry):
        return depthwise_cpu.kernel_gradient(x, g, geometry, window)
    if geometry.groups > 1:
        return plain_kernel_gradient(x, g, geometry, window)
    return _as_convolution(x, g, geometry, window)


def _pointwise_kernel_gradient(x: jax.Array, g: jax.Array) -> jax.Array:
    """(C, O): the sum over all pixels of outer products, in blocks of pixels."""
    if x.shape[3] > g.shape[3]:  # the first one is transposed
        return _pointwise_kernel_gradient(g, x).T
    pixels = math.prod(x.shape[:3])
    sizes = (pixels // n for n in range(1, pixels // _BLOCK[0] + 1) if pixels % n == 0)
    block = next((size for size in sizes if size <= _BLOCK[1]), pixels)
    x, g = (a.reshape(-1, block, a.shape[3]) for a in (x, g))
    return lax.dot_general(x, g, (((1,), (1,)), ((0,), (0,)))).sum(axis=0)


def _is_depthwise(channels: int, features: int, geometry: Geometry) -> bool:
    return geometry.groups == channels == features and channels > 1


def _forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Convolution of lax, or a matrix product where the kernel exceeds the image."""
    window = extent(kernel.shape[:2], geometry.dilation)
    fits = all(n >= k for n, k in zip(x.shape[1:3], window, strict=True))
    if fits or geometry.groups > 1:
        return plain_forward(x, kernel, geometry)
    padded = spatial_pad(x, geometry.pads)
    size = [
        (n - k) // stride + 1
        for n, k, stride in zip(
            padded.shape[1:3], window, geometry.strides, strict=True
        )
    ]
    taps = [
        spatial_slice(
            padded,
            (i * geometry.dilation[0], j * geometry.dilation[1]),
            size,
            geometry.strides,
        )
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    ]
    columns = jnp.concatenate(taps, -1)
    return columns @ kernel.reshape(columns.shape[-1], kernel.shape[-1])


def _exchange_channels(kernel: jax.Array, groups: int) -> jax.Array:
    """(kh, kw, C / groups, O) turned by 180 degrees to (kh, kw, O / groups, C)."""
    kh, kw, inputs, outputs = kernel.shape
    kernel = kernel[::-1, ::-1].reshape(kh, kw, inputs, groups, outputs // groups)
    return kernel.transpose(0, 1, 4, 3, 2).reshape(
        kh, kw, outputs // groups, groups * inputs
    )


def _dilated_input_gradient(
    g: jax.Array, kernel: jax.Array, geometry: Geometry, size: Pair
) -> jax.Array:
    """The gradient as lax derives it, its dimensions in the order of a convolution."""
    pads = []
    for axis in (0, 1):
        reach = (kernel.shape[axis] - 1) * geometry.dilation[axis]
        low = reach - geometry.pads[axis][0]
        dilated = (g.shape[1 + axis] - 1) * geometry.strides[axis] + 1
        pads.append((low, size[axis] + reach - dilated - low))
    return lax.conv_general_dilated(
        g,
        _exchange_channels(kernel, geometry.groups),
        (1, 1),
        pads,
        lhs_dilation=geometry.strides,
        rhs_dilation=geometry.dilation,
        dimension_numbers=DIMENSIONS,
        feature_group_count=geometry.groups,
    )


def _by_phases(
    g: jax.Array, kernel: jax.Array, geometry: Geometry, size: Pair
) -> jax.Array:
    """Rows and columns of equal remainder by the stride, one convolution for each.

    Row h of the input met row o of the output through tap i where
    h + low = o stride + i; those h that share a remainder share their taps.
    """
    (sh, sw), groups = geometry.strides, geometry.groups
    counts = -(-size[0] // sh), -(-size[1] // sw)
    channels = kernel.shape[2] * groups
    depthwise = _is_depthwise(channels, kernel.shape[3], geometry)
    rows = []
    for phase_h in range(sh):
        columns = []
        for phase_w in range(sw):
            part, pads = _phase(g, kernel, geometry, (phase_h, phase_w), counts)
            if part.size == 0:
                columns.append(jnp.zeros((g.shape[0], *counts, channels), g.dtype))
            elif depthwise:
                unit = Geometry((1, 1), pads, (1, 1), groups)
                columns.append(depthwise_cpu.forward(g, part[::-1, ::-1], unit))
            else:
                cropped, pads = _crop(g, pads)
                unit = Geometry((1, 1), pads, (1, 1), groups)
                part = _exchange_channels(part, groups)
                columns.append(_forward(cropped, part, unit))
        rows.append(jnp.stack(columns, 3))
    dx = jnp.stack(rows, 2).reshape(
        g.shape[0], counts[0] * sh, counts[1] * sw, channels
    )
    return dx[:, : size[0], : size[1]]


def _phase(
    g: jax.Array, kernel: jax.Array, geometry: Geometry, phase: Pair, counts: Pair
) -> tuple[jax.Array, Pads]:
    """The taps that reach a phase, and the padding of `g` for them."""
    first, pads = [], []
    for axis in (0, 1):
        stride, low = geometry.strides[axis], geometry.pads[axis][0]
        k, outputs = kernel.shape[axis], g.shape[1 + axis]
        tap = (phase[axis] + low) % stride
        last = tap + max(-(-(k - tap) // stride) - 1, 0) * stride
        first.append(tap)
        top = (last - phase[axis] - low) // stride
        bottom = counts[axis] - outputs + (phase[axis] + low - tap) // stride
        pads.append((top, bottom))
    part = kernel[first[0] :: geometry.strides[0], first[1] :: geometry.strides[1]]
    return part, (pads[0], pads[1])


def _crop(x: jax.Array, pads: Pads) -> tuple[jax.Array, Pads]:
    """Carry out what a padding crops (its negative part), leaving what it adds."""
    (top, bottom), (left, right) = pads
    x = spatial_pad(x, ((min(top, 0), min(bottom, 0)), (min(left, 0), min(right, 0))))
    return x, ((max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0)))


def _as_convolution(
    x: jax.Array, g: jax.Array, geometry: Geometry, window: Pair
) -> jax.Array:
    """Convolve the images, batch as channels, with the output's gradient as kernel."""
    pads = []
    for axis in (0, 1):
        covered = (window[axis] - 1) * geometry.dilation[axis] + 1
        covered += (g.shape[1 + axis] - 1) * geometry.strides[axis]
        low = geometry.pads[axis][0]
        pads.append((low, covered - low - x.shape[1 + axis]))
    x, padding = _crop(x, (pads[0], pads[1]))
    image, kernel = x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)
    dk = lax.conv_general_dilated(
        image,
        kernel,
        geometry.dilation,
        padding,
        rhs_dilation=geometry.strides,
        dimension_numbers=DIMENSIONS,
    )
    return dk.transpose(1, 2, 0, 3)
