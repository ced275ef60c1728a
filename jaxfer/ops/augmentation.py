"""Random changes of images on the device, keyed.

All take float images (B, H, W, C) and a key, draw independently for each image,
and keep shape and dtype.
"""

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
    scale: float = 0.0,
) -> Array:
    """Rotate, shift and zoom each image about its centre, bilinearly.

    Args:
      key: PRNG key.
      images: (B, H, W, C), float.
      degrees: largest rotation to either side.
      translate: largest shift, as a share of the side.
      scale: zoom is uniform in [1 - scale, 1 + scale].

    Returns:
      (B, H, W, C); points from outside the image repeat its edge.
    """
    b, h, w, c = images.shape
    k_angle, k_shift, k_scale = jax.random.split(key, 3)
    angle = jnp.deg2rad(
        jax.random.uniform(k_angle, (b, 1), minval=-degrees, maxval=degrees)
    )
    shift = jax.random.uniform(
        k_shift, (2, b, 1), minval=-translate, maxval=translate
    ) * jnp.asarray([[[float(h)]], [[float(w)]]])
    zoom = jax.random.uniform(k_scale, (b, 1), minval=1 - scale, maxval=1 + scale)
    rows, cols = jnp.mgrid[:h, :w].astype(jnp.float32).reshape(2, 1, h * w)
    centre_row, centre_col = (h - 1) / 2, (w - 1) / 2
    dr, dc = rows - centre_row - shift[0], cols - centre_col - shift[1]
    cos, sin = jnp.cos(angle) / zoom, jnp.sin(angle) / zoom
    row = jnp.clip(cos * dr - sin * dc + centre_row, 0, h - 1)
    col = jnp.clip(sin * dr + cos * dc + centre_col, 0, w - 1)
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
    return (upper * (1 - f_row) + lower * f_row).reshape(b, h, w, c)


def random_erasing(
    key: Array,
    images: Array,
    *,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.25),
    aspect: tuple[float, float] = (0.3, 3.3),
    value: float = 0.0,
) -> Array:
    """Set one random rectangle of each image to `value` (Zhong et al., 2020).

    Args:
      key: PRNG key.
      images: (B, H, W, C), float.
      probability: that an image is changed at all.
      area: range of the rectangle's share of the image.
      aspect: range of height over width, drawn log-uniformly. A side longer
        than the image is cut to it, where torchvision draws again.
      value: what is written.

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
    return jnp.where(mask, jnp.asarray(value, images.dtype), images)
