"""What the fields of a config take: words, ranges and shares, as a table."""

import math
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from jaxfer.data import noise, splits
from jaxfer.data.label_files import label_files

METRICS = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "ece")
"""What a plateau rule can follow, of the decision or of a `head/`."""


class Words(NamedTuple):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def takes(self) -> str:
        """The rule in words."""
        return ", ".join(word or "''" for word in self.words)

    def holds(self, value: Any) -> bool:
        """Whether a value obeys."""
        return value in self.words


class Number(NamedTuple):
    """A finite number of an interval.

    Attributes:
      low: its lower end.
      high: its upper end; none where it is infinite.
      ends: brackets as in mathematics, `[` or `]` where the end itself belongs to it.
      whole: whether only whole numbers do.
    """

    low: float
    high: float = math.inf
    ends: str = "[]"
    whole: bool = False

    @property
    def takes(self) -> str:
        """The rule in words."""
        kind = "a whole number" if self.whole else "a number"
        low, high = (_shown(end) for end in (self.low, self.high))
        first = f"from {low}" if self.ends[0] == "[" else f"above {low}"
        if self.high == math.inf:
            return (
                f"{kind}, {low} or more" if self.ends[0] == "[" else f"{kind} {first}"
            )
        last = f"to {high}" if self.ends[1] == "]" else f"to below {high}"
        return f"{kind} {first} {last}"

    def holds(self, value: Any) -> bool:
        """Whether a value obeys."""
        is_number = isinstance(value, _NUMBERS) and not isinstance(value, bool)
        if not is_number or not _finite(value) or (self.whole and value % 1):
            return False
        above = value >= self.low if self.ends[0] == "[" else value > self.low
        below = value <= self.high if self.ends[1] == "]" else value < self.high
        return bool(above and below)


class Pair(NamedTuple):
    """Two numbers of an interval, the smaller first."""

    each: Number

    @property
    def takes(self) -> str:
        """The rule in words."""
        return f"two numbers, the smaller first; each {self.each.takes}"

    def holds(self, value: Any) -> bool:
        """Whether a value obeys."""
        return _each(self.each, value) and len(value) == 2 and value[0] <= value[1]


class Other(NamedTuple):
    """Anything that a function tells.

    Attributes:
      takes: the rule in words.
      holds: whether a value obeys.
    """

    takes: str
    holds: Callable[[Any], bool]


_NUMBERS = (int, float, np.integer, np.floating)

Rule = Words | Number | Pair | Other


def _shown(end: float) -> str:
    return f"{end:,}" if isinstance(end, int) else f"{end:.6g}"


def _finite(value: Any) -> bool:
    """Whether a number is finite; those that are too large for a float are."""
    return not isinstance(value, float | np.floating) or math.isfinite(value)


def _each(rule: Number, values: Any) -> bool:
    return isinstance(values, list | tuple) and all(map(rule.holds, values))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip("./ "))


def _is_odd(value: Any) -> bool:
    return COUNT.holds(value) and value % 2 == 1


def _are_rates(values: Any) -> bool:
    return _each(SHARE, values) and 0 < len(values) == len({*values})


def _are_milestones(values: Any) -> bool:
    return _each(COUNT, values) and list(values) == sorted({*values})


def _is_metric(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    head, _, metric = value.rpartition("/")
    return not value or (metric in METRICS and "/" not in head and value[0] != "/")


COUNT = Number(1, whole=True)
COUNT_OR_NONE = Number(0, whole=True)
AMOUNT = Number(0)
POSITIVE = Number(0, ends="(]")
SHARE = Number(0, 1, "[)")
PROBABILITY = Number(0, 1)
FACTOR = Number(0, 1, "(]")
# Twelve million bytes an image: a crop of a face has no more to show, and no device
# the memory for a batch of activations of such a size.
PIXELS = Number(8, 2048, whole=True)
# JAX takes a seed's lower 32 bits: larger ones would repeat the draws of others.
SEED = Number(0, 2**32 - 1, whole=True)

RULES: dict[str, Rule] = {
    "seed": SEED,
    "epochs": COUNT,
    "finetune.epochs": COUNT_OR_NONE,
    "batch_size": COUNT,
    "images_per_class": Number(2, whole=True),  # a triplet has two of a class
    "select_after": SHARE,
    "precision": Words(("float32", "bfloat16")),
    "image_size": PIXELS,
    # data
    "data.name": Other("the name of a data set, as it was prepared", _is_name),
    "data.label_mode": Words(("majority", "soft")),
    "data.resident": Words(("auto", "always", "never")),
    "data.sampler": Words(("shuffle", "balanced")),
    "data.workers": Number(0, 256, whole=True),
    "label_noise.kind": Words(("", *noise.KINDS, "file")),
    "label_noise.rates": Other(f"different ones, each {SHARE.takes}", _are_rates),
    "corruption.name": Words(("", "gaussian_blur", "gaussian_noise")),
    "data.classes": COUNT_OR_NONE,
    "corruption.kernel_size": Other("an odd number of 1 or more", _is_odd),
    "corruption.variance": AMOUNT,
    # protocol
    "protocol.kind": Words(splits.KINDS),
    "protocol.folds": COUNT,
    "protocol.num_seeds": COUNT,
    "protocol.validation": SHARE,
    "protocol.validation_kind": Words(splits.VALIDATION_KINDS),
    "protocol.train_fraction": FACTOR,
    "protocol.parallel_folds": Words(("auto", "always", "never")),
    # optim, wherever it stands
    "optim.name": Words(("nadam", "adam", "adamw", "muon", "sgd")),
    "optim.learning_rate": AMOUNT,
    "optim.momentum": SHARE,
    "optim.b2": SHARE,
    "optim.weight_decay": AMOUNT,
    "optim.sam_radius": AMOUNT,
    "optim.clip_norm": AMOUNT,
    "optim.schedule": Words(("constant", "cosine", "exponential", "step")),
    "optim.warmup_epochs": AMOUNT,
    "optim.floor": PROBABILITY,
    "optim.decay": FACTOR,
    "optim.milestones": Other("whole numbers of 1 or more, rising", _are_milestones),
    "plateau.metric": Other(
        f"'' or one of {', '.join(METRICS)}, of a head as head/loss", _is_metric
    ),
    "plateau.factor": Number(0, 1, "()"),
    "plateau.patience": COUNT,
    "plateau.min_delta": AMOUNT,
    # augment
    "augment.translate": SHARE,
    "augment.rotate": Number(0, 180),
    "augment.shear": Number(0, 90, "[)"),
    "augment.zoom": Pair(POSITIVE),
    "augment.geometric": PROBABILITY,
    "augment.brightness": SHARE,
    "augment.contrast": SHARE,
    "augment.noise": AMOUNT,
    "augment.noise_probability": PROBABILITY,
    "augment.erase": PROBABILITY,
    "augment.erase_area": Pair(FACTOR),
    "augment.mixup": AMOUNT,
    "augment.policy": Words(("", "rand_augment", "trivial_augment")),
    "augment.policy_ops": Number(1, 16, whole=True),
    "augment.policy_magnitude": PROBABILITY,
    # checkpoint and log
    "checkpoint.every_seconds": AMOUNT,
    "checkpoint.keep": COUNT,
    "log.sheet_epochs": COUNT_OR_NONE,
    # methods
    "method.width": POSITIVE,
    "method.depth": POSITIVE,
    "method.bias_channels": COUNT,
    "method.bias_size": COUNT,
    "method.dropout": SHARE,
    "method.momentum": SHARE,
    "method.stem_stride": Number(1, 2, whole=True),
    "method.label_smoothing": SHARE,
    "method.consistency": AMOUNT,
    "method.flood_level": AMOUNT,
    "method.initial_part": Words(("trunk", "all")),
    "method.ema": SHARE,
    "method.cosine_harmony": AMOUNT,
    "method.harmony_alpha": PROBABILITY,
    "method.margin": Number(0, math.pi / 2),  # an angle
    "method.scale": POSITIVE,
    "method.margins.*": AMOUNT,
    "method.weights.*": AMOUNT,
    "method.frozen_convolutions": Number(0, 13, whole=True),
    "discriminator.steps": COUNT,
    "method.heads": Words(("shared", "separate")),
    "method.head": Words(("released", "paper")),
    "method.channel_order": Words(("bgr", "rgb")),
    "method.reconstruct": Words(("grey", "color")),
    "method.distance": Words(("absolute", "squared")),
    "method.weighting": Words(("equal", "fixed", "uncertainty")),
    "method.second_view": Words(("flip", "independent")),
    "method.harmony_variant": Words(("released", "printed", "separating")),
    "method.schedule": Words(("sequential", "alternate")),
    "method.normalization": Words(("imagenet", "vgg_face")),
    "method.mining": Words(("hard", "semi_hard", "all")),
    "method.refinement_weights": Words(("code", "text", "given")),
}
"""By the end of a field's name, wherever it stands; the longest that fits counts."""


def rule_of(field: str) -> Rule | None:
    """The rule of a field such as `fusion.optim.momentum`, or None."""
    fitting = (name for name in RULES if fnmatchcase(f".{field}", f"*.{name}"))
    name = max(fitting, key=len, default=None)
    return RULES[name] if name else None


def unmet(field: str, value: Any) -> str:
    """What a field takes, in words, where `value` is not that; else empty."""
    rule = rule_of(field)
    if rule is not None:
        return "" if rule.holds(value) else rule.takes
    values = value if isinstance(value, Iterable) else (value,)
    return "" if all(map(_finite, values)) else "finite numbers"


def contradictions(config: ml_collections.ConfigDict) -> list[str]:
    """Fields that other fields forbid, each of them right by itself."""
    protocol, wrong = config.protocol, []
    if protocol.kind != "given" and protocol.folds == 1:
        wrong.append(
            "protocol.folds is 1; it takes 2 or more with"
            f" protocol.kind={protocol.kind}"
        )
    fields = {"seed": config.seed, "protocol.num_seeds": protocol.num_seeds}
    if not any(map(unmet, fields, fields.values())) and unmet(
        "seed", sum(fields.values()) - 1
    ):
        wrong.append(
            f"protocol.num_seeds is {protocol.num_seeds}; from seed {config.seed} on,"
            f" that leads beyond the largest, {SEED.high:,}"
        )
    return wrong + _noise_files(config.data.label_noise)


def _noise_files(options: ml_collections.ConfigDict) -> list[str]:
    """What is wrong with the files of label noise, as far as the config shows it."""
    wrong = []
    if options.kind == "file" and not label_files(options.file):
        wrong.append(
            "data.label_noise.file is empty; with data.label_noise.kind=file it takes"
            " the path of a list of labels, or several with commas between them"
        )
    if options.confusion and options.kind != "pair":
        wrong.append(
            f"data.label_noise.confusion is {options.confusion!r}; it belongs to"
            " data.label_noise.kind=pair, and is empty with any other"
        )
    return wrong
