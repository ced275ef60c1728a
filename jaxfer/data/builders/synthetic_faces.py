"""Faces drawn by the project itself; needs no source."""

from functools import partial

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
        """Plans the drawings.

        Args:
          source: None.
          subjects: how many people.
          takes: pictures of each expression of each person.
          size: pixels on each side.
          seed: of all that varies.

        Returns:
          The plan, subject by subject, without a split.
        """
        for name, value in (("subjects", subjects), ("takes", takes), ("size", size)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, found {value}.")
        del source
        examples = [
            Example(
                f"S{subject:03d}/{expression}_{take:02d}.png",
                "all",
                label,
                partial(_draw, expression, subject, take, seed, size),
                f"S{subject:03d}",
                f"S{subject:03d}_{expression}",
            )
            for subject in range(subjects)
            for label, expression in enumerate(CLASS_NAMES)
            for take in range(takes)
        ]
        layout = (
            f"drawn, {subjects} subjects, {takes} takes, {size}x{size}, seed {seed}"
        )
        return Plan(CLASS_NAMES, examples, layout=layout)


def _draw(expression: str, subject: int, take: int, seed: int, size: int) -> bytes:
    from jaxfer.data.synthetic import render

    return encode_png(render(expression, subject, take, seed=seed, size=size))
