"""What the parts of a face share while they are drawn."""

from typing import NamedTuple

import cv2
import numpy as np

from jaxfer.data.synthetic.paint import Image, Points, curve, strokes, taper
from jaxfer.data.synthetic.people import Person, Take
from jaxfer.data.synthetic.units import Units
from jaxfer.data.synthetic.view import View

_SAMPLES = 12


class Scene(NamedTuple):
    """All that a part of the face needs to draw itself.

    Attributes:
      image: the canvas, drawn on in place.
      folds: (points in head units, width, strength) of each fold of the skin,
        gathered by `mark` and drawn together by `draw_folds`.
      view: the head's pose.
      take: light and gaze.
      person: who is shown.
      units: which action units are active, (2, 27): [side, unit].
      mean: their mean over the sides, (27,).
    """

    image: Image
    folds: list[tuple[Points, float, float]]
    view: View
    take: Take
    person: Person
    units: Units
    mean: Units


def mark(scene: Scene, points: Points, width: float, strength: float) -> None:
    """Notes a fold of the skin through a few points; strength in [0, 1]."""
    if strength > 0.04:
        line = curve(points, samples=_SAMPLES)
        scene.folds.append((line, width, min(strength, 1.0)))


def draw_folds(scene: Scene) -> None:
    """Darkens the canvas along all noted folds, softly."""
    lines = np.stack([line for line, _, _ in scene.folds])
    widths = np.array([width for _, width, _ in scene.folds])[:, None]
    widths = widths * scene.view.unit * taper(_SAMPLES, 0.2, 0.2)
    strengths = [(255.0 * strength,) for _, _, strength in scene.folds]
    size = scene.view.size
    layer = np.zeros((size, size), np.uint8)
    pixels = scene.view(lines.reshape(-1, 2)).reshape(lines.shape)
    strokes(layer, pixels, widths, strengths)
    soft = cv2.GaussianBlur(layer, (0, 0), 0.011 * scene.view.unit)
    # Folds turn red, as shadows of skin do.
    level = np.arange(256)[:, None] * np.array([0.53, 0.62, 0.65])
    table = np.rint(255.0 - level).astype(np.uint8)[None]
    darken = cv2.LUT(cv2.merge([soft, soft, soft]), table)
    cv2.multiply(scene.image, darken, scene.image, 1 / 255)
