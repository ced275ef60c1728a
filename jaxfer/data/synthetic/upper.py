"""Eyes, brows and the folds around them."""

import numpy as np

from jaxfer.data.synthetic.paint import (
    Points,
    blend,
    disc,
    fill,
    mix,
    moved,
    stroke,
    taper,
)
from jaxfer.data.synthetic.scene import Scene, mark

_T = np.linspace(0.0, 1.0, 19)  # along an eye or a brow, from inner to outer end


def _lids(scene: Scene, side: int) -> tuple[Points, Points]:
    """Upper and lower lid, from the inner to the outer corner, in head units."""
    person, unit, sign = scene.person, scene.units[side], 2 * side - 1
    height = person.eye_height * scene.take.lids
    squint = 0.3 * unit[7] + 0.18 * unit[6] + 0.4 * unit[9]
    upper = height * (1.0 + 0.7 * unit[5] * (1 - 0.45 * unit[7]) - squint)
    lower = 0.74 * height * (1.0 - 0.62 * unit[6] - 0.6 * unit[7] - 0.42 * unit[9])
    # Raised inner brows alone pull the inner part of the lid up: a sad slant.
    sad = unit[1] * (1.0 - unit[2])
    upper *= 1.0 - 0.16 * sad
    peak = 0.45 - 0.16 * sad
    x = sign * (person.eye_x + person.eye_width * (2 * _T - 1))
    line = -(person.eye_tilt - 0.03 * sad) * (2 * _T - 1)
    bulge = np.sin(np.pi * _T ** (np.log(0.5) / np.log(peak))) ** 0.85
    smile = 0.018 * unit[6] * np.sin(np.pi * _T)
    top = np.stack([x, line - upper * bulge], axis=1)
    bottom = np.stack([x, line + lower * np.sin(np.pi * _T) ** 0.8 - smile], axis=1)
    return top, bottom


def eye(scene: Scene, side: int) -> None:
    """Draws one eye: white, iris, pupil, highlight, lids and lashes."""
    person, view, unit, sign = scene.person, scene.view, scene.units[side], 2 * side - 1
    image, px = scene.image, scene.view.unit
    top, bottom = _lids(scene, side)
    upper, lower = view(top), view(bottom)
    opening = np.concatenate([upper, lower[::-1]])
    inside = image.copy()
    fill(inside, opening, np.array([240.0, 236, 232]))
    gaze = scene.take.gaze
    centre = np.array([[sign * person.eye_x + 0.08 * gaze[0], 0.05 * gaze[1] - 0.008]])
    middle = view(centre)[0]
    radius = 0.108 * px
    fill(inside, disc(middle, radius), person.iris * 0.45)
    fill(inside, disc(middle, radius * 0.84), person.iris)
    fill(
        inside, disc(moved(middle, 0, radius * 0.3), radius * 0.55), person.iris * 1.22
    )
    fill(inside, disc(middle, radius * 0.46), np.array([14.0, 12, 14]))
    shadow = np.concatenate([upper, moved(upper, 0, 0.035 * px)[::-1]])
    blend(inside, shadow, np.array([60.0, 44, 44]), 0.35)
    glint = moved(middle, 0.3 * radius * np.sign(scene.take.light[0]), -0.32 * radius)
    fill(inside, disc(glint, radius * 0.24, 12), np.array([255.0, 255, 255]))
    corner = view(np.array([[sign * (person.eye_x - person.eye_width * 0.97), 0.0]]))
    fill(inside, disc(corner[0], 0.022 * px, 12), np.array([214.0, 140, 132]))
    blend(image, opening, inside)

    lash = mix(np.array([26.0, 18, 18]), person.skin, 0.06)
    end = view(moved(top[-1:], sign * 0.03, 0.004))
    line = np.concatenate([upper, end])
    stroke(image, line, px * 0.036 * taper(len(line), 0.35, 0.4), lash)
    rim = mix(person.skin * 0.55, np.array([120.0, 60, 56]), 0.25)
    stroke(image, lower, px * 0.016 * taper(len(lower), 0.3, 0.6), rim)

    gap = 0.05 * (1.0 - 0.5 * unit[5] - 0.25 * unit[7]) + 0.012
    mark(scene, moved(top[2:-1:3], 0.0, -gap), 0.022, 0.6)
    _eye_folds(scene, side, bottom)


def _eye_folds(scene: Scene, side: int, bottom: Points) -> None:
    person, unit, sign = scene.person, scene.units[side], 2 * side - 1
    tight = max(unit[6], 0.75 * unit[7], 0.5 * unit[9])
    bag = moved(bottom[3:-2:4], 0.0, 0.048 - 0.012 * tight)
    mark(scene, bag, 0.024, 0.12 + 0.25 * person.age + 0.5 * tight)
    corner = np.array([sign * (person.eye_x + person.eye_width + 0.035), 0.012])
    feet = 0.85 * unit[6] + 0.35 * person.age
    for slope in (-0.5, 0.05, 0.6):
        tip = moved(corner, sign * 0.11, 0.11 * slope)
        mark(scene, np.array([corner, (corner + tip) / 2, tip]), 0.016, feet)


def brow(scene: Scene, side: int) -> None:
    """Draws one brow as a tapered band with a few hairs."""
    person, view, unit, sign = scene.person, scene.view, scene.units[side], 2 * side - 1
    inner = person.eye_x - 0.195 - 0.05 * unit[4]
    outer = person.eye_x + 0.235
    x = sign * (inner + (outer - inner) * _T)
    y = -person.brow_height - person.brow_arch * np.sin(np.pi * _T**1.35)
    sad = unit[1] * (1.0 - unit[2])
    y = y - 0.15 * unit[1] * (1.0 - 0.15 * unit[4]) * (1.0 - _T) ** 1.4
    y = y - 0.13 * unit[2] * np.sin(np.pi * (0.12 + 0.72 * _T)) * (1 - 0.35 * unit[4])
    y = y + unit[4] * (1.0 - 0.85 * unit[1]) * (0.05 + 0.125 * (1.0 - _T) ** 1.2)
    y = y + sad * unit[4] * 0.06 * _T
    y = y + unit[9] * (0.03 + 0.085 * (1.0 - _T))
    line = view(np.stack([x, y], axis=1))
    shape = np.interp(_T, [0.0, 0.12, 0.4, 0.75, 1.0], [0.55, 0.95, 1.0, 0.65, 0.12])
    width = person.brow_width * (1.0 + 0.15 * unit[4]) * shape * view.unit
    colour = mix(person.hair * 0.72, np.array([40.0, 30, 28]), 0.35)
    alpha = 0.93 if person.hair.mean() < 130 else 0.72
    half = np.stack([0.0 * width, width / 2], axis=1)
    band = np.concatenate([line - half, (line + half)[::-1]])
    blend(scene.image, band, colour, alpha)


def forehead(scene: Scene) -> None:
    """Folds of brow and nose root: raised brows, frown, wrinkled nose."""
    unit = scene.mean
    age = scene.person.age
    top = -scene.person.brow_height
    raised = 0.6 * unit[2] + 0.35 * unit[1] * (1 - unit[2]) + 0.18 * age
    wide = 0.17 + 0.22 * unit[2]
    for row in range(3):
        y = top - 0.16 - 0.085 * row - 0.06 * unit[1]
        bend = -0.02 - 0.03 * unit[1] * (1 - unit[2])
        x = np.linspace(-wide, wide, 5) * (1.0 - 0.1 * row)
        line = np.stack([x, y + bend * (1 - (x / wide) ** 2)], axis=1)
        mark(scene, line, 0.02, raised * (1.0 - 0.2 * row))
    frown = 0.9 * unit[4] + 0.35 * unit[9] + 0.1 * age
    for sign in (-1, 1):
        x = sign * (0.055 - 0.01 * unit[4])
        low = top + 0.12
        line = np.array([[x * 0.8, low], [x, low - 0.07], [x * 1.25, low - 0.16]])
        mark(scene, line, 0.024, frown)
    for row in range(3):
        y = 0.0 + 0.055 * row
        half = 0.075 + 0.012 * row
        line = np.array([[-half, y - 0.02], [0.0, y + 0.012], [half, y - 0.02]])
        mark(scene, line, 0.02, 0.95 * unit[9])
