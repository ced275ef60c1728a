"""Two-dimensional convolution, channels last, with derivatives fast on CPU.

A convolution, its gradient with respect to the input and its gradient with
respect to the kernel are three bilinear maps whose derivatives are each other.
Each is lowered as plain lax on accelerators, whose compilers do well, and in the
forms of `jaxfer.ops.convolution_cpu` on CPU; that module says what was slow and
what is gained. Reverse-mode derivatives of any order and `jax.vmap` work;
forward-mode (`jax.jvp`) does not, as for every `jax.custom_vjp`.

A convolution vmapped over both operands (several runs trained at once) becomes a
grouped convolution in XLA, which its CPU backend computes at 5 to 40 GFLOP/s where
one run alone reaches 110 to 150. There the runs are therefore visited by a loop
inside the program (2 to 8 times faster, 1.2 to 2.5 with the flag that
`jaxfer.ops.convolution_cpu` names; jaxlib 0.10.2, 2 cores, 5 to 10 runs of
8x8 to 64x64 images), or become one batched matrix product if the kernel is 1x1.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
from jax import lax
from jax.custom_batching import custom_vmap

from jaxfer.ops import convolution_cpu
from jaxfer.ops.geometry import (
    Geometry,
    Padding,
    Pair,
    explicit_padding,
    extent,
    pair,
)

Bilinear = Callable[[jax.Array, jax.Array], jax.Array]


def conv(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> jax.Array:
    """Convolve images with a kernel (cross-correlation, as every library does).

    Args:
      x: (B, H, W, C).
      kernel: (kh, kw, C / groups, O), the dtype of `x`.
      strides: one number or (vertical, horizontal).
      padding: "SAME", "VALID", a number for all sides or ((lo, hi), (lo, hi)).
      dilation: spacing of the kernel's taps, one number or a pair.
      groups: C and O are cut into so many groups; `groups == C` is depthwise.

    Returns:
      (B, H', W', O).

    Raises:
      ValueError: the padding is unknown.
      TypeError: shapes or dtypes do not fit (by lax).
    """
    strides, dilation = pair(strides), pair(dilation)
    window = extent(kernel.shape[:2], dilation)
    pads = explicit_padding(padding, x.shape[1:3], window, strides)
    return _forward(x, kernel, Geometry(strides, pads, dilation, groups))


def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: int | Sequence[int] = 1,
    padding: int = 0,
) -> jax.Array:
    """Transpose of `conv`: the gradient with respect to its input, as a layer.

    Equals PyTorch's `ConvTranspose2d(C, O, k, strides, padding)`.

    Args:
      x: (B, H, W, C).
      kernel: (kh, kw, O, C), the kernel of the convolution from O to C channels.
      strides: one number or (vertical, horizontal).
      padding: of the convolution that is transposed: so much is cut off each side.

    Returns:
      (B, (H - 1) * stride - 2 * padding + kh, likewise, O).
    """
    strides = pair(strides)
    height, width = (
        (n - 1) * s - 2 * padding + k
        for n, s, k in zip(x.shape[1:3], strides, kernel.shape[:2], strict=True)
    )
    pads = explicit_padding(padding, (height, width), kernel.shape[:2], strides)
    geometry = Geometry(strides, pads, (1, 1), 1)
    return _input_gradient(x, kernel, geometry, (height, width))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _forward(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    return _lower(
        partial(convolution_cpu.forward, geometry=geometry),
        partial(convolution_cpu.plain_forward, geometry=geometry),
        x,
        kernel,
        loop=_loops(kernel.shape[:2], x.shape[3], geometry),
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _input_gradient(
    g: jax.Array, kernel: jax.Array, geometry: Geometry, size: Pair
) -> jax.Array:
    channels = kernel.shape[2] * geometry.groups
    return _lower(
        partial(convolution_cpu.input_gradient, geometry=geometry, size=size),
        partial(convolution_cpu.plain_input_gradient, geometry=geometry, size=size),
        g,
        kernel,
        loop=_loops(kernel.shape[:2], channels, geometry),
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _kernel_gradient(
    x: jax.Array, g: jax.Array, geometry: Geometry, window: Pair
) -> jax.Array:
    return _lower(
        partial(convolution_cpu.kernel_gradient, geometry=geometry, window=window),
        partial(
            convolution_cpu.plain_kernel_gradient, geometry=geometry, window=window
        ),
        x,
        g,
        loop=_loops(window, x.shape[3], geometry),
    )


_Residuals = tuple[jax.Array, jax.Array]


def _forward_vjp(
    geometry: Geometry, residuals: _Residuals, cotangent: jax.Array
) -> _Residuals:
    x, kernel = residuals
    return (
        _input_gradient(cotangent, kernel, geometry, x.shape[1:3]),
        _kernel_gradient(x, cotangent, geometry, kernel.shape[:2]),
    )


def _input_gradient_vjp(
    geometry: Geometry, size: Pair, residuals: _Residuals, cotangent: jax.Array
) -> _Residuals:
    g, kernel = residuals
    return (
        _forward(cotangent, kernel, geometry),
        _kernel_gradient(cotangent, g, geometry, kernel.shape[:2]),
    )


def _kernel_gradient_vjp(
    geometry: Geometry, window: Pair, residuals: _Residuals, cotangent: jax.Array
) -> _Residuals:
    x, g = residuals
    return (
        _input_gradient(g, cotangent, geometry, x.shape[1:3]),
        _forward(x, cotangent, geometry),
    )


_forward.defvjp(lambda x, k, *static: (_forward(x, k, *static), (x, k)), _forward_vjp)
_input_gradient.defvjp(
    lambda g, k, *static: (_input_gradient(g, k, *static), (g, k)),
    _input_gradient_vjp,
)
_kernel_gradient.defvjp(
    lambda x, g, *static: (_kernel_gradient(x, g, *static), (x, g)),
    _kernel_gradient_vjp,
)


def _loops(window: Sequence[int], channels: int, geometry: Geometry) -> bool:
    """Whether runs are better looped over than batched into one operation on CPU."""
    return not (
        convolution_cpu.is_pointwise(window, geometry) or geometry.groups == channels
    )


def _lower(
    fast: Bilinear, plain: Bilinear, a: jax.Array, b: jax.Array, *, loop: bool
) -> jax.Array:
    """Apply `fast` where the program is lowered for CPU, elsewhere `plain`."""

    @custom_vmap
    def call(a: jax.Array, b: jax.Array) -> jax.Array:
        return lax.platform_dependent(a, b, cpu=fast, default=plain)

    @call.def_vmap
    def batched_call(
        size: int, batched: list[bool], a: jax.Array, b: jax.Array
    ) -> tuple[jax.Array, bool]:
        del size
        axes = tuple(0 if each else None for each in batched)
        looped = loop and all(batched)
        y = lax.platform_dependent(
            a,
            b,
            cpu=_each_in_turn(fast) if looped else jax.vmap(fast, axes),
            default=jax.vmap(plain, axes),
        )
        return y, True

    return call(a, b)


def _each_in_turn(function: Bilinear) -> Bilinear:
    return lambda a, b: lax.map(lambda run: function(*run), (a, b))
