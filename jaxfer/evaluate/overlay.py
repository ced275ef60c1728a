"""A model's attention as colour over a face."""

import cv2
import matplotlib as mpl
import numpy as np

SIDE = 336
"""Pixels of a drawn face, at least."""

STRENGTH = (0.32, 0.78)
"""Share of the colour over the face, at the lowest and the highest value."""

COLORS = "viridis"
SIGNED_COLORS = "RdBu_r"


def enlarge(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map (h, w) at another size, smoothly and within its own range."""
    narrow = np.asarray(values, np.float32)
    large = cv2.resize(narrow, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(large, narrow.min(), narrow.max())


def scale_of(maps: list[np.ndarray], *, least: float = 0.05) -> tuple[float, float]:
    """The range of values that one colour bar shows, of all maps together.

    It is at least so wide that differences which mean nothing do not look large.

    Args:
      maps: any number of arrays, at least one.
      least: the narrowest range.
    """
    low = min(float(np.min(values)) for values in maps)
    high = max(float(np.max(values)) for values in maps)
    missing = max(least - (high - low), 0.0) / 2
    return low - missing, high + missing


def colored(share: np.ndarray, gray: np.ndarray | float) -> np.ndarray:
    """Colours over grey: low values let the face through, high ones cover it.

    Args:
      share: (...), values between those of the first and the last colour, 0 to 1.
      gray: (..., 1) or one number, the picture below, in [0, 1].

    Returns:
      RGB (..., 3), in [0, 1].
    """
    part = np.clip(share, 0, 1)
    colors = mpl.colormaps[COLORS](part)[..., :3]
    strength = (STRENGTH[0] + (STRENGTH[1] - STRENGTH[0]) * part)[..., None]
    return np.clip(strength * colors + (1 - strength) * gray, 0, 1)


def overlay(
    image: np.ndarray, values: np.ndarray, low: float, high: float, side: int = SIDE
) -> np.ndarray:
    """A map over a face.

    Args:
      image: uint8 (H, W, 3), RGB.
      values: (h, w), any size.
      low: the value with the first colour.
      high: the value with the last.
      side: pixels of the result, unless the image is larger.

    Returns:
      uint8 (H', W', 3).
    """
    face = grown(image, side)
    gray = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[..., None] / 255
    share = (enlarge(values, *face.shape[:2]) - low) / max(high - low, 1e-12)
    return np.round(255 * colored(share, gray)).astype(np.uint8)


def grown(image: np.ndarray, side: int = SIDE) -> np.ndarray:
    """An image at a shorter side of at least so many pixels."""
    factor = side / min(image.shape[:2])
    if factor <= 1:
        return image
    size = [round(factor * length) for length in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)


def gray_picture(values: np.ndarray) -> np.ndarray:
    """A picture (H, W, 1) or (H, W, 3) in [0, 1] as uint8 (H, W, 3)."""
    clipped = np.round(255 * np.clip(np.asarray(values, np.float64), 0, 1))
    return np.broadcast_to(clipped.astype(np.uint8), (*clipped.shape[:2], 3))


def signed_picture(values: np.ndarray, largest: float) -> np.ndarray:
    """Differences (H, W) as uint8 (H, W, 3): red is more, blue is less."""
    share = 0.5 + 0.5 * np.asarray(values, np.float64) / max(largest, 1e-12)
    colors = mpl.colormaps[SIGNED_COLORS](np.clip(share, 0, 1))[..., :3]
    return np.round(255 * colors).astype(np.uint8)
