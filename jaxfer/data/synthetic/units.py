"""Expressions as facial action units (FACS) and how strongly each is shown."""

from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Units = NDArray[np.float64]
"""Activation in [0, 1] by side and unit number, (2, 27); 0 is the viewer's left."""

ACTION_UNITS = MappingProxyType(
    {
        1: "inner brow raiser: the inner ends of the brows go up",
        2: "outer brow raiser: the outer ends of the brows go up",
        4: "brow lowerer: the brows go down and together, frown lines between them",
        5: "upper lid raiser: white shows above the iris",
        6: "cheek raiser: cheeks and lower lids go up, crow's feet",
        7: "lid tightener: the eyes narrow, the lower lids straighten",
        9: "nose wrinkler: nose and upper lip go up, folds at the nose's root",
        12: "lip corner puller: the corners go up and out, deeper cheek folds",
        14: "dimpler: a corner is pressed inwards, a dimple beside it",
        15: "lip corner depressor: the corners go down",
        17: "chin raiser: the lower lip is pushed up, the chin puckers",
        20: "lip stretcher: the corners go straight out, the lips flatten",
        23: "lip tightener: narrow, pressed lips",
        25: "lips part: a gap between the lips",
        26: "jaw drop: the mouth hangs open",
    }
)
"""The units that are drawn: number -> what the renderer changes."""

EXPRESSIONS = MappingProxyType(
    {
        "anger": (4, 5, 7, 23),
        "contempt": (12, 14),
        "disgust": (9, 15, 17),
        "fear": (1, 2, 4, 5, 20, 26),
        "happiness": (6, 12),
        "sadness": (1, 4, 15),
        "surprise": (1, 2, 5, 26),
    }
)
"""Expression -> its action units. `neutral`, which has none, can be drawn too."""

NEUTRAL = "neutral"

# A smile shows teeth or not, a disgusted lip may curl: chance, not expression.
_OPTIONAL = {"happiness": (25, 0.65)}


def activate(expression: str, intensity: float, rng: np.random.Generator) -> Units:
    """Draws the activation of every unit for one picture.

    Each unit varies by a tenth around `intensity` and a little between the
    sides; units outside the expression keep a trace, as in real faces.
    Contempt shows on one side only.

    Args:
      expression: a key of `EXPRESSIONS` or `NEUTRAL`.
      intensity: 0 (neutral) to 1 (full).
      rng: the source of chance.

    Returns:
      Activations in [0, 1], (2, 27): [side, unit].
    """
    numbers = list(ACTION_UNITS)
    units = np.zeros((2, 1 + max(numbers)))
    units[:, numbers] = rng.uniform(0.0, 0.07, (1, len(numbers)))
    wanted = list(EXPRESSIONS.get(expression, ()))
    strength = intensity * rng.uniform(0.88, 1.08, (1, len(wanted)))
    strength = strength * rng.uniform(0.95, 1.05, (2, len(wanted)))
    side = int(rng.integers(2))
    if expression == "contempt":
        strength[side] = 0.0
    units[:, wanted] = np.maximum(units[:, wanted], strength)
    unit, share = _OPTIONAL.get(expression, (25, 0.0))
    if rng.uniform() < share:
        units[:, unit] = intensity * rng.uniform(0.5, 1.0)
    return np.clip(units, 0.0, 1.0)
