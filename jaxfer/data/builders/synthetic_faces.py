"""Faces drawn by the project itself; needs no source."""

from functools import partial
from typing import Any

from jaxfer.data import labels
from jaxfer.data.builders.plan import Example, Plan
from jaxfer.data.builders.source import Source
from jaxfer.data.decode import encode_png
from jaxfer.data.records import FaceBuilder
from jaxfer.errors import ConfigError

CLASS_NAMES = labels.CKPLUS


class SyntheticFaces(FaceBuilder):
    """Seven expressions of drawn people, several takes each."""

    layout = "nothing: the faces are drawn"
    where = "nowhere: the faces are drawn"
    needs_source = False

    @staticmethod
    def scan(
        source: Source | None,
        *,
        subjects: int = 24,
        takes: int = 4,
        size: int = 64,
        seed: int = 0,
    ) -> Plan:
        """Plans the drawings, each in circumstances of its own.

        Args:
          source: None.
          subjects: how many people.
          takes: pictures of each expression of each person.
          size: pixels on each side.
          seed: of all that varies.

        Returns:
          The plan, subject by subject, without a split.
        """
        del source
        return plan_drawings(subjects, takes, seed=seed, size=size)


def plan_drawings(
    subjects: int, takes: int, *, seed: int, size: int, session: bool = False
) -> Plan:
    """Every expression of every person, so many takes of each; see `render`."""
    for name, value in (("subjects", subjects), ("takes", takes), ("size", size)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, found {value}.")
    drawn = partial(_draw, seed=seed, size=size, session=session)
    examples = [
        Example(
            f"S{subject:03d}/{expression}_{take:02d}.png",
            "all",
            label,
            partial(drawn, expression, subject, take),
            f"S{subject:03d}",
            f"S{subject:03d}_{expression}",
        )
        for subject in range(subjects)
        for label, expression in enumerate(CLASS_NAMES)
        for take in range(takes)
    ]
    layout = f"drawn, {subjects} subjects, {takes} takes, {size}x{size}, seed {seed}"
    return Plan(CLASS_NAMES, examples, layout=layout)


def _draw(expression: str, subject: int, take: int, **options: Any) -> bytes:
    from jaxfer.data.synthetic import render

    return encode_png(render(expression, subject, take, **options))
