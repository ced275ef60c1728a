"""Policies that draw changes of images at random: RandAugment and TrivialAugment.

Every image draws its own changes. All of a kind are computed for all images and one of
them is chosen, which needs no branches; the geometric ones of an image are one map of
coordinates, so that it is resampled once however many it draws.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxfer.ops.augmentation import sample_at
from jaxfer.ops.color import grayscale

POLICIES = ("rand_augment", "trivial_augment")

CHANGES = (
    "identity",
    "auto_contrast",
    "equalize",
    "posterize",
    "solarize",
    "color",
    "contrast",
    "brightness",
    "sharpness",
    "rotate",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
"""RandAugment's 14, those of colour first."""

_COLORS = CHANGES.index("rotate")
_ROTATE = 30.0  # degrees
_SHEAR = 0.3  # pixels a pixel
_TRANSLATE = 150 / 331  # of the side: AutoAugment's pixels of its images
_ENHANCE = 0.9  # a factor between 0.1 and 1.9
_POSTERIZE = 4  # of 8 bits are dropped


def rand_augment(
    key: Array, images: Array, *, num_ops: int = 2, magnitude: float = 0.3
) -> Array:
    """Apply `num_ops` changes, drawn evenly from `CHANGES`, all of one strength.

    Args:
      key: PRNG key.
      images: (B, H, W, C), float in [0, 1].
      num_ops: the paper's N; the same change may be drawn again.
      magnitude: the paper's M as a share of the ranges that `change` lists, in
        [0, 1]; torchvision's default, 9 of 30, is 0.3. Directions are drawn.

    Returns:
      (B, H, W, C), in [0, 1].

    References:
      Cubuk, Zoph, Shlens, Le. "RandAugment: Practical automated data augmentation
      with a reduced search space", 2020, section 3 (arXiv:1909.13719).

    Deviations: see `change`.
    """
    k_which, k_sign = jax.random.split(key)
    shape = (images.shape[0], num_ops)
    which = jax.random.randint(k_which, shape, 0, len(CHANGES))
    sign = jax.random.rademacher(k_sign, shape, jnp.float32)
    return change(images, which, magnitude * sign)


def trivial_augment(key: Array, images: Array, *, magnitude: float = 1.0) -> Array:
    """Apply one change, drawn evenly from `CHANGES`, of a strength drawn evenly.

    Args:
      key: PRNG key.
      images: (B, H, W, C), float in [0, 1].
      magnitude: the largest strength, as a share of the ranges that `change` lists,
        in [0, 1]; the paper has 1.

    Returns:
      (B, H, W, C), in [0, 1].

    References:
      Müller, Hutter. "TrivialAugment: Tuning-free Yet State-of-the-Art Data
      Augmentation", ICCV 2021, algorithm 1, on RandAugment's ranges (the wide ones
      turn faces by up to 135 degrees).

    Deviations: strengths are continuous, not one of 31; see also `change`.
    """
    k_which, k_strength = jax.random.split(key)
    shape = (images.shape[0], 1)
    which = jax.random.randint(k_which, shape, 0, len(CHANGES))
    strength = jax.random.uniform(
        k_strength, shape, minval=-magnitude, maxval=magnitude
    )
    return change(images, which, strength)


def change(images: Array, which: Array, magnitude: Array) -> Array:
    """Apply named changes to each image; of no strength, they change nothing.

    At the full strength m = 1:

    - `rotate`, by 30 degrees; `shear_x`, `shear_y`, by 0.3 pixels a pixel;
      `translate_x`, `translate_y`, by 0.45 of the side; about the centre, bilinearly,
      the edge repeated;
    - `color`, `contrast`, `brightness`, `sharpness`: t + f (x - t) with f = 1 + 0.9 m
      and t the image in grey, the mean over the image in grey, black, and the image
      smoothed by a 3x3 kernel of ones with a five in the middle, its border kept;
    - `posterize`: 8 - 4 m bits are kept, rounded;
    - `solarize`: of 256 levels, those from 256 (1 - m) on are inverted;
    - `auto_contrast`: each channel stretched to [0, 1], by its smallest and largest
      value; `equalize`: each channel's histogram of 256 levels made flat; both
      blended with the image, m of the changed one.

    Args:
      images: (B, H, W, C), float in [0, 1]; C is 3, or 1 for grey.
      which: int32 (B, N), indices of `CHANGES`.
      magnitude: float32 (B, N), in [-1, 1]: the share m of the range, of which the
        sign counts where there are two directions.

    Returns:
      (B, H, W, C), in [0, 1].

    Deviations from both papers: an image's geometric changes come before those of
    colour; points from outside repeat the edge and are not grey; `auto_contrast` and
    `equalize` have a strength, which theirs lack.
    """
    _, h, w, _ = images.shape
    rows, cols = jax.vmap(lambda i, m: _coordinates(i, m, h, w))(which, magnitude)
    moved = sample_at(images.astype(jnp.float32), rows, cols)
    return jax.vmap(_colored)(moved, which, magnitude).astype(images.dtype)


def _coordinates(which: Array, magnitude: Array, h: int, w: int) -> tuple[Array, Array]:
    """Rows and columns (H, W) of one image that its changes bring to each pixel."""

    def strength(name: str) -> Array:
        return jnp.where(which == CHANGES.index(name), magnitude, 0.0)

    angle = jnp.deg2rad(_ROTATE) * strength("rotate")
    cos, sin, zero = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle)
    # Of these all but one are nothing, so their order does not matter.
    maps = [
        [cos, _SHEAR * strength("shear_y") - sin],
        [sin + _SHEAR * strength("shear_x"), cos],
        [zero, zero],
    ]
    shifts = [
        _TRANSLATE * h * strength("translate_y"),
        _TRANSLATE * w * strength("translate_x"),
        zero + 1,
    ]
    steps = jnp.array([[*row, shift] for row, shift in zip(maps, shifts)])
    whole = jnp.eye(3)
    for n in range(which.shape[0]):  # the last maps first, from what is seen back
        whole = jnp.matmul(whole, steps[..., n], precision="highest")
    middle_row, middle_col = (h - 1) / 2, (w - 1) / 2
    rows, cols = jnp.mgrid[:h, :w].astype(jnp.float32)
    rows, cols = rows - middle_row, cols - middle_col
    return (
        whole[0, 0] * rows + whole[0, 1] * cols + whole[0, 2] + middle_row,
        whole[1, 0] * rows + whole[1, 1] * cols + whole[1, 2] + middle_col,
    )


def _colored(image: Array, which: Array, magnitude: Array) -> Array:
    """One image (H, W, C) after its changes of colour, one after the other."""
    for n in range(which.shape[0]):
        m = magnitude[n]
        grey = image if image.shape[-1] == 1 else grayscale(image)
        # By CHANGES: what the image is mixed with, and the share of that.
        mixtures = (
            (image, 0.0),
            (_stretched(image), jnp.abs(m)),
            (_equalized(image), jnp.abs(m)),
            (_posterized(image, jnp.abs(m)), 1.0),
            (_solarized(image, jnp.abs(m)), 1.0),
            (jnp.broadcast_to(grey, image.shape), -_ENHANCE * m),
            (jnp.full_like(image, jnp.mean(grey)), -_ENHANCE * m),
            (jnp.zeros_like(image), -_ENHANCE * m),
            (_smoothed(image), -_ENHANCE * m),
        )
        kind = jnp.where(which[n] < _COLORS, which[n], 0)
        other = lax.select_n(kind, *(mixture for mixture, _ in mixtures))
        share = jnp.stack([jnp.asarray(share, jnp.float32) for _, share in mixtures])
        mixed = (1 - share[kind]) * image + share[kind] * other
        image = jnp.clip(mixed, 0, 1)
    return image


def _levels(image: Array) -> Array:
    return jnp.round(image * 255).astype(jnp.int32)


def _stretched(image: Array) -> Array:
    low = jnp.min(image, axis=(0, 1), keepdims=True)
    high = jnp.max(image, axis=(0, 1), keepdims=True)
    span = jnp.where(high > low, high - low, 1.0)
    return jnp.where(high > low, (image - low) / span, image)


def _equalized(image: Array) -> Array:
    """As Pillow does it, in whole numbers: equal counts of pixels a level."""

    def channel(levels: Array, values: Array) -> Array:
        count = jnp.zeros(256, jnp.int32).at[levels.ravel()].add(1)
        step = (levels.size - count[jnp.max(levels)]) // 255
        before = jnp.cumsum(count) - count
        table = (before + step // 2) // jnp.maximum(step, 1)
        flat = jnp.clip(table, 0, 255).astype(jnp.float32) / 255
        return jnp.where(step > 0, flat[levels], values)

    return jax.vmap(channel, in_axes=-1, out_axes=-1)(_levels(image), image)


def _posterized(image: Array, m: Array) -> Array:
    dropped = 8 - jnp.round(8 - _POSTERIZE * m).astype(jnp.int32)
    kept = (_levels(image) >> dropped) << dropped
    return jnp.where(dropped > 0, kept.astype(jnp.float32) / 255, image)


def _solarized(image: Array, m: Array) -> Array:
    return jnp.where(image * 255 >= 256 * (1 - m), 1 - image, image)


def _smoothed(image: Array) -> Array:
    middle = image[1:-1, 1:-1]
    rows = image[:-2] + image[1:-1] + image[2:]
    box = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return image.at[1:-1, 1:-1].set((box + 4 * middle) / 13)
