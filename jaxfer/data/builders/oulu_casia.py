"""Oulu-CASIA NIR&VIS (Zhao et al., Image and Vision Computing 29, 2011)."""

import re
from collections import defaultdict
from functools import partial

from jaxfer.data import labels
from jaxfer.data.builders.plan import Example, Plan, Published, Skip
from jaxfer.data.builders.sequences import all_names, keep_whole
from jaxfer.data.builders.source import Source, layout_error
from jaxfer.data.records import FaceBuilder
from jaxfer.errors import ConfigError, DataError

CAMERAS = ("VL", "NI")
LIGHTS = ("Strong", "Weak", "Dark")

_FRAME = re.compile(
    r"(?:^|.*/)(VL|NI)_Acropped/(Strong|Weak|Dark)/(P\d+)/([A-Za-z]+)/"
    r"(\d+)\.(?:jpe?g|png)$",
    re.IGNORECASE,
)

_SUBJECTS = 80


class OuluCasia(FaceBuilder):
    """Oulu-CASIA: posed expressions from neutral to the peak, 480 sequences."""

    layout = """
        VL_Acropped/Strong/P001/Anger/000.jpeg: the camera (VL or NI), the light
        (Strong, Weak or Dark), 80 subjects, six emotions, frames in order
    """
    where = """
        the University of Oulu, Center for Machine Vision and Signal Analysis (a
        signed agreement); name the folder that holds VL_Acropped/, or a zip of it
    """

    @staticmethod
    def scan(
        source: Source | None,
        *,
        frames: int = 1,
        camera: str = "VL",
        light: str = "Strong",
    ) -> Plan:
        """Finds the peak frames of all sequences of one camera and light.

        A sequence is left out where one of its chosen frames cannot be read.

        Args:
          source: the cropped images.
          frames: the last so many frames of a sequence, the last being the peak.
          camera: `VL`, visible light, or `NI`, near infrared.
          light: `Strong`, `Weak` or `Dark`.

        Returns:
          The plan, sorted by subject, emotion and frame.
        """
        assert source is not None
        if frames < 1:
            raise ConfigError(f"frames must be at least 1, found {frames}.")
        for option, value, known in (
            ("camera", camera, CAMERAS),
            ("light", light, LIGHTS),
        ):
            if value not in known:
                raise ConfigError(
                    f"{option} must be one of {', '.join(known)}, found {value!r}."
                )
        images = {n: m for n in all_names(source) if (m := _FRAME.match(n))}
        if not images:
            raise layout_error(source, "Oulu-CASIA", OuluCasia.layout, OuluCasia.where)
        wanted = (camera.lower(), light.lower())
        here = {n: m for n, m in images.items() if _recording(m) == wanted}
        if not here:
            found = sorted({f"{m[1]}_Acropped/{m[2]}" for m in images.values()})
            raise DataError(
                f"{source.path} has no {camera}_Acropped/{light}; found "
                f"{', '.join(found)}. Choose another camera or light."
            )
        examples, skips = _peaks(source, here, frames)
        skips = [
            *source.skips,
            *(Skip(n, "not a frame") for n in source.sizes if n not in images),
            *skips,
        ]
        counts = dict.fromkeys(labels.OULU_CASIA, _SUBJECTS * frames)
        return Plan(
            labels.OULU_CASIA,
            examples,
            skips,
            Published({"all": counts}, _SUBJECTS, "480 sequences of 80 subjects"),
            f"Oulu-CASIA, {camera}, {light}, last {frames} frame(s) of each sequence",
            sum(source.sizes[e.file] for e in examples),
        )


def _recording(match: re.Match[str]) -> tuple[str, str]:
    return match[1].lower(), match[2].lower()


def _peaks(
    source: Source, images: dict[str, re.Match[str]], frames: int
) -> tuple[list[Example], list[Skip]]:
    sequences: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    skips = []
    for name, match in images.items():
        emotion = labels.canonical(match[4])
        if emotion not in labels.OULU_CASIA:
            skips.append(Skip(name, f"{match[4]} is not an emotion of Oulu-CASIA"))
        else:
            sequences[match[3].upper(), emotion].append((int(match[5]), name))
    chosen = []
    for (subject, emotion), present in sorted(sequences.items()):
        numbers = [number for number, _ in present]
        if len(set(numbers)) < len(numbers):
            reason = f"several frames of {subject}/{emotion} have the same number"
            skips += [Skip(name, reason) for _, name in present]
        elif len(present) < frames:
            reason = f"{len(present)} frames where {frames} are needed"
            skips.append(Skip(present[0][1].rpartition("/")[0], reason))
        else:
            label = labels.OULU_CASIA.index(emotion)
            chosen += [
                Example(
                    name,
                    "all",
                    label,
                    partial(source.read, name),
                    subject,
                    f"{subject}/{emotion}",
                )
                for _, name in sorted(present)[-frames:]
            ]
    examples, more = keep_whole(source, chosen)
    return examples, skips + more
