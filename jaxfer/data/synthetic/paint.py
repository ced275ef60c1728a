"""Drawing primitives on OpenCV: smooth curves, anti-aliased fills, soft marks."""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""A canvas, uint8 (H, W, 3) RGB or (H, W) for masks and marks."""

Points = NDArray[np.float64]
"""Points on a canvas in pixels or in head units, (n, 2) as x, y."""

Colour = NDArray[np.float64]
"""RGB in 0..255, (3,)."""

_SHIFT = 4  # OpenCV's fixed point: sixteenths of a pixel


@lru_cache(maxsize=64)
def _basis(n: int, samples: int, closed: bool) -> NDArray[np.float64]:
    segments = n if closed else n - 1
    t = np.linspace(0.0, segments, samples, endpoint=not closed)
    first = np.minimum(t.astype(int), segments - 1)
    u = t - first
    weights = 0.5 * np.stack(
        [
            -u + 2 * u**2 - u**3,
            2 - 5 * u**2 + 3 * u**3,
            u + 4 * u**2 - 3 * u**3,
            -(u**2) + u**3,
        ]
    )
    basis = np.zeros((samples, n))
    for offset, weight in zip((-1, 0, 1, 2), weights):
        index = first + offset
        index = index % n if closed else np.clip(index, 0, n - 1)
        np.add.at(basis, (np.arange(samples), index), weight)
    return basis


def curve(points: Points, *, samples: int = 24, closed: bool = False) -> Points:
    """Catmull-Rom splines through the points: (..., n, d) to (..., samples, d)."""
    points = np.asarray(points, np.float64)
    return _basis(points.shape[-2], samples, closed) @ points


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.rint(points * (1 << _SHIFT)).astype(np.int32)


def _scalar(colour: Colour | float) -> tuple[float, ...]:
    return tuple(np.atleast_1d(colour).tolist())


def fill(image: Image, points: Points, colour: Colour | float) -> None:
    """Fills a polygon, edges anti-aliased."""
    cv2.fillPoly(image, [_fixed(points)], _scalar(colour), cv2.LINE_AA, _SHIFT)


@lru_cache(maxsize=64)
def taper(samples: int, start: float = 0.0, end: float = 0.0) -> NDArray[np.float64]:
    """Widths that swell to 1 in the middle and end at `start` and `end`."""
    t = np.linspace(0.0, 1.0, samples)
    base = start + (end - start) * t
    return base + (1.0 - base) * np.sin(np.pi * t)


def strokes(
    image: Image,
    lines: NDArray[np.float64],
    widths: NDArray[np.float64],
    colours: Sequence[tuple[float, ...]],
) -> None:
    """Draws strokes of varying width along polylines.

    Args:
      image: the canvas.
      lines: pixels, (strokes, samples, 2).
      widths: pixels, (strokes, samples) or broadcast to it.
      colours: one per stroke.
    """
    along = np.empty_like(lines)
    along[:, 1:-1] = lines[:, 2:] - lines[:, :-2]
    along[:, 0], along[:, -1] = lines[:, 1] - lines[:, 0], lines[:, -1] - lines[:, -2]
    length = np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-9)
    across = along[..., ::-1] * (-1.0, 1.0) * (0.5 * widths / length)[..., None]
    edges = np.concatenate([lines + across, (lines - across)[:, ::-1]], axis=1)
    for edge, colour in zip(_fixed(edges), colours):
        cv2.fillPoly(image, [edge], colour, cv2.LINE_AA, _SHIFT)


def stroke(
    image: Image,
    line: Points,
    width: NDArray[np.float64] | float,
    colour: Colour | float,
) -> None:
    """Draws one stroke along a polyline; see `strokes`."""
    strokes(image, line[None], np.atleast_2d(width), [_scalar(colour)])


def blend(
    image: Image, points: Points, source: Image | Colour, alpha: float = 1.0
) -> None:
    """Paints `source` (a colour, or an image of equal size) inside a polygon."""
    height, width = image.shape[:2]
    low = np.maximum(np.floor(points.min(0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(points.max(0)).astype(int) + 2, (width, height))
    if (high <= low).any():
        return
    window = (slice(low[1], high[1]), slice(low[0], high[0]))
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    fill(mask, points - low, 255.0)
    weight = mask * np.float32(alpha / 255.0)
    below = image[window]
    if source.ndim == 3:
        above = source[window]
    else:
        above = np.empty_like(below)
        above[:] = np.rint(np.clip(source, 0.0, 255.0))
    image[window] = cv2.blendLinear(above, below, weight, 1.0 - weight)


@lru_cache(maxsize=8)
def _circle(samples: int) -> Points:
    angle = np.linspace(0.0, 2 * np.pi, samples, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def disc(
    centre: Points, radius: Points | float, samples: int = 28, turn: float = 0.0
) -> Points:
    """An ellipse as a polygon; `radius` is one number or (rx, ry)."""
    points = _circle(samples) * radius
    if turn:
        cos, sin = np.cos(turn), np.sin(turn)
        points = points @ np.array([[cos, sin], [-sin, cos]])
    return points + centre


def glows(
    size: int, centres: Points, radii: Points, amounts: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The sum of Gaussian bumps, float32 (size, size); arguments in its pixels."""
    grid = np.arange(size)
    bumps = np.exp(-0.5 * ((grid - centres[..., None]) / radii[..., None]) ** 2)
    return ((amounts[:, None] * bumps[:, 1]).T @ bumps[:, 0]).astype(np.float32)


def moved(points: Points, x: float, y: float) -> Points:
    """Points, or one point, moved by (x, y)."""
    return points + np.array([x, y])


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`share` of b in a."""
    return np.asarray(a, np.float64) * (1.0 - share) + np.asarray(b) * share
