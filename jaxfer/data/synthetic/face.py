"""The whole picture: background, head, features, light and the camera."""

import cv2
import numpy as np

from jaxfer.data.synthetic import hair, lower, upper
from jaxfer.data.synthetic.paint import (
    Image,
    Points,
    blend,
    curve,
    fill,
    glows,
    moved,
)
from jaxfer.data.synthetic.people import Person, Take
from jaxfer.data.synthetic.scene import Scene, draw_folds
from jaxfer.data.synthetic.units import Units
from jaxfer.data.synthetic.view import lighting, pose

_SOFT = 48  # pixels of the layers that hold only soft light and shade


def draw(person: Person, take: Take, units: Units, canvas: int) -> Image:
    """Draws one face without the camera's faults.

    Args:
      person: who is shown.
      take: pose, light and background.
      units: activations, (2, 27).
      canvas: height and width in pixels.

    Returns:
      uint8 (canvas, canvas, 3), RGB.
    """
    view = pose(take, canvas)
    scene = Scene(
        _background(take, canvas), [], view, take, person, units, units.mean(0)
    )
    head = _head(scene)
    hair.back(scene)
    _body(scene, head)
    _ears(scene)
    fill(scene.image, head, person.skin)
    _soft_light(scene)
    hair.beard(scene, head)
    lower.nose(scene)
    lower.mouth(scene)
    hair.moustache(scene)
    for side in (0, 1):
        upper.eye(scene, side)
    upper.forehead(scene)
    draw_folds(scene)
    hair.front(scene)
    for side in (0, 1):
        upper.brow(scene, side)
    hair.glasses(scene)
    shade = lighting(view, take, _SOFT)[..., None]
    # Shadows of skin turn red: blue falls off faster than red.
    tint = np.array([0.9, 1.0, 1.06], np.float32)
    _multiply(scene.image, 1.0 - (1.0 - shade) * tint)
    return scene.image


def photograph(image: Image, take: Take, size: int, rng: np.random.Generator) -> Image:
    """Reduces a canvas to a picture with the camera's exposure, blur and noise."""
    picture = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    if take.blur > 0.2:
        picture = cv2.GaussianBlur(picture, (0, 0), take.blur * size / 64)
    gain = take.exposure * np.array([1 + take.warmth, 1.0, 1 - take.warmth])
    noise = rng.standard_normal(picture.shape, np.float32) * np.float32(take.noise)
    exposed = picture * gain.astype(np.float32) + noise
    return np.rint(np.clip(exposed, 0.0, 255.0)).astype(np.uint8)


def _multiply(image: Image, small: np.ndarray) -> None:
    """Multiplies the canvas by a small float32 (h, w, 3) layer, enlarged."""
    layer = cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    cv2.multiply(image, layer, image, dtype=cv2.CV_8U)


def _background(take: Take, canvas: int) -> Image:
    one, two = take.background
    tilt = np.linspace(0.0, 1.0, 8)
    share = (0.65 * tilt[:, None] + 0.35 * tilt[None, :])[..., None]
    small = np.rint(one * (1 - share) + two * share).astype(np.uint8)
    return cv2.resize(small, (canvas, canvas), interpolation=cv2.INTER_LINEAR)


def _head(scene: Scene) -> Points:
    person, drop = scene.person, 0.16 * scene.mean[26]
    wide = person.face_width
    half = np.array(
        [
            (0.0, -1.03, 0.0),
            (0.5, -0.95, 0.0),
            (0.86, -0.62, 0.0),
            (1.0, -0.2, 0.0),
            (0.98, 0.2, 0.0),
            (0.93, 0.42, 0.02),
            (person.jaw_width, 0.7 + 0.5 * drop, 0.08),
            (person.chin_width / wide, person.chin - 0.05 + drop, 0.25),
            (0.0, person.chin + drop, 0.3),
        ]
    )
    half = half * (wide, 1.0, 1.0)
    left = half[-2:0:-1] * (-1.0, 1.0, 1.0)
    outline = curve(np.concatenate([half, left]), samples=64, closed=True)
    return scene.view(outline[:, :2], outline[:, 2])


def _body(scene: Scene, head: Points) -> None:
    person, view, image = scene.person, scene.view, scene.image
    half = np.array([(0.4, 0.4), (0.42, 0.95), (0.52, 1.12), (1.5, 1.5)])
    neck = np.concatenate([half, half[::-1] * (-1.0, 1.0)])
    shape = view(neck, -0.25)
    fill(image, shape, person.skin * 0.8)
    shaded = image.copy()
    for low, share in ((0.22, 0.74), (0.15, 0.69), (0.08, 0.64)):
        fill(shaded, moved(head, 0.0, low * view.unit), person.skin * share)
    blend(image, shape, shaded)
    half = np.array([(0.0, 1.34), (0.3, 1.2), (0.47, 1.04), (0.8, 1.16), (1.6, 1.5)])
    cloth = np.concatenate([half[:0:-1] * (-1.0, 1.0), half])
    cloth = np.concatenate([curve(cloth, samples=40), [(1.6, 2.0), (-1.6, 2.0)]])
    fill(image, view(cloth, -0.25), person.clothes)


def _ears(scene: Scene) -> None:
    person, view = scene.person, scene.view
    if person.hair_style in ("long", "bob"):
        return
    half = np.array(
        [(-0.06, -0.14), (0.06, -0.2), (0.13, -0.1), (0.11, 0.08), (0.03, 0.22)]
    )
    for sign in (-1, 1):
        shape = half * person.ear * (sign, 1.0)
        shape = moved(shape, sign * person.face_width * 0.97, 0.1)
        fill(scene.image, view(curve(shape), -0.05), person.skin * 0.94)
        inner = shape * 0.55 + shape.mean(0) * 0.45
        fill(scene.image, view(curve(inner), -0.05), person.skin * 0.74)


def _soft_light(scene: Scene) -> None:
    """Models sockets, cheeks, nose and chin, and the blush, on the bare skin."""
    person, unit = scene.person, scene.mean
    raised = max(unit[6], 0.6 * unit[12])
    low = person.mouth + person.lip_lower + 0.26 * unit[26]
    tip = person.nose_length
    pairs = [  # x, y, radii, amount; drawn on both sides
        (person.eye_x, -0.07, 0.15, 0.1, -0.14),
        (0.14, -0.06, 0.07, 0.1, -0.1),
        (0.45, 0.3 - 0.05 * raised, 0.13, 0.09, 0.05 + 0.1 * raised),
        (0.58, 0.62, 0.14, 0.16, -0.09),
    ]
    single = [
        (0.0, 0.1, 0.035, 0.16, 0.09),
        (0.0, tip - 0.06, 0.05, 0.04, 0.14),
        (0.0, -0.55, 0.35, 0.16, 0.06),
        (0.0, tip + 0.09, 0.07, 0.045, -0.1),
        (0.0, low + 0.06, 0.14, 0.035, -0.12),
        (0.0, person.chin - 0.1 + 0.12 * unit[26], 0.12, 0.06, 0.07),
        (0.0, -0.2, 0.07, 0.09, -0.12 * unit[4]),
    ]
    red = [(0.45, 0.32, 0.16, 0.12, 0.04 + 0.11 * person.blush)]
    bright = 1.0 + _layer(scene, pairs, single)
    blush = bright * (1.0 - _layer(scene, red, [(0.0, tip - 0.05, 0.09, 0.06, 0.06)]))
    _multiply(scene.image, cv2.merge([bright, blush, blush]))


def _layer(scene: Scene, pairs: list, single: list) -> np.ndarray:
    both = np.array(pairs)
    bumps = np.concatenate([both, both * (-1.0, 1, 1, 1, 1), np.array(single)])
    scale = _SOFT / scene.view.size
    centres = scene.view(bumps[:, :2]) * scale - 0.5
    return glows(_SOFT, centres, bumps[:, 2:4] * scene.view.unit * scale, bumps[:, 4])
