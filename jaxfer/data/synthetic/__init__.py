"""Synthetic faces: pictures of people that do not exist, drawn from a seed."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from jaxfer.data.synthetic import people
from jaxfer.data.synthetic.face import draw, photograph
from jaxfer.data.synthetic.units import (
    ACTION_UNITS,
    EXPRESSIONS,
    NEUTRAL,
    activate,
)
from jaxfer.errors import ConfigError

__all__ = ["ACTION_UNITS", "EXPRESSIONS", "NEUTRAL", "render"]

_MIN_CANVAS = 192  # below it, folds of the skin would fall between the pixels


def render(
    expression: str,
    identity: int,
    take: int,
    *,
    seed: int = 0,
    size: int = 96,
    intensity: float | None = None,
    session: bool = False,
) -> NDArray[np.uint8]:
    """Draws a face showing an expression.

    Every picture follows from (seed, identity, expression, take) alone; the
    person from (seed, identity). Pose, light, background, exposure, blur and
    noise differ between all pictures. Those of a session are taken in a laboratory,
    from the front, in one light and before a grey wall, at the height of the
    expression; a person's differ in the noise and small movements alone. Equal to the
    bit for the same versions of NumPy and OpenCV.

    Args:
      expression: a key of `EXPRESSIONS`, or `NEUTRAL`.
      identity: who, 0 or more.
      take: which picture of that person and expression, 0 or more.
      seed: seed of the whole set, 0 or more.
      size: height and width in pixels, 16 or more.
      intensity: of the action units, 0 to 1; None draws it from [0.5, 1], or in a
        session from [0.75, 1].
      session: whether all pictures of a person are of one session.

    Returns:
      uint8 (size, size, 3), RGB.

    Raises:
      ConfigError: an unknown expression or a number out of its range.
    """
    names = sorted((*EXPRESSIONS, NEUTRAL))
    if expression not in names:
        raise ConfigError(
            f"Unknown expression {expression!r}; expected one of {names}."
        )
    for name, value in (("identity", identity), ("take", take), ("seed", seed)):
        if value < 0:
            raise ConfigError(f"{name} must be 0 or more, found {value}.")
    if size < 16:
        raise ConfigError(f"size must be at least 16 pixels, found {size}.")
    if intensity is not None and not 0.0 <= intensity <= 1.0:
        raise ConfigError(f"intensity must be in [0, 1], found {intensity}.")
    who = _person(seed, identity)
    rng = np.random.default_rng([seed, 1, identity, names.index(expression), take])
    drawn = rng.uniform(0.75 if session else 0.5, 1.0)
    circumstances = people.take(rng)
    if session:
        shared = people.sitting(np.random.default_rng([seed, 2, identity]))
        circumstances = people.moved(shared, rng)
    units = activate(expression, drawn if intensity is None else intensity, rng)
    canvas = size * max(2, -(-_MIN_CANVAS // size))
    return photograph(draw(who, circumstances, units, canvas), circumstances, size, rng)


@lru_cache(maxsize=256)
def _person(seed: int, identity: int) -> people.Person:
    return people.person(np.random.default_rng([seed, 0, identity]))
