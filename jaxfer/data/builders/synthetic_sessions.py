"""Faces drawn by the project itself, each person in one session; needs no source."""

from jaxfer.data.builders.plan import Plan
from jaxfer.data.builders.source import Source
from jaxfer.data.builders.synthetic_faces import SyntheticFaces, plan_drawings


class SyntheticSessions(SyntheticFaces):
    """Seven expressions of drawn people, each posed in a laboratory in one session.

    So are the sequences of a person in CK+, Oulu-CASIA and MMI: faces are seen from
    the front, cropped alike, and two pictures of one person differ in little but the
    expression. The people are those of `SyntheticFaces` of the same seed.
    """

    @staticmethod
    def scan(
        source: Source | None,
        *,
        subjects: int = 48,
        takes: int = 2,
        size: int = 64,
        seed: int = 0,
    ) -> Plan:
        """Plans the drawings, see `SyntheticFaces.scan`."""
        del source
        return plan_drawings(subjects, takes, seed=seed, size=size, session=True)
