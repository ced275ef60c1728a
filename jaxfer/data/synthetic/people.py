"""Who is drawn, and under which circumstances: the nuisances of the pictures.

Lengths are in head units: half a head's height is about 1, x to the right,
y downwards, the origin between the eyes.
"""

from typing import NamedTuple

import numpy as np

from jaxfer.data.synthetic.paint import Colour, mix

_SKIN = np.array(
    [
        (244, 214, 194),
        (238, 200, 172),
        (229, 184, 148),
        (205, 153, 114),
        (172, 120, 84),
        (142, 97, 68),
        (112, 76, 55),
        (88, 61, 46),
    ],
    np.float64,
)

_HAIR = np.array(
    [
        (24, 20, 22),
        (38, 28, 26),
        (66, 44, 32),
        (96, 62, 40),
        (132, 88, 52),
        (196, 152, 92),
        (222, 190, 134),
        (150, 66, 34),
        (120, 116, 114),
        (206, 204, 202),
    ],
    np.float64,
)

_IRIS = np.array(
    [
        (62, 38, 24),
        (84, 52, 28),
        (112, 80, 40),
        (70, 110, 132),
        (92, 130, 160),
        (86, 116, 74),
        (110, 118, 122),
    ],
    np.float64,
)

HAIR_STYLES = ("short", "side", "fringe", "long", "bob", "curly", "tied", "bald")
GLASSES = ("none", "round", "square")
BEARDS = ("none", "stubble", "moustache", "full")


class Person(NamedTuple):
    """What stays the same over all pictures of one person."""

    skin: Colour
    hair: Colour
    iris: Colour
    clothes: Colour
    lips: Colour
    hair_style: str
    hairline: float
    hair_side: float
    glasses: str
    beard: str
    face_width: float
    jaw_width: float
    chin_width: float
    chin: float
    eye_x: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    brow_height: float
    brow_width: float
    brow_arch: float
    nose_length: float
    nose_width: float
    mouth: float
    mouth_width: float
    lip_upper: float
    lip_lower: float
    ear: float
    age: float
    blush: float


class Take(NamedTuple):
    """What changes from one picture to the next."""

    yaw: float
    pitch: float
    roll: float
    zoom: float
    shift: tuple[float, float]
    gaze: tuple[float, float]
    lids: float
    light: tuple[float, float]
    contrast: float
    warmth: float
    exposure: float
    background: tuple[Colour, Colour]
    blur: float
    noise: float


def person(rng: np.random.Generator) -> Person:
    """Draws a person."""
    uniform = rng.uniform
    skin = _ramp(_SKIN, uniform()) * rng.normal(1.0, 0.015, 3)
    tone = float(skin.mean())
    dark_hair = tone < 150 and uniform() < 0.85
    hair = _HAIR[rng.integers(3 if dark_hair else len(_HAIR))] + rng.normal(0, 5, 3)
    iris = _IRIS[rng.integers(2 if tone < 150 else len(_IRIS))]
    style = str(
        rng.choice(HAIR_STYLES, p=(0.18, 0.15, 0.12, 0.14, 0.12, 0.12, 0.11, 0.06))
    )
    bearded = style not in ("long", "bob", "tied", "fringe") and uniform() < 0.45
    return Person(
        skin=np.clip(skin, 20, 255),
        hair=np.clip(hair, 12, 240),
        iris=iris,
        clothes=rng.uniform(30, 220, 3),
        lips=mix(skin * 0.86, np.array([180.0, 58, 68]), uniform(0.35, 0.65)),
        hair_style=style,
        hairline=uniform(-0.05, 0.06),
        hair_side=float(rng.choice((-1.0, 1.0))),
        glasses=str(rng.choice(GLASSES, p=(0.76, 0.12, 0.12))),
        beard=str(rng.choice(BEARDS[1:])) if bearded else "none",
        face_width=uniform(0.72, 0.82),
        jaw_width=uniform(0.72, 0.86),
        chin_width=uniform(0.22, 0.32),
        chin=uniform(1.0, 1.1),
        eye_x=uniform(0.32, 0.355),
        eye_width=uniform(0.19, 0.215),
        eye_height=uniform(0.096, 0.118),
        eye_tilt=uniform(-0.012, 0.022),
        brow_height=uniform(0.24, 0.28),
        brow_width=uniform(0.045, 0.085),
        brow_arch=uniform(0.035, 0.065),
        nose_length=uniform(0.38, 0.45),
        nose_width=uniform(0.13, 0.19),
        mouth=uniform(0.645, 0.69),
        mouth_width=uniform(0.265, 0.31),
        lip_upper=uniform(0.035, 0.055),
        lip_lower=uniform(0.045, 0.075),
        ear=uniform(0.9, 1.15),
        age=uniform() ** 2,
        blush=uniform(0.0, 1.0),
    )


def take(rng: np.random.Generator) -> Take:
    """Draws the circumstances of one picture."""
    uniform = rng.uniform
    wall = uniform(50, 215) + rng.normal(0, 22, 3)
    return Take(
        yaw=uniform(-0.22, 0.22),
        pitch=uniform(-0.11, 0.11),
        roll=uniform(-0.11, 0.11),
        zoom=uniform(0.94, 1.06),
        shift=(uniform(-0.07, 0.07), uniform(-0.06, 0.06)),
        gaze=(uniform(-0.3, 0.3), uniform(-0.15, 0.2)),
        lids=uniform(0.9, 1.06),
        light=(uniform(-0.9, 0.9), uniform(-0.75, 0.1)),
        contrast=uniform(0.2, 0.62),
        warmth=uniform(-0.06, 0.06),
        exposure=uniform(0.9, 1.1),
        background=(
            np.clip(wall, 15, 245),
            np.clip(wall + rng.normal(0, 26, 3) + uniform(-30, 30), 10, 250),
        ),
        blur=uniform(0.0, 0.45),
        noise=uniform(1.0, 5.5),
    )


def sitting(rng: np.random.Generator) -> Take:
    """Draws the circumstances of a session in a laboratory, nearly the same for all."""
    uniform = rng.uniform
    wall = np.full(3, uniform(118, 132))
    return Take(
        yaw=uniform(-0.05, 0.05),
        pitch=uniform(-0.03, 0.03),
        roll=uniform(-0.025, 0.025),
        zoom=uniform(1.15, 1.19),  # cropped to the face
        shift=(uniform(-0.015, 0.015), uniform(-0.015, 0.015)),
        gaze=(uniform(-0.1, 0.1), uniform(-0.05, 0.05)),
        lids=uniform(0.94, 1.03),
        light=(uniform(-0.1, 0.1), uniform(-0.5, -0.3)),
        contrast=uniform(0.2, 0.3),
        warmth=uniform(-0.01, 0.01),
        exposure=uniform(0.98, 1.02),
        background=(wall + 8, wall - 8),
        blur=uniform(0.0, 0.2),
        noise=uniform(1.0, 2.5),
    )


def moved(session: Take, rng: np.random.Generator) -> Take:
    """Another picture of one session: the head does not keep quite still."""

    def near(value: float, scale: float) -> float:
        return value + scale * rng.normal()

    return session._replace(
        yaw=near(session.yaw, 0.008),
        pitch=near(session.pitch, 0.006),
        roll=near(session.roll, 0.004),
        shift=(near(session.shift[0], 0.003), near(session.shift[1], 0.003)),
        lids=near(session.lids, 0.02),
    )


def _ramp(colours: np.ndarray, share: float) -> Colour:
    place = share * (len(colours) - 1)
    first = min(int(place), len(colours) - 2)
    return mix(colours[first], colours[first + 1], place - first)
