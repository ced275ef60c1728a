"""CK+ (Lucey et al., CVPR Workshops 2010): the official layout and CK+48."""

import re
from collections import defaultdict
from functools import partial

from jaxfer.data import labels
from jaxfer.data.builders.plan import Example, Plan, Published, Skip
from jaxfer.data.builders.sequences import all_names, keep_whole
from jaxfer.data.builders.source import Source, layout_error
from jaxfer.data.records import FaceBuilder
from jaxfer.errors import ConfigError, DataError

_FRAME = re.compile(
    r"(?:^|.*/)cohn-kanade-images/(S\d+)/(\d+)/(S\d+_\d+)_(\d+)\.png$", re.IGNORECASE
)
_EMOTION = re.compile(
    r"(?:^|.*/)Emotion/(S\d+)/(\d+)/(S\d+_\d+)_(\d+)_emotion\.txt$", re.IGNORECASE
)
_CK48 = re.compile(r"(?:^|.*/)([A-Za-z]+)/((S\d+)_\d+)_(\d+)\.png$", re.IGNORECASE)

_CK48_FRAMES = 3
"""What CK+48 has of each sequence, the last being the peak."""

_SEQUENCES = dict(zip(labels.CKPLUS, (45, 18, 59, 25, 69, 28, 83)))


class Ckplus(FaceBuilder):
    """CK+: posed expressions from neutral to the peak, 327 labelled sequences."""

    layout = """
        the official folders: cohn-kanade-images/S005/001/S005_001_00000001.png and
        Emotion/S005/001/S005_001_00000011_emotion.txt; or the copy called CK+48:
        CK+48/anger/S010_004_00000017.png, one folder per class
    """
    where = """
        official: https://www.jeffcohn.net/resources/ (a signed agreement);
        name the folder that holds cohn-kanade-images/ and Emotion/, or a zip of it
    """

    @staticmethod
    def scan(source: Source | None, *, frames: int = 1, neutral: bool = False) -> Plan:
        """Finds the peak frames of all labelled sequences.

        A sequence is left out where one of the frames that are wanted of it is
        missing or cannot be read: no other frame takes its place.

        Args:
          source: the official folders or CK+48, told apart by what is in them.
          frames: the last so many frames of a sequence, the last being the peak.
          neutral: adds the first frame of each labelled sequence as an eighth
            class, neutral, which then comes first (official layout only).

        Returns:
          The plan, sorted by subject, sequence and frame, in both layouts: the
          class folders of CK+48 would put one class after the other.
        """
        assert source is not None
        if frames < 1:
            raise ConfigError(f"frames must be at least 1, found {frames}.")
        names = all_names(source)
        official = {n: m for n in names if (m := _FRAME.match(n))}
        copies = {n: m for n in names if (m := _CK48.match(n))}
        copies = {n: m for n, m in copies.items() if labels.canonical(m[1])}
        if official and copies:
            one, other = next(iter(official)), next(iter(copies))
            raise DataError(
                f"{source.path} holds both the official CK+ ({one}) and CK+48 "
                f"({other}); name the folder of one of them."
            )
        if official:
            return _official(source, official, frames, neutral)
        if not copies:
            raise layout_error(source, "CK+", Ckplus.layout, Ckplus.where)
        if neutral:
            raise ConfigError("CK+48 has no neutral images; leave neutral off.")
        return _copy(source, copies, frames)


def _official(
    source: Source, images: dict[str, re.Match[str]], frames: int, neutral: bool
) -> Plan:
    class_names = ("neutral", *labels.CKPLUS) if neutral else labels.CKPLUS
    sequences: dict[str, dict[int, str]] = defaultdict(dict)
    skips = list(source.skips)
    for name, match in images.items():
        first = sequences[match[3]].setdefault(int(match[4]), name)
        if first != name:
            skips.append(Skip(name, "duplicate name: the same frame in another folder"))
    emotions, more = _emotions(source)
    skips += more
    if not emotions:
        raise DataError(
            f"{source.path} has CK+ images but no readable label. Expected files "
            "like Emotion/S005/001/S005_001_00000011_emotion.txt (the archive "
            "Emotion_labels.zip of CK+, unpacked beside cohn-kanade-images/)."
        )
    chosen = []
    for sequence in sorted(sequences.keys() | emotions.keys()):
        found = sequences.get(sequence, {})
        present = [found[frame] for frame in sorted(found)]
        if sequence not in emotions:
            skips.append(Skip(present[-1], "sequence without an emotion label"))
            continue
        file, number, peak = emotions[sequence]
        needed = frames + bool(neutral and number)
        if number == 0 and not neutral:
            skips.append(Skip(file, "labelled neutral, which is not a class here"))
            continue
        if peak > max(found, default=0):
            skips.append(Skip(file, "the peak frame, which it names, is missing"))
            continue
        if len(present) < needed:
            reason = f"{len(present)} frames where {needed} are needed"
            skips.append(Skip(file, reason))
            continue
        label = class_names.index(
            "neutral" if not number else labels.CKPLUS[number - 1]
        )
        if needed > frames:
            chosen.append(_example(source, present[0], 0, sequence))
        chosen += [_example(source, n, label, sequence) for n in present[-frames:]]
    examples, more = keep_whole(source, chosen)
    skips += more
    counts = {name: n * frames for name, n in _SEQUENCES.items()}
    published = Published(
        {"all": counts | ({"neutral": 327} if neutral else {})},
        118,
        "Lucey et al. 2010: 327 labelled sequences",
    )
    return Plan(
        class_names,
        examples,
        skips,
        published,
        f"CK+, official layout, last {frames} frame(s) of each labelled sequence",
        sum(source.sizes[e.file] for e in examples),
    )


def _emotions(source: Source) -> tuple[dict[str, tuple[str, int, int]], list[Skip]]:
    """Sequence -> (label file, CK+'s number of the emotion, frame), and problems."""
    emotions: dict[str, tuple[str, int, int]] = {}
    skips = []
    for name in source.sizes:
        match = _EMOTION.match(name)
        if match is None:
            continue
        try:
            number = float(source.text(name))
        except ValueError:
            skips.append(Skip(name, "label is not a number"))
            continue
        except DataError:
            skips.append(Skip(name, "label cannot be read"))
            continue
        if number not in range(8):
            skips.append(Skip(name, f"label {number:g} is not one of 0 to 7"))
        elif match[3] in emotions:
            skips.append(Skip(name, "second label of the same sequence"))
        else:
            emotions[match[3]] = (name, int(number), int(match[4]))
    return emotions, skips


def _copy(source: Source, images: dict[str, re.Match[str]], frames: int) -> Plan:
    skips = list(source.skips)
    sequences: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    skips += [Skip(n, "not an image of CK+48") for n in source.sizes if n not in images]
    for name, match in images.items():
        expression = labels.canonical(match[1])
        if expression not in labels.CKPLUS:
            skips.append(Skip(name, f"{match[1]} is not a class of CK+"))
            continue
        same = sequences[match[2]]
        if any(number == int(match[4]) for number, _, _ in same):
            skips.append(Skip(name, "duplicate name: the same frame in another folder"))
            continue
        same.append((int(match[4]), name, expression))
    chosen = []
    for sequence, found in sorted(sequences.items()):
        found.sort()
        if len(found) < _CK48_FRAMES:
            reason = (
                f"its sequence has {len(found)} of {_CK48_FRAMES} frames; the peak may "
                "be missing"
            )
            skips.append(Skip(found[-1][1], reason))
            continue
        chosen += [
            _example(source, name, labels.CKPLUS.index(expression), sequence)
            for _, name, expression in found[-frames:]
        ]
    examples, more = keep_whole(source, chosen)
    skips += more
    each = min(frames, _CK48_FRAMES)
    published = Published(
        {"all": {name: n * each for name, n in _SEQUENCES.items()}},
        118,
        "981 files, three of each of 327 sequences",
    )
    return Plan(
        labels.CKPLUS,
        examples,
        skips,
        published,
        f"CK+48, last {frames} frame(s) of each sequence",
        sum(source.sizes[e.file] for e in examples),
    )


def _example(source: Source, name: str, label: int, sequence: str) -> Example:
    subject = sequence.split("_")[0]
    return Example(name, "all", label, partial(source.read, name), subject, sequence)
