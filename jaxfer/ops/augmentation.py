"""Random changes of images on the device, keyed.

All take float images (B, H, W, C) and a key, draw independently for each image,
and keep shape and dtype.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array


def resize(images: Array, size: int) -> Array:
    """Bilinear resize of float images (B, H, W, C) to (B, size, size, C).

    Downscaling is antialiased. Images of that size pass through unchanged.
    """
    b, h, w, c = images.shape
    if (h, w) == (size, size):
        return images
    return jax.image.resize(images, (b, size, size, c), "bilinear")


def random_flip(key: Array, images: Array, probability: float = 0.5) -> Array:
    """Mirror each image left to right with the given probability."""
    flip = jax.random.bernoulli(key, probability, (images.shape[0], 1, 1, 1))
    return jnp.where(flip, images[:, :, ::-1], images)


def random_affine(
    key: Array,
    images: Array,
    *,
    degrees: float = 0.0,
    translate: float = 0.0,
    zoom: Sequence[float] = (1.0, 1.0),
    shear: float = 0.0,
    probability: float = 1.0,
) -> Array:
    """Rotate, shift, shear and zoom each image about its centre, bilinearly.

    Args:
      key: PRNG key.
      images: (B, H, W, C), float.
      degrees: largest rotation to either side.
      translate: largest shift, as a share of the side.
      zoom: least and largest magnification; uniform between them.
      shear: largest horizontal shear, in degrees.
      probability: that an image is changed at all.

    Returns:
      (B, H, W, C); points from outside the image repeat its edge.
    """
    b, h, w, _ = images.shape
    k_angle, k_shift, k_zoom, k_shear, k_on = jax.random.split(key, 5)
    on = jax.random.bernoulli(k_on, probability, (b, 1))
    angle = jnp.deg2rad(
        jax.random.uniform(k_angle, (b, 1), minval=-degrees, maxval=degrees)
    )
    shift = jax.random.uniform(
        k_shift, (2, b, 1), minval=-translate, maxval=translate
    ) * jnp.asarray([[[float(h)]], [[float(w)]]])
    factor = jax.random.uniform(k_zoom, (b, 1), minval=zoom[0], maxval=zoom[1])
    slant = jnp.tan(
        jnp.deg2rad(jax.random.uniform(k_shear, (b, 1), minval=-shear, maxval=shear))
    )
    angle, slant = jnp.where(on, angle, 0.0), jnp.where(on, slant, 0.0)
    shift, factor = jnp.where(on[None], shift, 0.0), jnp.where(on, factor, 1.0)
    rows, cols = jnp.mgrid[:h, :w].astype(jnp.float32).reshape(2, 1, h * w)
    centre_row, centre_col = (h - 1) / 2, (w - 1) / 2
    dr, dc = rows - centre_row - shift[0], cols - centre_col - shift[1]
    dc = dc - slant * dr
    cos, sin = jnp.cos(angle) / factor, jnp.sin(angle) / factor
    row, col = cos * dr - sin * dc + centre_row, sin * dr + cos * dc + centre_col
    return sample_at(images, row.reshape(b, h, w), col.reshape(b, h, w))


def sample_at(images: Array, rows: Array, cols: Array) -> Array:
    """Values of images between their pixels, bilinearly.

    Args:
      images: (B, H, W, C), float.
      rows: (B, H', W'), float, in pixels from the uppermost.
      cols: (B, H', W'), float, in pixels from the leftmost.

    Returns:
      (B, H', W', C); points from outside the image repeat its edge.
    """
    b, h, w, c = images.shape
    row = jnp.clip(rows.reshape(b, -1), 0, h - 1)
    col = jnp.clip(cols.reshape(b, -1), 0, w - 1)
    top, left = jnp.floor(row), jnp.floor(col)
    f_row = (row - top)[..., None].astype(images.dtype)
    f_col = (col - left)[..., None].astype(images.dtype)
    r0, c0 = top.astype(jnp.int32), left.astype(jnp.int32)
    r1, c1 = jnp.minimum(r0 + 1, h - 1), jnp.minimum(c0 + 1, w - 1)
    flat = images.reshape(b, h * w, c)

    def at(r: Array, q: Array) -> Array:
        return jnp.take_along_axis(flat, (r * w + q)[..., None], axis=1)

    upper = at(r0, c0) * (1 - f_col) + at(r0, c1) * f_col
    lower = at(r1, c0) * (1 - f_col) + at(r1, c1) * f_col
    return (upper * (1 - f_row) + lower * f_row).reshape(*rows.shape, c)


def random_erasing(
    key: Array,
    images: Array,
    *,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.25),
    aspect: tuple[float, float] = (0.3, 3.3),
    value: float | Sequence[float] = 0.0,
) -> Array:
    """Set one random rectangle of each image to `value` (Zhong et al., 2020).

    Args:
      key: PRNG key.
      images: (B, H, W, C), float.
      probability: that an image is changed at all.
      area: range of the rectangle's share of the image.
      aspect: range of height over width, drawn log-uniformly. A side longer
        than the image is cut to it, where torchvision draws again.
      value: what is written; one number, or one a channel.

    Returns:
      (B, H, W, C).
    """
    b, h, w, _ = images.shape
    k_on, k_area, k_aspect, k_row, k_col = jax.random.split(key, 5)
    on = jax.random.bernoulli(k_on, probability, (b,))
    size = jax.random.uniform(k_area, (b,), minval=area[0], maxval=area[1]) * (h * w)
    log_range = jnp.log(jnp.asarray(aspect))
    ratio = jnp.exp(
        jax.random.uniform(k_aspect, (b,), minval=log_range[0], maxval=log_range[1])
    )
    height = jnp.minimum(jnp.round(jnp.sqrt(size * ratio)), h)
    width = jnp.minimum(jnp.round(jnp.sqrt(size / ratio)), w)
    row = jnp.floor(jax.random.uniform(k_row, (b,)) * (h - height + 1))
    col = jnp.floor(jax.random.uniform(k_col, (b,)) * (w - width + 1))

    def inside(length: int, start: Array, extent: Array) -> Array:
        at = jnp.arange(length, dtype=jnp.float32)[None]
        return (at >= start[:, None]) & (at < (start + extent)[:, None])

    mask = inside(h, row, height)[:, :, None] & inside(w, col, width)[:, None, :]
    mask = (mask & on[:, None, None])[..., None]
    fill = jnp.asarray(value, images.dtype).reshape(1, 1, 1, -1)
    return jnp.where(mask, fill, images)


def random_light(
    key: Array, images: Array, *, brightness: float = 0.0, contrast: float = 0.0
) -> Array:
    """Scale each image's brightness, then its contrast about its mean grey.

    Args:
      key: PRNG key.
      images: (B, H, W, C), float in [0, 1].
      brightness: the factor is uniform in [1 - brightness, 1 + brightness].
      contrast: likewise.

    Returns:
      (B, H, W, C), cut to [0, 1].
    """
    b = images.shape[0]
    k_brightness, k_contrast = jax.random.split(key)

    def factor(key: Array, spread: float) -> Array:
        draw = jax.random.uniform(key, (b, 1, 1, 1), minval=-spread, maxval=spread)
        return (1 + draw).astype(images.dtype)

    bright = jnp.clip(images * factor(k_brightness, brightness), 0, 1)
    mean = jnp.mean(bright, axis=(1, 2, 3), keepdims=True)
    return jnp.clip(mean + (bright - mean) * factor(k_contrast, contrast), 0, 1)


def random_noise(
    key: Array, images: Array, *, variance: float, probability: float = 0.5
) -> Array:
    """Add Gaussian noise to each image with the given probability.

    Args:
      key: PRNG key.
      images: (B, H, W, C), float in [0, 1].
      variance: on the scale of 0 to 255.
      probability: that an image is changed at all.

    Returns:
      (B, H, W, C), cut to [0, 1].
    """
    k_on, k_noise = jax.random.split(key)
    on = jax.random.bernoulli(k_on, probability, (images.shape[0], 1, 1, 1))
    noise = jax.random.normal(k_noise, images.shape, images.dtype)
    noisy = images + noise * (variance**0.5 / 255)
    return jnp.where(on, jnp.clip(noisy, 0, 1), images)


def mixup(
    key: Array, images: Array, targets: Array, *, alpha: float
) -> tuple[Array, Array]:
    """Convex combinations of the batch with a shuffled copy of itself.

    x = l x_i + (1 - l) x_j, y = l y_i + (1 - l) y_j (Zhang et al., mixup, ICLR 2018,
    section 2), with one l ~ Beta(alpha, alpha) for each image, at least 1/2, so that
    the first of the two stays the main one.

    Args:
      key: PRNG key.
      images: (B, H, W, C), float.
      targets: (B, K), distributions.
      alpha: above 0; small values mix little.

    Returns:
      Mixed images and targets, of the same shapes.
    """
    b = images.shape[0]
    k_share, k_order = jax.random.split(key)
    share = jax.random.beta(k_share, alpha, alpha, (b,))
    share = jnp.maximum(share, 1 - share)
    order = jax.random.permutation(k_order, b)

    def mix(x: Array) -> Array:
        weight = share.astype(x.dtype).reshape(b, *[1] * (x.ndim - 1))
        return weight * x + (1 - weight) * x[order]

    return mix(images), mix(targets)
