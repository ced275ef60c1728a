"""The posed head: from head units to pixels, and the light on it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jaxfer.data.synthetic.paint import Points
from jaxfer.data.synthetic.people import Take

_AXES = (0.92, 1.25, 0.8)  # half axes of the ellipsoid that the face lies on
_HALF_FIELD = 1.2  # head units from the canvas' centre to its edge
_CENTRE = 0.1  # the head unit shown at the canvas' centre


class View(NamedTuple):
    """A head's pose on a canvas: pixels = (x, y, z) @ turn + origin.

    Attributes:
      size: height and width of the canvas in pixels.
      unit: pixels per head unit.
      turn: rotation and parallel projection, (3, 2).
      origin: where the head's centre falls, (2,).
    """

    size: int
    unit: float
    turn: NDArray[np.float64]
    origin: NDArray[np.float64]

    def __call__(
        self, points: Points, depth: NDArray[np.float64] | float | None = None
    ) -> Points:
        """Turns the head and projects points of it to pixels.

        Args:
          points: (n, 2) in head units.
          depth: distance towards the camera, (n,) or one number; None puts
            the points on the face.

        Returns:
          Pixels, (n, 2).
        """
        points = np.asarray(points, np.float64)
        z = np.atleast_1d(surface(points) if depth is None else depth)
        return points @ self.turn[:2] + (z[:, None] * self.turn[2] + self.origin)


def pose(take: Take, size: int) -> View:
    """The view of a head posed as in `take` on a canvas of `size` pixels."""
    unit = size / (2 * _HALF_FIELD) * take.zoom
    angles = np.array([take.yaw, take.pitch, take.roll])
    (c0, c1, c2), (s0, s1, s2) = np.cos(angles), np.sin(angles)
    yaw = np.array([[c0, 0, -s0], [0, 1, 0], [s0, 0, c0]])
    pitch = np.array([[1, 0], [0, c1], [0, s1]])
    roll = np.array([[c2, s2], [-s2, c2]])
    centre = np.array([0.0, -_CENTRE]) @ roll + take.shift
    return View(size, unit, yaw @ pitch @ roll * unit, centre * unit + size / 2)


def surface(points: Points) -> NDArray[np.float64]:
    """Depth of the face at points of it, 0 at its outline and beyond."""
    x, y = points[:, 0], points[:, 1]
    inside = 1.0 - (x / _AXES[0]) ** 2 - ((y - 0.1) / _AXES[1]) ** 2
    return _AXES[2] * np.sqrt(np.maximum(inside, 0.0))


def lighting(view: View, take: Take, size: int) -> NDArray[np.float32]:
    """Lambert's law on a paraboloid around the head, float32 (size, size).

    About 1 where the light falls, down to 1 - `contrast` where it does not.
    """
    grid = (np.arange(size) + 0.5) / size * view.size
    centre = view(np.array([[0.0, 0.12]]), 0.0)[0]
    x = ((grid - centre[0]) / view.unit / 0.95)[None, :]
    y = ((grid - centre[1]) / view.unit / 1.25)[:, None]
    light = np.array([take.light[0], take.light[1], 0.75])
    light /= np.linalg.norm(light)
    facing = (x * light[0] + y * light[1] + 0.8 * light[2]) / np.sqrt(
        x**2 + y**2 + 0.64
    )
    return (1.02 - take.contrast * (1.0 - np.maximum(facing, 0.0))).astype(np.float32)
