"""Hair, beard and glasses."""

import cv2
import numpy as np

from jaxfer.data.synthetic.paint import (
    Colour,
    Points,
    blend,
    curve,
    disc,
    fill,
    mix,
    stroke,
    strokes,
    taper,
)
from jaxfer.data.synthetic.scene import Scene
from jaxfer.data.synthetic.view import surface

_ARC = 33

# Style -> volume above and beside the skull, and half a hairline as points
# (share of the face's width, height), from the middle of the brow outwards.
_CUTS: dict[str, tuple[float, float, tuple[tuple[float, float], ...]]] = {
    "short": (0.09, 0.03, ((0, -0.66), (0.4, -0.68), (0.74, -0.55), (0.93, -0.2))),
    "side": (0.15, 0.05, ((0, -0.62), (0.4, -0.66), (0.76, -0.52), (0.95, -0.12))),
    "fringe": (0.13, 0.07, ((0, -0.46), (0.4, -0.46), (0.8, -0.4), (0.96, 0.1))),
    "long": (0.14, 0.12, ((0, -0.74), (0.4, -0.6), (0.78, -0.34), (0.97, 0.3))),
    "bob": (0.16, 0.14, ((0, -0.6), (0.4, -0.58), (0.8, -0.36), (0.97, 0.35))),
    "curly": (0.2, 0.16, ((0, -0.62), (0.4, -0.62), (0.76, -0.5), (0.95, -0.1))),
    "tied": (0.06, 0.02, ((0, -0.7), (0.4, -0.68), (0.78, -0.46), (0.96, -0.1))),
}


def back(scene: Scene) -> None:
    """Draws the hair behind the head."""
    person, view = scene.person, scene.view
    style, width = person.hair_style, person.face_width
    dark = person.hair * 0.74
    if style in ("long", "bob"):
        low = 1.5 if style == "long" else 0.86
        half = np.array(
            [
                (0.0, -1.1),
                (width * 0.8, -0.95),
                (width + 0.16, -0.35),
                (width + 0.2, 0.3),
                (width + (0.22 if style == "long" else 0.12), low),
                (0.3, low + 0.05),
            ]
        )
        shape = view(curve(_mirror(half), samples=48, closed=True), 0.0)
        fill(scene.image, shape, person.hair * 0.96)
    elif style == "curly":
        for centre, radius in _curls(scene, 15, 0.25):
            fill(scene.image, disc(view(centre[None], -0.2)[0], radius), dark)
    elif style == "tied":
        knot = view(np.array([[0.12 * person.hair_side, -1.1]]), -0.2)[0]
        fill(scene.image, disc(knot, 0.3 * view.unit), dark)


def front(scene: Scene) -> None:
    """Draws the hair before the head, with strands and a sheen."""
    person, view = scene.person, scene.view
    if person.hair_style == "bald":
        return
    above, beside, cut = _CUTS[person.hair_style]
    half = np.array(cut) * (person.face_width, 1.0) + (0.0, person.hairline)
    left, right = half[:0:-1] * (-1.0, 1.0), half[1:]
    middle = half[:1].copy()
    if person.hair_style == "side":
        lift = np.array([0.0, 0.16]) * person.hair_side
        left, right = left + lift * (0, 1), right - lift * (0, 1)
        left[0], right[-1] = half[-1] * (-1.0, 1.0), half[-1]
    line = curve(np.concatenate([left, middle, right]), samples=_ARC)
    if person.hair_style not in ("long", "tied"):
        line[3:-3:2, 1] += 0.022  # tufts
    # Towards the temples the hair lies as far back as the head's outline.
    depth = surface(line) * (1.0 - np.abs(line[:, 0] / person.face_width) ** 3)
    hairline = view(line, np.maximum(depth, 0.0))
    angle = np.linspace(np.pi, 0.0, _ARC)
    low = half[-1, 1]
    height = np.maximum(np.sin(angle), 0.0) ** 0.72
    x = (person.face_width + beside) * np.cos(angle)
    x = np.sign(x) * np.abs(x) ** 0.9 * (person.face_width + beside) ** 0.1
    top = np.stack([x, low - (low + 1.0 + above) * height], axis=1)
    outer = view(top, 0.0)
    fill(scene.image, np.concatenate([outer, hairline[::-1]]), person.hair)
    if person.hair_style == "curly":
        for centre, radius in _curls(scene, 13, 0.15):
            fill(scene.image, disc(view(centre[None], 0.0)[0], radius), person.hair)
    _strands(scene, hairline, outer, person.hair)


def _strands(scene: Scene, hairline: Points, outer: Points, hair: Colour) -> None:
    index = np.arange(1, _ARC - 1)
    comb = np.clip(index + np.where(index % 3, 2, -1), 0, _ARC - 1)
    bow = np.sign(index - _ARC / 2)[:, None] * (0.05 * scene.view.unit, 0.0)
    ends = np.stack([hairline[index], outer[comb]])
    ends = ends + 0.04 * (ends[::-1] - ends)
    lines = np.stack([ends[0], ends.mean(0) + bow, ends[1]], axis=1)
    lines = curve(lines, samples=9)
    shades = (hair * np.where(index % 2, 0.84, 1.13)[:, None]).tolist()
    strokes(scene.image, lines, 0.017 * scene.view.unit * taper(9, 0.2, 0.2), shades)
    sheen = [hairline * (1 - s) + outer * s for s in (0.45, 0.66)]
    band = np.concatenate([sheen[0][5:-5], sheen[1][5:-5][::-1]])
    blend(scene.image, band, mix(hair, np.array([255.0, 250, 240]), 0.3), 0.2)


def _curls(scene: Scene, count: int, size: float) -> list[tuple[Points, float]]:
    person = scene.person
    angle = np.linspace(-0.12 * np.pi, 1.12 * np.pi, count)
    centres = np.stack(
        [
            (person.face_width + 0.06) * np.cos(angle),
            -0.38 - 0.66 * np.sin(angle),
        ],
        axis=1,
    )
    sizes = size * (1.0 + 0.18 * np.sin(7.0 * angle)) * scene.view.unit
    return list(zip(centres, sizes))


def _mirror(half: Points) -> Points:
    return np.concatenate([half, half[:0:-1] * (-1.0, 1.0)])


def beard(scene: Scene, head: Points) -> None:
    """Shades stubble or a full beard over jaw and chin; `head` is its outline."""
    person, view, image = scene.person, scene.view, scene.image
    if person.beard not in ("stubble", "full"):
        return
    drop = 0.1 * scene.mean[26]
    width, up = person.face_width, person.nose_length + 0.1
    inner = [(-0.96, 0.0), (-0.8, 0.36), (-0.55, up), (0.0, up - 0.02)]
    inner += [(0.55, up), (0.8, 0.36), (0.96, 0.0)]
    low = person.chin + drop + 0.03
    outer = [(0.99, 0.2), (0.86, 0.7), (0.42, low - 0.08), (0.0, low)]
    outer += [(-0.42, low - 0.08), (-0.86, 0.7), (-0.99, 0.2)]
    shape = curve(np.array(inner + outer) * (width, 1.0), samples=60, closed=True)
    mask = np.zeros(image.shape[:2], np.uint8)
    fill(mask, view(shape), 255.0)
    mask = cv2.GaussianBlur(mask, (0, 0), 0.045 * view.unit)
    within = np.zeros_like(mask)
    fill(within, head, 255.0)
    alpha = 0.3 if person.beard == "stubble" else 0.86
    weight = (cv2.min(mask, within) * np.float32(alpha / 255.0))[..., None]
    colour = mix(person.hair * 0.7, person.skin * 0.45, 0.35).astype(np.float32)
    image[:] = np.rint(image + (colour - image) * weight).astype(np.uint8)


def moustache(scene: Scene) -> None:
    """Draws a moustache between nose and upper lip."""
    person, view, unit = scene.person, scene.view, scene.mean
    if person.beard not in ("moustache", "full"):
        return
    top = person.nose_length + 0.055 - 0.03 * unit[9]
    low = person.mouth - person.lip_upper - 0.03 * unit[25] - 0.05 * unit[26]
    low -= 0.035 * unit[9]
    wide = person.mouth_width * (0.98 + 0.25 * unit[12] + 0.2 * unit[20])
    end = person.mouth - 0.05 - 0.1 * unit[12] + 0.06 * unit[15]
    half = [(0.0, top + 0.02), (wide * 0.45, top + 0.025), (wide, end)]
    half += [(wide * 0.5, low - 0.005), (0.02, low - 0.012)]
    points = np.array(half)
    shape = np.concatenate([points, points[::-1] * (-1.0, 1.0)])
    colour = person.hair * 0.85
    blend(scene.image, view(curve(shape, samples=40, closed=True)), colour, 0.93)


def glasses(scene: Scene) -> None:
    """Draws glasses: frames, bridge, temples and a faint reflection."""
    person, view = scene.person, scene.view
    if person.glasses == "none":
        return
    power = 1.0 if person.glasses == "round" else 0.5
    frame = mix(person.clothes * 0.35, np.array([20.0, 18, 20]), 0.6)
    width = 0.034 * view.unit
    angle = np.linspace(0.0, 2 * np.pi, 41)
    for sign in (-1, 1):
        x, y = np.cos(angle), np.sin(angle)
        x, y = np.sign(x) * np.abs(x) ** power, np.sign(y) * np.abs(y) ** power
        rim = np.stack([sign * person.eye_x + 0.245 * x, 0.02 + 0.19 * y], axis=1)
        lens = view(rim, 0.84)
        blend(scene.image, lens, np.array([235.0, 242, 250]), 0.07)
        slant = (
            rim[[24, 27, 34, 37]] * 0.8 + np.array([sign * person.eye_x, 0.02]) * 0.2
        )
        blend(scene.image, view(slant, 0.84), np.array([255.0, 255, 255]), 0.1)
        stroke(scene.image, lens, width, frame)
        side = np.array([[sign * (person.eye_x + 0.24), -0.02], [sign * 0.76, -0.04]])
        stroke(scene.image, view(side, np.array([0.84, 0.05])), width, frame)
    gap = person.eye_x - 0.24
    bridge = curve(np.array([[-gap, -0.0], [0.0, -0.035], [gap, 0.0]]), samples=9)
    stroke(scene.image, view(bridge, 0.9), width, frame)
