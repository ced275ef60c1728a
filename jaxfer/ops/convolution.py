"""Two-dimensional convolution, channels last."""

from collections.abc import Sequence

import jax
from jax import lax

Padding = str | int | Sequence[tuple[int, int]]
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """The same number for both axes, or a number for each."""
    if isinstance(value, int):
        return value, value
    first, second = value
    return int(first), int(second)


def explicit_padding(
    padding: Padding,
    size: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns to add, ((top, bottom), (left, right)).

    Args:
      padding: "SAME" (as TensorFlow), "VALID", one number for all sides, or pairs.
      size: height and width of the input.
      window: height and width of the (dilated) window.
      strides: vertical and horizontal stride.

    Raises:
      ValueError: the name of the padding is unknown.
    """
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(
                f'padding must be "SAME", "VALID", an int or two pairs, got {padding!r}'
            )
        padding = lax.padtype_to_pads(size, window, strides, padding)
    (top, bottom), (left, right) = padding
    return (int(top), int(bottom)), (int(left), int(right))


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
    """
    strides, dilation = pair(strides), pair(dilation)
    window = tuple(
        (k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilation, strict=True)
    )
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        explicit_padding(padding, x.shape[1:3], window, strides),
        rhs_dilation=dilation,
        dimension_numbers=DIMENSIONS,
        feature_group_count=groups,
    )
