"""Nose, mouth, chin, cheeks and beard."""

import numpy as np

from jaxfer.data.synthetic.paint import (
    Points,
    blend,
    curve,
    disc,
    fill,
    mix,
    moved,
    stroke,
    taper,
)
from jaxfer.data.synthetic.scene import Scene, mark

_SAMPLES = 25  # points along a lip
_ACROSS = np.array([-1.0, -0.56, -0.2, 0.0, 0.2, 0.56, 1.0])  # corner to corner
_CUPID = np.maximum(1.0 - 2.2 * np.abs(_ACROSS), 0.0)  # the upper lip's notch


def nose(scene: Scene) -> None:
    """Draws nostrils and marks wings, tip and the bridge's shaded side."""
    person, view, unit = scene.person, scene.view, scene.mean
    half = person.nose_width * (1.0 + 0.12 * unit[9] + 0.06 * unit[12])
    base = person.nose_length - 0.045 * unit[9]
    wing = base - 0.045 - 0.03 * unit[9]
    dark = mix(person.skin * 0.34, np.array([60.0, 20, 20]), 0.25)
    for sign in (-1, 1):
        hole = np.array([[sign * half * 0.5, base - 0.008]])
        spot = view(hole, 0.86)[0]
        radii = np.array([half * 0.3, 0.024]) * view.unit
        turn = sign * 0.3 + scene.take.roll
        blend(scene.image, disc(spot, radii, 14, -turn), dark, 0.85)
        line = np.array(
            [
                [sign * half * 0.82, wing - 0.055],
                [sign * half * 1.06, wing],
                [sign * half * 0.98, base - 0.002],
                [sign * half * 0.72, base + 0.012],
            ]
        )
        mark(scene, line, 0.026, 0.62 + 0.25 * unit[9])
    tip = np.array([[-0.4 * half, base + 0.012], [0, base + 0.03], [0.4 * half, base]])
    tip[2, 1] = tip[0, 1]
    mark(scene, tip, 0.026, 0.5)
    shaded = -np.sign(scene.take.light[0]) or 1.0
    bridge = np.array(
        [
            [shaded * 0.085, -0.09],
            [shaded * 0.06, 0.06],
            [shaded * 0.075, 0.2],
            [shaded * half * 0.72, wing - 0.07],
        ]
    )
    mark(scene, bridge, 0.04, 0.12 + 0.3 * abs(scene.take.light[0]))


def _corners(scene: Scene) -> tuple[Points, Points]:
    person, units = scene.person, scene.units
    corners = []
    for side, sign in ((0, -1), (1, 1)):
        unit = units[side]
        wide = 1.0 + 0.36 * unit[12] + 0.36 * unit[20] - 0.07 * unit[23]
        wide += 0.1 * unit[14] * unit[12] - 0.3 * unit[26] * (1.0 - unit[20])
        x = sign * person.mouth_width * wide
        y = person.mouth - 0.15 * unit[12] + 0.13 * unit[15] + 0.03 * unit[20]
        y += 0.05 * unit[26] + 0.012 * unit[25] - 0.03 * unit[14] * unit[12]
        corners.append(np.array([x, y]))
    return corners[0], corners[1]


def mouth(scene: Scene) -> None:
    """Draws the inside of the mouth, teeth, tongue and both lips."""
    person, view, image = scene.person, scene.view, scene.image
    unit = scene.mean
    left, right = _corners(scene)
    # Where the lips meet: up with a raised chin; and the gap around it.
    line = person.mouth + 0.03 * unit[12] - 0.055 * unit[17] * (0.4 + 0.6 * unit[15])
    line -= 0.03 * unit[15] + 0.035 * unit[9]
    gap = 0.11 * unit[25] + unit[26] * (0.38 - 0.16 * unit[20])
    gap += 0.08 * unit[25] * unit[12]
    up = line - 0.25 * gap
    down = line + 0.75 * gap
    thin = 1.0 - 0.62 * unit[23] - 0.25 * unit[12] - 0.3 * unit[20] - 0.2 * unit[26]
    upper = person.lip_upper * max(thin - 0.2 * unit[15], 0.22)
    lower = person.lip_lower * max(thin + 0.25 * unit[17], 0.25)
    # How soon a lip leaves the corners' level: an open mouth is rounder.
    swell = (1.0 - _ACROSS**2) ** (0.66 - 0.16 * min(gap / 0.25, 1.0))
    ends = np.where(_ACROSS[:, None] < 0, left, right)

    def across(middle: float, bow: float, width: float) -> Points:
        x = ends[:, 0] * np.abs(_ACROSS) * np.where(swell == 0, width, 1.0)
        y = ends[:, 1] + (middle - ends[:, 1]) * swell + bow * _CUPID
        return curve(np.stack([x, y], axis=1), samples=_SAMPLES)

    levels = [
        across(up - upper, 0.014, 1.04),
        across(up, 0.006, 1.0),
        across(down, 0.0, 1.0),
        across(down + lower, 0.0, 1.04),
    ]
    top, inner_up, inner_down, bottom = np.split(view(np.concatenate(levels)), 4)
    px = view.unit
    if gap > 0.02:
        _inside(scene, inner_up, inner_down, gap)
    fill(image, np.concatenate([top, inner_up[::-1]]), person.lips * 0.86)
    fill(image, np.concatenate([inner_down, bottom[::-1]]), person.lips)
    shine = ((inner_down + bottom) / 2)[8:17]
    shape = np.concatenate([moved(shine, 0.0, -0.18 * lower * px), shine[::-1]])
    blend(image, shape, mix(person.lips, np.array([255.0, 255, 255]), 0.5), 0.4)
    dark = mix(person.lips * 0.36, np.array([50.0, 14, 18]), 0.4)
    if gap <= 0.05:
        middle = (inner_up + inner_down) / 2
        stroke(image, middle, 0.026 * px * taper(_SAMPLES, 0.6), dark)
    _mouth_folds(scene, left, right, down + lower)


def _inside(scene: Scene, upper: Points, lower: Points, gap: float) -> None:
    unit, px = scene.mean, scene.view.unit
    opening = np.concatenate([upper, lower[::-1]])
    inside = scene.image.copy()
    fill(inside, opening, np.array([62.0, 18, 22]))
    if gap > 0.16:
        middle = (upper[_SAMPLES // 2] + lower[_SAMPLES // 2]) / 2
        tongue = moved(middle, 0.0, 0.45 * gap * px)
        radii = np.array([0.13, 0.24 * gap]) * px
        fill(inside, disc(tongue, radii), np.array([180.0, 80, 84]))
    white = np.array([244.0, 240, 230])
    # A smile bares the upper row, a dropped jaw hides most of it.
    reach = min(0.075, (0.3 + 0.5 * unit[12]) * gap + 0.012) * (1 - 0.3 * unit[26])
    fill(inside, np.concatenate([upper, moved(upper, 0.0, reach * px)[::-1]]), white)
    if unit[20] > 0.15:
        reach = 0.26 * gap * px * unit[20] ** 0.5
        row = np.concatenate([lower, moved(lower, 0.0, -reach)[::-1]])
        fill(inside, row, white * 0.94)
    blend(scene.image, opening, inside)


def _mouth_folds(scene: Scene, left: Points, right: Points, low: float) -> None:
    person, units = scene.person, scene.units
    chin = person.chin + 0.16 * units[0][26]
    for side, sign, corner in ((0, -1, left), (1, 1, right)):
        unit = units[side]
        start = np.array([sign * (person.nose_width + 0.03), person.nose_length - 0.07])
        start[1] -= 0.04 * unit[9]
        end = moved(corner, sign * (0.075 + 0.03 * unit[12]), 0.03 + 0.03 * unit[15])
        bulge = moved((start + end) / 2, sign * (0.035 + 0.05 * unit[12]), -0.03)
        fold = 0.12 + 0.3 * person.age + 0.62 * unit[12] + 0.7 * unit[9]
        fold += 0.3 * unit[20] + 0.2 * unit[15]
        mark(scene, np.array([start, bulge, end]), 0.028, fold)
        dimple = moved(corner, sign * 0.055, 0.0)
        line = dimple + np.array([[0.0, -0.06], [sign * 0.018, 0.0], [0.0, 0.055]])
        mark(scene, line, 0.034, 1.1 * unit[14])
        hook = corner + np.array([[0.0, 0.0], [sign * 0.035, 0.04], [sign * 0.04, 0.1]])
        mark(scene, hook, 0.024, 0.75 * unit[15] + 0.12 * person.age)
    unit = scene.mean
    under = np.array([[-0.13, low + 0.05], [0.0, low + 0.035], [0.13, low + 0.05]])
    mark(scene, under, 0.04, 0.3 + 0.5 * unit[17] + 0.2 * unit[23])
    for x, y in ((-0.07, 0.1), (0.06, 0.13), (0.0, 0.06), (-0.02, 0.16), (0.1, 0.08)):
        spot = np.array([[x - 0.02, low + y + 0.03], [x, low + y], [x + 0.02, low + y]])
        if low + y < chin:
            mark(scene, spot, 0.022, 0.6 * unit[17])
