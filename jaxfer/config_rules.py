"""What the fields of a config take: words, ranges and shares."""

from typing import Any

from jaxfer.data import noise, splits

CHOICES: dict[str, tuple[str, ...]] = {
    "data.label_mode": ("majority", "soft"),
    "data.corruption.name": ("", "gaussian_blur", "gaussian_noise"),
    "data.resident": ("auto", "always", "never"),
    "data.sampler": ("shuffle", "balanced"),
    "data.label_noise.kind": ("", *noise.KINDS, "file"),
    "protocol.kind": splits.KINDS,
    "protocol.validation_kind": splits.VALIDATION_KINDS,
    "protocol.parallel_folds": ("auto", "always", "never"),
    "precision": ("float32", "bfloat16"),
    "optim.name": ("nadam", "adam", "adamw", "sgd"),
    "optim.schedule": ("constant", "cosine", "exponential", "step"),
    "method.heads": ("shared", "separate"),
    "method.head": ("released", "paper"),
    "method.channel_order": ("bgr", "rgb"),
    "method.weighting": ("equal", "fixed", "uncertainty"),
    "method.second_view": ("flip", "independent"),
    "method.harmony_variant": ("released", "printed", "separating"),
    "method.schedule": ("sequential", "alternate"),
    "method.normalization": ("imagenet", "vgg_face"),
    "method.mining": ("hard", "semi_hard", "all"),
    "method.refinement_weights": ("code", "text", "given"),
}
"""Fields that take one of a few words, wherever they stand in the config."""

MINIMA: dict[str, float] = {
    "epochs": 1,
    "finetune.epochs": 0,
    "batch_size": 1,
    "seed": 0,
    "learning_rate": 0,
    "weight_decay": 0,
    "clip_norm": 0,
    "sam_radius": 0,
    "warmup_epochs": 0,
    "images_per_class": 1,
    "method.frozen_convolutions": 0,
    "plateau.patience": 1,
    "data.image_size": 8,
    "data.workers": 0,
    "corruption.variance": 0,
    "protocol.num_seeds": 1,
    "checkpoint.keep": 1,
    "log.sheet_epochs": 0,
    "augment.rotate": 0,
    "augment.shear": 0,
    "augment.noise": 0,
    "augment.mixup": 0,
}
"""Fields that take this or more, wherever they stand; the longest name counts."""

SHARES = (
    "protocol.validation",
    "augment.translate",
    "augment.brightness",
    "augment.contrast",
)
"""Fields that take 0 or more, below 1."""

PROBABILITIES = (
    "protocol.train_fraction",
    "augment.geometric",
    "augment.noise_probability",
    "augment.erase",
)
"""Fields that take 0 to 1."""

RANGES = ("augment.zoom", "augment.erase_area")
"""Fields that take a smallest and a largest number."""

METRICS = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "ece")
"""What a plateau rule can follow, of the decision or of a `head/`."""


def unmet(field: str, value: Any) -> str:
    """What a field takes, in words, where `value` is not that; else empty."""

    def is_field(name: str) -> bool:
        return f".{field}".endswith(f".{name}")

    for name, words in CHOICES.items():
        if is_field(name) and value not in words:
            return ", ".join(word or "''" for word in words)
    # Negated comparisons, so that nan is wrong everywhere.
    closest = max(filter(is_field, MINIMA), key=len, default=None)
    if closest and not value >= MINIMA[closest]:
        return f"{MINIMA[closest]} or more"
    if any(map(is_field, SHARES)) and not 0 <= value < 1:
        return "a share from 0 to below 1"
    if any(map(is_field, PROBABILITIES)) and not 0 <= value <= 1:
        return "a probability from 0 to 1"
    if is_field("label_noise.rates") and not (
        value and all(0 <= rate < 1 for rate in value) and len({*value}) == len(value)
    ):
        return "different shares from 0 to below 1"
    if any(map(is_field, RANGES)) and not (
        len(value) == 2 and 0 < value[0] <= value[1]
    ):
        return "two numbers above 0, the smaller first"
    if is_field("kernel_size") and not (value >= 1 and value % 2):
        return "an odd number of 1 or more"
    if is_field("plateau.metric"):
        head, _, metric = value.rpartition("/")
        if value and (metric not in METRICS or "/" in head or value[0] == "/"):
            return f"'' or one of {', '.join(METRICS)}, of a head as head/loss"
    return ""
