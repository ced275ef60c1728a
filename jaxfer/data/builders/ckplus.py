"""CK+ (Lucey et al., CVPR Workshops 2010): the official layout and CK+48."""

import re
from collections import defaultdict
from functools import partial

from jaxfer.data import labels
from jaxfer.data.builders.plan import Example, Plan, Published, Skip
from jaxfer.data.builders.source import Source, layout_error, size_problem
from jaxfer.data.records import FaceBuilder
from jaxfer.errors import ConfigError, DataError

_FRAME = re.compile(
    r"(?:^|.*/)cohn-kanade-images/(S\d+)/(\d+)/(S\d+_\d+)_(\d+)\.png$", re.IGNORECASE
)
_EMOTION = re.compile(
    r"(?:^|.*/)Emotion/(S\d+)/(\d+)/(S\d+_\d+)_\d+_emotion\.txt$", re.IGNORECASE
)
_CK48 = re.compile(r"(?:^|.*/)([A-Za-z]+)/((S\d+)_\d+)_(\d+)\.png$")

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
        official = [name for name in source.sizes if _FRAME.match(name)]
        copies = {n: m for n in source.sizes if (m := _CK48.match(n))}
        copies = {n: m for n, m in copies.items() if labels.canonical(m[1])}
        if official and copies:
            raise DataError(
                f"{source.path} holds both the official CK+ ({official[0]}) and "
                f"CK+48 ({next(iter(copies))}); name the folder of one of them."
            )
        if official:
            return _official(source, official, frames, neutral)
        if not copies:
            raise layout_error(source, "CK+", Ckplus.layout, Ckplus.where)
        if neutral:
            raise ConfigError("CK+48 has no neutral images; leave neutral off.")
        return _copy(source, copies, frames)


def _official(source: Source, images: list[str], frames: int, neutral: bool) -> Plan:
    class_names = ("neutral", *labels.CKPLUS) if neutral else labels.CKPLUS
    sequences: dict[str, list[tuple[int, str]]] = defaultdict(list)
    skips = list(source.skips)
    for name in images:
        match = _FRAME.match(name)
        assert match is not None
        if problem := size_problem(source, name):
            skips.append(Skip(name, problem))
        else:
            sequences[match[3]].append((int(match[4]), name))
    emotions, more = _emotions(source)
    skips += more
    if not emotions:
        raise DataError(
            f"{source.path} has CK+ images but no readable label. Expected files "
            "like Emotion/S005/001/S005_001_00000011_emotion.txt (the archive "
            "Emotion_labels.zip of CK+, unpacked beside cohn-kanade-images/)."
        )
    examples = []
    for sequence in sorted(sequences.keys() | emotions.keys()):
        present = [name for _, name in sorted(sequences.get(sequence, []))]
        if sequence not in emotions:
            skips.append(Skip(present[-1], "sequence without an emotion label"))
            continue
        file, number = emotions[sequence]
        if len(present) < frames:
            reason = f"{len(present)} usable frames where {frames} are needed"
            skips.append(Skip(file, reason))
            continue
        if number == 0 and not neutral:
            skips.append(Skip(file, "labelled neutral, which is not a class here"))
            continue
        label = class_names.index(
            "neutral" if not number else labels.CKPLUS[number - 1]
        )
        chosen = [(name, label) for name in present[-frames:]]
        if neutral and number and len(present) > frames:
            chosen.insert(0, (present[0], 0))
        subject = sequence.split("_")[0]
        examples += [_example(source, n, k, subject, sequence) for n, k in chosen]
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


def _emotions(source: Source) -> tuple[dict[str, tuple[str, int]], list[Skip]]:
    """Sequence -> (label file, CK+'s number of the emotion), and what is wrong."""
    emotions: dict[str, tuple[str, int]] = {}
    skips = []
    for name in source.sizes:
        match = _EMOTION.match(name)
        if match is None:
            continue
        try:
            number = float(source.text(name))
        except (ValueError, DataError):
            skips.append(Skip(name, "label is not a number"))
            continue
        if number not in range(8):
            skips.append(Skip(name, f"label {number:g} is not one of 0 to 7"))
        elif match[3] in emotions:
            skips.append(Skip(name, "second label of the same sequence"))
        else:
            emotions[match[3]] = (name, int(number))
    return emotions, skips


def _copy(source: Source, images: dict[str, re.Match[str]], frames: int) -> Plan:
    skips = list(source.skips)
    sequences: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for name in source.sizes:
        if name not in images:
            skips.append(Skip(name, "not an image of CK+48"))
            continue
        match = images[name]
        if problem := size_problem(source, name):
            skips.append(Skip(name, problem))
            continue
        expression = labels.canonical(match[1])
        if expression not in labels.CKPLUS:
            skips.append(Skip(name, f"{match[1]} is not a class of CK+"))
            continue
        same = sequences[match[2]]
        if any(number == int(match[4]) for number, _, _ in same):
            skips.append(Skip(name, "duplicate name: the same frame in another folder"))
            continue
        same.append((int(match[4]), name, expression))
    chosen = [
        (name, expression, sequence)
        for sequence, found in sorted(sequences.items())
        for _, name, expression in sorted(found)[-frames:]
    ]
    examples = [
        _example(
            source, name, labels.CKPLUS.index(kind), sequence.split("_")[0], sequence
        )
        for name, kind, sequence in chosen
    ]
    published = Published(
        {"all": {name: n * min(frames, 3) for name, n in _SEQUENCES.items()}},
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


def _example(
    source: Source, name: str, label: int, subject: str, sequence: str
) -> Example:
    return Example(name, "all", label, partial(source.read, name), subject, sequence)
