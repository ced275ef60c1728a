"""Finding, checking and comparing configs.

A config file is `configs/<method>_<dataset>.py` with `get_config()`, which
starts from a method's `default_config()`; that in turn starts from
`base_config()` below, the fields that every experiment has.
"""

import difflib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_collections

from jaxfer.config_rules import contradictions, unmet
from jaxfer.errors import ConfigError

VOLATILE = ("workdir", "checkpoint", "log", "data.dir", "data.workers")
"""Fields that may differ when a run continues: they do not change its result."""


_PACKAGE = Path(__file__).resolve().parent
_FOLDERS = (_PACKAGE.parent / "configs", _PACKAGE / "_configs")
"""Of the shipped configs: in a checkout, and inside an installed wheel."""


def optimizer_config() -> ml_collections.ConfigDict:
    """The fields of one optimiser; see `jaxfer.methods.optimizers`."""
    return ml_collections.ConfigDict(
        {
            "name": "nadam",
            "learning_rate": 1e-4,
            "momentum": 0.9,  # sgd's momentum; b1 of the others
            "b2": 0.999,
            "weight_decay": 0.0,  # L2 in the gradient; decoupled for adamw, muon
            "sam_radius": 0.0,  # of sharpness-aware minimisation; 0: off
            "clip_norm": 0.0,  # 0: no clipping of the global norm
            "schedule": "constant",
            "warmup_epochs": 0.0,
            "floor": 0.0,  # cosine: the last rate, as a share of the first
            "decay": 0.9,  # exponential: factor an epoch; step: factor a milestone
            "milestones": (),  # step: epochs
            "plateau": {
                "metric": "",  # "": off; or accuracy, head/loss, ...
                "factor": 0.1,
                "patience": 200,
                "min_delta": 1e-4,
            },
        }
    )


def base_config() -> ml_collections.ConfigDict:
    """Every field that all experiments share, with its default."""
    return ml_collections.ConfigDict(
        {
            "seed": 0,
            "workdir": "",  # "": runs/<name of the config>
            "epochs": 100,
            "batch_size": 32,
            "precision": "float32",  # of the arithmetic; parameters stay float32
            "data": {
                "name": "synthetic_faces",
                "dir": "",  # "": $JAXFER_DATA_DIR, or the user's cache
                "classes": 0,  # how many there must be; 0: as many as there are
                "image_size": 224,  # pixels kept in memory; the model may resize
                "label_mode": "majority",  # or soft: the vote distribution
                "resident": "auto",  # keep the images on the device as uint8
                "sampler": "shuffle",  # or balanced: every class equally often
                "workers": 0,  # decoding processes where images are streamed
                # wrong training labels; validation and test stay as they are
                "label_noise": {
                    "kind": "",  # "": none; symmetric, pair, or a file
                    "rates": (0.1, 0.2, 0.3),  # of symmetric and pair, each a run
                    # of pair: a CSV of K rows of K numbers; "": k turns into k + 1
                    "confusion": "",
                    # of kind file: lists in RAF-DB's format, with commas between
                    # them, each a run
                    "file": "",
                },
                # applied to training and test images alike
                "corruption": {"name": "", "kernel_size": 15, "variance": 0.01},
            },
            "protocol": {
                "kind": "given",
                "folds": 5,
                "seed": 0,  # of the split, whatever the seeds of training
                "num_seeds": 1,  # trainings of each fold, from `seed` upwards
                "validation": 0.2,  # share of the training part; 0: none
                "validation_kind": "last",
                "train_fraction": 1.0,  # of what is left, drawn from every class
                "parallel_folds": "auto",
                "carry_weights_across_folds": False,
            },
            "optim": optimizer_config().to_dict(),
            "augment": {
                "flip": False,
                "translate": 0.0,  # share of the side
                "rotate": 0.0,  # degrees
                "shear": 0.0,  # degrees
                "zoom": (1.0, 1.0),  # least and largest
                "geometric": 1.0,  # probability of the four above
                "brightness": 0.0,  # 0.2: a factor between 0.8 and 1.2
                "contrast": 0.0,
                "noise": 0.0,  # variance of Gaussian noise, on the 0..255 scale
                "noise_probability": 0.5,
                "erase": 0.0,  # probability of random erasing
                "erase_area": (0.02, 0.25),  # share of the image
                "mixup": 0.0,  # alpha of the Beta distribution; 0: off
            },
            # Writing a deep network's thousands of arrays takes seconds of a CPU.
            "checkpoint": {"every_seconds": 300.0, "keep": 2},
            "log": {"progress": True, "tensorboard": True},
        }
    )


def find_config(name: str) -> Path:
    """The file that `--config NAME` means.

    Tried in order: the path itself, `configs/` of a checkout, the copy inside
    an installed wheel; `.py` may be left out.

    Raises:
      ConfigError: no such file; names the nearest shipped config.
    """
    for candidate in (name, f"{name}.py"):
        for folder in (Path(), *_FOLDERS):
            path = folder / candidate
            if path.is_file():
                return path.resolve()
    raise ConfigError(
        f"no config {name!r}: expected a file, or one of the shipped configs"
        f" {', '.join(_shipped())}.{_nearest(Path(name).stem + '.py', _shipped())}"
    )


def nearest_config(name: str) -> str:
    """The config that a word means: itself, or a shipped one; empty where none."""
    try:
        find_config(name)
        return name
    except ConfigError:
        near = difflib.get_close_matches(f"{Path(name).stem}.py", _shipped(), n=1)
        return near[0] if near else ""


def _shipped() -> list[str]:
    return sorted(p.name for f in _FOLDERS for p in f.glob("*.py") if p.name[0] != "_")


def read_config(path: Path) -> ml_collections.ConfigDict:
    """The config of a file's `get_config()`.

    Raises:
      ConfigError: the file has none, it fails, or it lacks fields that every
        experiment has.
    """
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config()
    except Exception as error:
        raise ConfigError(
            f"{path} does not give a config: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(config, ml_collections.ConfigDict):
        raise ConfigError(
            f"{path} does not give a config: get_config() returns a"
            f" {type(config).__name__}; it should return a ConfigDict, such as a"
            " method's default_config()"
        )
    if missing := missing_fields(config):
        raise ConfigError(
            f"{path} does not give a whole config: it lacks {', '.join(missing)};"
            " start from a method's default_config()"
        )
    return config


def missing_fields(
    config: Mapping[str, Any], like: Mapping[str, Any] | None = None
) -> list[str]:
    """Fields that a config lacks, of those of all experiments or of another config."""
    given = dict(flatten(config))
    return [name for name, _ in flatten(like or base_config()) if name not in given]


def completed(
    config: Mapping[str, Any], like: ml_collections.ConfigDict
) -> ml_collections.ConfigDict:
    """A config with the fields that it lacks, from another.

    Args:
      config: of a run that an earlier version trained, for one.
      like: where the fields are taken from: a new field is by default what there was
        before it.
    """
    if isinstance(config, ml_collections.ConfigDict):
        config = config.to_dict()  # a copy that is not locked
    whole = ml_collections.ConfigDict(config)
    values = dict(flatten(like))
    for field in missing_fields(config, like):
        *groups, name = field.split(".")
        inner = whole
        for group in groups:
            if group not in inner:
                inner[group] = {}
            inner = inner[group]
        inner[name] = values[field]
    return whole


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `("optim.learning_rate", 1e-4)` and so on, depth first."""
    for key, value in config.items():
        if isinstance(value, Mapping | ml_collections.ConfigDict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def check_field(config: ml_collections.ConfigDict, field: str) -> None:
    """Raise ConfigError, with the nearest name, unless `field` exists."""
    known = [name for name, _ in flatten(config)]
    if field in known:
        return
    inner = [name for name in known if name.startswith(f"{field}.")]
    if inner:
        raise ConfigError(
            f"config field {field!r} is a group: set one of {', '.join(inner)}"
        )
    leaf = [n for n in known if n.rsplit(".", 1)[-1] == field.rsplit(".", 1)[-1]]
    hint = f" Did you mean {leaf[0]!r}?" if len(leaf) == 1 else _nearest(field, known)
    raise ConfigError(f"the config has no field {field!r}.{hint}")


def validate(config: ml_collections.ConfigDict) -> None:
    """Check words and ranges before anything slow begins.

    Raises:
      ConfigError: lists every field that is missing or wrong, and what it takes.
    """
    if missing := missing_fields(config):
        raise ConfigError(
            f"the config is not whole: it lacks {', '.join(missing)};"
            " start from a method's default_config()"
        )
    wrong = [
        f"{field} is {value!r}; it takes {expected}"
        for field, value in flatten(config)
        if (expected := unmet(field, value))
    ]
    wrong += contradictions(config)
    if wrong:
        field = wrong[0].split(" ", 1)[0]
        raise ConfigError(
            "the config is not valid:\n  "
            + "\n  ".join(wrong)
            + f"\nSet fields in the config file, or as --config.{field}=VALUE."
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lines `field: old -> new` for all fields but the volatile ones."""
    before, after = dict(flatten(old)), dict(flatten(new))
    lines = []
    for field in sorted(before.keys() | after.keys()):
        if any(field == v or field.startswith(f"{v}.") for v in VOLATILE):
            continue
        a, b = (json.dumps(d.get(field), sort_keys=True) for d in (before, after))
        if a != b:
            lines.append(f"{field}: {a} -> {b}")
    return lines
