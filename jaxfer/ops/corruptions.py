"""Corruptions of images for robustness tests: Gaussian blur and Gaussian noise.

Both take uint8 images, or float images in [0, 1], and return the same dtype.
Both are pure and work under `jax.jit`; the arguments that choose a kernel are
static.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

CORRUPTIONS = ("gaussian_blur", "gaussian_noise")

# OpenCV does not evaluate the Gaussian for small kernels of default width, but
# takes these binomial-like weights, here in units of 1/256.
_SMALL_KERNELS = {
    1: (256,),
    3: (64, 128, 64),
    5: (16, 64, 96, 64, 16),
    7: (8, 28, 56, 72, 56, 28, 8),
    9: (4, 13, 30, 51, 60, 51, 30, 13, 4),
}


def default_sigma(kernel_size: int) -> float:
    """OpenCV's width of a kernel: 0.3 * ((k - 1) * 0.5 - 1) + 0.8, in pixels."""
    return 0.3 * ((kernel_size - 1) * 0.5 - 1) + 0.8


def gaussian_kernel(kernel_size: int, sigma: float | None = None) -> np.ndarray:
    """Normalised Gaussian weights, as OpenCV's getGaussianKernel.

    Args:
      kernel_size: odd and positive.
      sigma: standard deviation in pixels; None derives it from the size.

    Returns:
      (kernel_size,), float64, summing to 1.

    Raises:
      ValueError: for an even or non-positive size or a non-positive sigma.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(
            f"A blur kernel has a middle pixel: expected an odd, positive "
            f"kernel_size such as 15, found {kernel_size}."
        )
    if sigma is None:
        if kernel_size in _SMALL_KERNELS:
            return np.array(_SMALL_KERNELS[kernel_size], np.float64) / 256.0
        sigma = default_sigma(kernel_size)
    if not sigma > 0:
        raise ValueError(f"Expected sigma > 0 pixels, found {sigma}.")
    offset = np.arange(kernel_size) - (kernel_size - 1) / 2
    weights = np.exp(-(offset**2) / (2.0 * sigma**2))
    return weights / weights.sum()


def _fixed_point(kernel: np.ndarray) -> np.ndarray:
    """The kernel in whole 1/256, rounding errors carried towards the middle.

    OpenCV blurs 8-bit images with such weights. Sums of products of two of them
    and a byte fit the 24 bits of a float32, so results are exact.
    """
    middle = len(kernel) // 2
    rounded = np.zeros(len(kernel))
    error = 0.0
    for i in range(middle):
        wanted = kernel[i] * 256.0 + error
        rounded[i] = rounded[-1 - i] = np.round(wanted)
        error = wanted - rounded[i]
    rounded[middle] = 256.0 - rounded.sum()
    return rounded / 256.0


def _blur_matrix(size: int, kernel: np.ndarray) -> np.ndarray:
    """(size, size) matrix of a blur along one axis, the border mirrored.

    Mirroring leaves out the edge pixel itself (BORDER_REFLECT_101:
    `gfedcb|abcdefgh|gfedcba`), again and again where the kernel is longer than
    the image.
    """
    matrix = np.zeros((size, size))
    period = max(2 * (size - 1), 1)
    rows = np.arange(size)
    for offset, weight in enumerate(kernel, start=-(len(kernel) // 2)):
        source = np.mod(rows + offset, period)
        source = np.minimum(source, period - source) if size > 1 else 0 * source
        np.add.at(matrix, (rows, source), weight)
    return matrix.astype(np.float32)


def _round_bytes(values: Array) -> Array:
    """Floats on the 0..255 scale as the nearest uint8, halves rounded up."""
    return jnp.clip(jnp.floor(values + 0.5), 0.0, 255.0).astype(jnp.uint8)


def gaussian_blur(images: Array, kernel_size: int, sigma: float | None = None) -> Array:
    """Gaussian blur, equal to OpenCV's GaussianBlur with its default border.

    Both axes are blurred by one matrix product each, which costs the same for
    every kernel size.

    Args:
      images: (B, H, W, C), uint8, or float of any range.
      kernel_size: odd and positive, in pixels.
      sigma: standard deviation in pixels; None derives it from the kernel size
        as OpenCV does, 0.3 * ((k - 1) * 0.5 - 1) + 0.8, with OpenCV's tabulated
        kernels up to 9.

    Returns:
      (B, H, W, C), dtype of `images`.

    Raises:
      ValueError: for an even or non-positive kernel size or sigma.
    """
    kernel = gaussian_kernel(kernel_size, sigma)
    is_bytes = images.dtype == jnp.uint8
    if is_bytes:
        kernel = _fixed_point(kernel)
    rows = jnp.asarray(_blur_matrix(images.shape[1], kernel))
    columns = jnp.asarray(_blur_matrix(images.shape[2], kernel))
    blurred = jnp.einsum(
        "ih,bhwc,jw->bijc",
        rows,
        images.astype(jnp.float32),
        columns,
        precision=jax.lax.Precision.HIGHEST,
    )
    return _round_bytes(blurred) if is_bytes else blurred.astype(images.dtype)


def gaussian_noise(key: Array, images: Array, variance: float = 0.01) -> Array:
    """Independent Gaussian noise on every value, clipped to the valid range.

    Args:
      key: PRNG key.
      images: (B, H, W, C), uint8, or float in [0, 1].
      variance: of the noise, on the [0, 1] scale.

    Returns:
      (B, H, W, C), dtype of `images`; in 0..255 or [0, 1].

    Raises:
      ValueError: for a negative variance.
    """
    if not variance >= 0:
        raise ValueError(f"Expected variance >= 0, found {variance}.")
    is_bytes = images.dtype == jnp.uint8
    values = images.astype(jnp.float32)
    if is_bytes:
        values = values / 255.0
    noise = jax.random.normal(key, images.shape, jnp.float32)
    values = jnp.clip(values + float(np.sqrt(variance)) * noise, 0.0, 1.0)
    return _round_bytes(values * 255.0) if is_bytes else values.astype(images.dtype)


def corrupt(
    images: Array,
    name: str,
    *,
    key: Array,
    kernel_size: int = 15,
    variance: float = 0.01,
) -> Array:
    """The corruption of that name: `gaussian_blur` or `gaussian_noise`.

    Args:
      images: (B, H, W, C), uint8, or float in [0, 1].
      name: one of `CORRUPTIONS`.
      key: PRNG key, used by the noise.
      kernel_size: of the blur.
      variance: of the noise.

    Returns:
      (B, H, W, C), dtype of `images`.

    Raises:
      ValueError: for an unknown name or a wrong parameter.
    """
    if name == "gaussian_blur":
        return gaussian_blur(images, kernel_size)
    if name == "gaussian_noise":
        return gaussian_noise(key, images, variance)
    raise ValueError(f"Expected a corruption of {CORRUPTIONS}, found {name!r}.")
