"""MMI (Pantic et al., ICME 2005): frames by subject and emotion, or the videos."""

import re
import struct
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from functools import partial
from pathlib import Path, PurePosixPath

from jaxfer.data import labels
from jaxfer.data.builders.plan import Example, Plan, Published, Skip, SkipError
from jaxfer.data.builders.sequences import all_names, keep_whole
from jaxfer.data.builders.source import Source, is_image, layout_error, size_problem
from jaxfer.data.decode import encode_png
from jaxfer.data.records import FaceBuilder
from jaxfer.errors import ConfigError

_VIDEO = re.compile(r"((?:^|.*/)Sessions/[^/]+/)((S\d+)-\d+)\.avi$", re.IGNORECASE)
_FRAME = re.compile(r"(?:^|.*/)([^/]+)/([A-Za-z]+)/[^/]+$")

_NUMBERED = re.compile(r"(.*?)[-_. ]*(\d+)$")

_SEQUENCES = dict(zip(labels.MMI, (33, 32, 28, 42, 32, 41)))


class Mmi(FaceBuilder):
    """MMI: videos from neutral over the peak to neutral, 208 with six emotions."""

    layout = """
        frames: <subject>/<emotion>/<image>, emotions anger, disgust, fear,
        happiness, sadness, surprise; or the videos: Sessions/<id>/S001-001.avi,
        each beside its session.xml
    """
    where = """
        https://mmifacedb.eu (a signed agreement)
    """

    @staticmethod
    def scan(source: Source | None, *, frames: int | None = None) -> Plan:
        """Finds the peak frames.

        A recording is left out where one of its chosen frames cannot be read.

        Args:
          source: a folder or zip of either layout.
          frames: so many frames around the middle of each recording, where these
            recordings peak. By default one of a video, while images are taken
            to be peak frames and kept whole. Images of a folder belong to one
            recording if their names differ in the last number alone.

        Returns:
          The plan, sorted by file name.
        """
        assert source is not None
        if frames is not None and frames < 1:
            raise ConfigError(f"frames must be at least 1, found {frames}.")
        videos = {n: m for n in source.sizes if (m := _VIDEO.match(n))}
        if videos:
            examples, skips = _sessions(source, videos, frames or 1)
            layout = f"MMI videos, {frames or 1} middle frame(s)"
            total = len(examples) * 400_000
        else:
            examples, skips = _folders(source, alone=frames is None)
            layout = "MMI frames"
            if frames is not None:
                chosen, more = _middle(examples, frames)
                skips += more
                examples, more = keep_whole(source, chosen)
                skips += more
                layout += f", {frames} middle frame(s) of each recording"
            total = sum(source.sizes[e.file] for e in examples)
        if not examples:
            raise layout_error(source, "MMI", Mmi.layout, Mmi.where)
        counts = {name: n * (frames or 1) for name, n in _SEQUENCES.items()}
        published = Published(
            {"all": counts},
            31,
            f"208 sequences of 31 subjects, {frames or 1} image(s) each",
        )
        return Plan(labels.MMI, examples, skips, published, layout, total)


def _folders(source: Source, *, alone: bool) -> tuple[list[Example], list[Skip]]:
    """All images: each for itself, or to be chosen from, broken ones among them."""
    examples, skips = [], list(source.skips)
    for name in source.sizes if alone else all_names(source):
        match = _FRAME.match(name)
        emotion = labels.canonical(match[2]) if match else None
        if not is_image(name):
            skips.append(Skip(name, "not an image file"))
        elif match is None or emotion not in labels.MMI:
            skips.append(Skip(name, "not in a folder <subject>/<emotion>"))
        elif alone and (problem := size_problem(source, name)):
            skips.append(Skip(name, problem))
        else:
            examples.append(
                Example(
                    name,
                    "all",
                    labels.MMI.index(emotion),
                    partial(source.read, name),
                    match[1],
                    _recording(match[1], emotion, name),
                )
            )
    return examples, skips


def _recording(subject: str, emotion: str, name: str) -> str:
    numbered = _NUMBERED.match(PurePosixPath(name).stem)
    return "/".join(filter(None, (subject, emotion, numbered and numbered[1])))


def _middle(examples: list[Example], frames: int) -> tuple[list[Example], list[Skip]]:
    """Keeps so many frames around the middle of each recording."""
    recordings: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        recordings[example.sequence].append(example)
    kept, skips = [], []
    for name, found in recordings.items():
        if len(found) < frames:
            reason = f"{len(found)} frames where {frames} are needed"
            skips.append(Skip(name, reason))
            continue
        found.sort(key=lambda e: _frame_number(e.file))
        first = len(found) // 2 - frames // 2
        kept += found[first : first + frames]
    return sorted(kept, key=lambda e: e.file), skips


def _frame_number(file: str) -> int:
    numbered = _NUMBERED.match(PurePosixPath(file).stem)
    return int(numbered[2]) if numbered else 0


def _sessions(
    source: Source, videos: dict[str, re.Match[str]], frames: int
) -> tuple[list[Example], list[Skip]]:
    examples, skips = [], list(source.skips)
    for name, match in videos.items():
        xml = match[1] + "session.xml"
        if xml not in source.sizes:
            skips.append(Skip(name, "no session.xml beside it"))
            continue
        label = _emotion(source, xml)
        if label is None:
            skips.append(Skip(name, "session.xml names none of the six emotions"))
            continue
        for k in range(frames):
            file = name if frames == 1 else f"{name}#{k}"
            read = partial(_middle_frame, source, name, frames, k)
            examples.append(Example(file, "all", label, read, match[3], match[2]))
    return examples, skips


def _emotion(source: Source, xml: str) -> int | None:
    """The emotion that a session.xml names, as a number 1 to 6 or a word.

    It is looked for in elements called Emotion, in attributes called emotion,
    and in name-value pairs such as `<Metatag Name="Emotion" Value="4"/>`.
    """
    try:
        root = ElementTree.fromstring(source.read(xml))
    except ElementTree.ParseError:
        return None
    for element in root.iter():
        attributes = {k.lower(): v for k, v in element.attrib.items()}
        named = attributes.get("name", element.tag).lower() == "emotion"
        said = attributes.get("value", element.text) if named else None
        text = (said or attributes.get("emotion") or "").strip()
        if text in tuple("123456"):
            return int(text) - 1
        word = labels.canonical(text)
        if word in labels.MMI:
            return labels.MMI.index(word)
    return None


def _middle_frame(source: Source, name: str, frames: int, number: int) -> bytes:
    """Returns one of the middle frames of a video, as PNG, if all can be read."""
    import cv2

    with source.local(name) as path:
        if _is_cut(path):
            raise SkipError("truncated")
        video = cv2.VideoCapture(str(path))
        count = 0
        while video.grab():  # the header's frame count is not reliable
            count += 1
        video.release()
        first = count // 2 - frames // 2
        if not 0 <= first <= count - frames:
            raise SkipError(f"unreadable or too short a video ({count} frames)")
        video = cv2.VideoCapture(str(path))
        images = []
        for k in range(first + frames):
            video.grab()
            if k >= first:
                images.append(video.retrieve())
        video.release()
    if not all(good for good, _ in images):
        raise SkipError("the middle of the video cannot be decoded")
    return encode_png(cv2.cvtColor(images[number][1], cv2.COLOR_BGR2RGB))


def _is_cut(path: Path) -> bool:
    """Whether an AVI file is shorter than it says, so that its middle is unknown."""
    with path.open("rb") as file:
        kind, said = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
    unknown = said == 0xFFFFFFFF  # of a recorder that could not go back to fill it in
    return kind == b"RIFF" and not unknown and path.stat().st_size < said
