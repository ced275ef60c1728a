"""A model card: what a trained model is, how good, and for what, as Markdown."""

import functools
import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np

from jaxfer import metrics
from jaxfer.config import VOLATILE, flatten
from jaxfer.errors import DataError
from jaxfer.evaluate import facts, run_folder
from jaxfer.evaluate.run_folder import METRICS, RunFolder
from jaxfer.evaluate.selections import MEANINGS
from jaxfer.evaluate.summary import judge_predictions, summarize

SELECTIONS = {suffix: name for name, suffix in run_folder.PREDICTIONS.items()}
"""What an export calls a selection, and what results.json calls it."""

_OPTIONAL = ("command", "data", "environment", "finished", "parameters", "seconds")
"""Entries of run.json that a card can do without."""

CONFUSED = 6
"""Pairs of classes that are listed, at most."""


class Confusion(NamedTuple):
    """A class that is often taken for another.

    Attributes:
      true: the name of the one.
      predicted: the name of the other.
      number: of images of `true` that are taken for it.
      support: all images of `true`.
    """

    true: str
    predicted: str
    number: int
    support: int


def most_confused(
    confusion: np.ndarray, class_names: Sequence[str], limit: int = CONFUSED
) -> list[Confusion]:
    """The most frequent mistakes, the most frequent first.

    Args:
      confusion: (K, K), images by [true class, predicted class].
      class_names: K names.
      limit: how many mistakes at most.
    """
    pairs = [
        Confusion(class_names[i], class_names[j], int(n), int(confusion[i].sum()))
        for (i, j), n in np.ndenumerate(confusion)
        if i != j and n
    ]
    return sorted(pairs, key=lambda pair: -pair.number)[:limit]


def model_card(
    run_dir: str | Path,
    *,
    selection: str = "validation",
    run: int = 0,
    licence: str = "",
    file: str | Path | None = None,
) -> str:
    """The card of one model of a finished run.

    Its figures are of this model alone; those over all runs stand beside them where
    there are more.

    Args:
      run_dir: the folder of a finished run.
      selection: "validation" or "last", as `jaxfer export` takes it.
      run: which of its folds and seeds.
      licence: of the data, in words; without them the card says that they are missing.
      file: that the model was exported to, for its size and hash.

    Raises:
      DataError: no folder of a finished run, or no such run or selection.
    """
    whole = run_folder.load(run_dir)
    name = SELECTIONS[selection]
    if not 0 <= run < len(whole.runs) or name not in run_folder.available(whole):
        raise DataError(
            f"{whole.path} has runs 0 to {len(whole.runs) - 1} and the selections"
            f" {', '.join(run_folder.available(whole))}; asked for {run}, {name}"
        )
    results = summarize(run_dir)
    folder = whole._replace(runs=(whole.runs[run],))
    judged = judge_predictions(folder, name)
    context = {
        "info": dict.fromkeys(_OPTIONAL) | whole.info,
        "effort": _effort(whole.info),
        "pixels": whole.config["data"].get("image_size"),
        "fields": _fields(whole.config),
        "version": whole.config.get("jaxfer_version", "unknown"),
        "run": whole.runs[run],
        "runs": len(whole.runs),
        "over_runs": results["selections"].get(name, {}),
        "meaning": MEANINGS[name],
        "protocol": facts.protocol(whole),
        "metrics": METRICS,
        "licence": licence.strip(),
        "file": _file(file),
        "limits": facts.limits(
            whole, results | {"headline": {"selection": name}}, facts.splits(whole)
        ),
        **_data(folder),
        **_judged(judged, folder.class_names),
    }
    return _template().render(context)


def _judged(judged: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """What the card says of one model's answers to the test images."""
    support = np.array([row["support"] for row in judged["per_class"]])
    images = int(support.sum())
    listed = len(names) <= metrics.CONFUSION_CLASSES
    scores = judged["selections"]["pooled"]
    accuracy = scores["accuracy"]
    bins = [b for b in judged["calibration"]["bins"] if b["count"]]
    return {
        "class_names": names,
        "listed": listed,
        "tested": int((support > 0).sum()),
        "scores": scores,
        "images": images,
        "error": math.sqrt(accuracy * (1 - accuracy) / images),
        "commonest": (names[int(support.argmax())], support.max() / images),
        "per_class": judged["per_class"],
        "confusion": judged.get("confusion"),
        "confidence": sum(b["count"] * b["confidence"] for b in bins) / images,
        "confused": most_confused(np.array(judged.get("confusion", [])), names),
        "weak": [
            (row["class"], round(row["recall"] * row["support"]), row["support"])
            for row in judged["per_class"]
            if row["support"] and row["recall"] < 0.5
        ],
    }


def _data(folder: RunFolder) -> dict[str, Any]:
    """Images of the run's fold by part and, of the training part, by class."""
    (run,) = folder.runs
    rows = [r for r in run_folder.manifest(folder) or () if int(r["fold"]) == run.fold]
    trained = Counter(row["label"] for row in rows if row["role"] == "train")
    data = folder.info.get("data") or {}
    return {
        "parts": Counter(row["role"] for row in rows),
        "trained": trained,
        "dropped": data.get("dropped") or {},
        "skipped": data.get("skipped") or 0,
        "near_duplicates": sum(
            pair["fold"] == run.fold for pair in data.get("near_duplicates") or ()
        ),
    }


def _effort(info: Mapping[str, Any]) -> str:
    """Time, memory, devices and versions that a run took, as far as they are known."""
    environment = dict(info.get("environment") or {})
    cpus = environment.pop("cpus", None)
    devices, processes = (environment.pop(k, None) for k in ("devices", "processes"))
    seconds = (info.get("seconds") or {}).get("total")
    memory = info.get("peak_memory_bytes")
    parts = [
        _duration(seconds) if seconds else "",
        f"on {devices}" if devices else "",
        f"with {cpus} processors" if cpus else "",
        f"in {processes} processes" if (processes or 1) > 1 else "",
        f"and at most {memory / 2**30:.1f} GiB of memory" if memory else "",
    ]
    text = " ".join(filter(None, parts))
    versions = ", ".join(f"{name} {value}" for name, value in environment.items())
    took = f"It took {text}." if text else ""
    return " ".join(filter(None, (took, f"Versions: {versions}." if versions else "")))


def _duration(seconds: float) -> str:
    """Minutes up to two hours, then hours."""
    if seconds < 7200:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds / 3600:.1f} hours"


def _fields(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What of the config decided the result, as JSON, in alphabetical order."""
    left_out = ("jaxfer_version", *VOLATILE)
    return sorted(
        (field, json.dumps(value))
        for field, value in flatten(config)
        if not any(field == name or field.startswith(f"{name}.") for name in left_out)
    )


def _file(path: str | Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    content = Path(path).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"name": Path(path).name, "bytes": len(content), "sha256": digest}


def _percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def _metric(value: float | None, name: str) -> str:
    """Per cent, but for the loss."""
    if value is None or name != "loss":
        return _percent(value)
    return f"{value:.3f}"


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxfer.evaluate"),
        autoescape=False,  # it is Markdown
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": _percent, "metric": _metric}
    return environment.get_template("model_card.md")
