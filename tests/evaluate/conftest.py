"""A made-up but complete run folder, as the trainer leaves it."""

import csv
import itertools
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import toy
from matplotlib.figure import Figure

from jaxfer import train
from jaxfer.data import read_images

CLASSES = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
METRICS = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "ece")
STAGES = {"joint": 40, "fusion": 24}
SKILL = {"local": 2.0, "global": 2.6, "fused": 3.1, "decision": 3.5}


VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Checks nesting, and collects ids, links and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.text = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids += [attributes["id"]] if "id" in attributes else []
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            if name in attributes:
                self.links.append(attributes[name])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def fake_logits(rng, labels, skill):
    """Logits that favour the true class, and mix up a few neighbours."""
    k = len(CLASSES)
    logits = rng.normal(0, 1.15, (len(labels), k))
    logits[np.arange(len(labels)), labels] += skill
    logits[np.arange(len(labels)), (labels + 3) % k] += 0.45 * skill * (labels % 3 == 1)
    return (1.6 * logits).astype(np.float32)


def fake_curve(rng, epochs, best, start=0.15):
    rise = 1 - np.exp(-np.arange(1, epochs + 1) / (epochs / 5))
    return np.clip(start + (best - start) * rise + rng.normal(0, 0.012, epochs), 0, 1)


def write_predictions(path, rng, rows, labels, cfnet, skill):
    heads = SKILL if cfnet else {"decision": 3.0}
    arrays = {
        f"logits/{h}": fake_logits(rng, labels, skill * s) for h, s in heads.items()
    }
    if cfnet:
        local = np.clip(rng.normal(0.44 + 0.012 * labels, 0.05), 0, 1)
        arrays["features/alpha_local"] = local.astype(np.float32)
        arrays["features/alpha_global"] = (1 - local).astype(np.float32)
    np.savez(path, index=rows.astype(np.int32), label=labels.astype(np.int32), **arrays)


def write_wrong_labels(path, rng, rows, labels, rate):
    """A share of wrong labels, and a model that memorised some of them."""
    wrong = rng.permutation(rows)[: round(rate * len(rows))]
    true = labels[wrong]
    given = ((true + rng.integers(1, len(CLASSES), len(true))) % len(CLASSES)).astype(
        np.int32
    )
    told = np.where(rng.random(len(true)) < 0.4, given, true)
    logits = {"logits/decision": fake_logits(rng, told, 4.0)}
    np.savez(path, index=wrong.astype(np.int32), label=true, given=given, **logits)


def write_run(
    path,
    *,
    folds=5,
    seeds=1,
    validation=True,
    cfnet=True,
    examples=327,
    stages=STAGES,
    rates=(),
    skill=1.0,
):
    """Writes a run folder; the same arguments give the same bytes."""
    rng = np.random.default_rng(0)
    path.mkdir(parents=True, exist_ok=True)
    share = [0.14, 0.06, 0.18, 0.08, 0.21, 0.09, 0.24]
    labels = np.sort(rng.choice(len(CLASSES), examples, p=share)).astype(np.int32)
    order = rng.permutation(examples)
    parts = np.array_split(order, max(folds, 2))  # one fold: a given test half
    subjects = np.empty(examples, int)  # of three images each, within one part
    for i, part in enumerate(parts):
        subjects[part] = 100 * i + np.arange(len(part)) // 3
    runs, history = [], []
    for seed, rate in itertools.product(range(seeds), rates or (0.0,)):
        for fold in range(folds):
            folder = Path() if seeds == 1 else Path(f"seed_{seed:02}")
            if len(rates) > 1:
                folder /= f"noise_{100 * rate:g}"
            name = (folder / f"fold_{fold:02}").as_posix()
            directory = path / name
            directory.mkdir(parents=True)
            runs.append({"seed": seed, "fold": fold, "noise": rate, "dir": name})
            rows = np.sort(parts[fold])
            for selection in ("last", *(["validation"] if validation else [])):
                target = directory / f"predictions_{selection}.npz"
                write_predictions(
                    target, rng, rows, labels[rows], cfnet, skill * (1 - rate)
                )
                if rate:
                    others = np.setdiff1d(order, rows)
                    target = directory / f"wrong_labels_{selection}.npz"
                    write_wrong_labels(target, rng, others, labels, rate)
            step = 0
            for stage, epochs in stages.items():
                top = (0.84 if stage == "joint" else 0.88) * skill * (1 - rate**2)
                start = 0.15 if stage == "joint" else 0.6
                curves = {
                    "train": fake_curve(rng, epochs, min(top + 0.14, 1.0), start),
                    "validation": fake_curve(rng, epochs, top + 0.01, start),
                    "test": fake_curve(rng, epochs, top - 0.01, start),
                }
                if not validation:
                    del curves["validation"]
                drop = int(epochs * (0.55 + 0.04 * fold))
                for epoch in range(epochs):
                    step += 8
                    row = {
                        "seed": seed,
                        "fold": fold,
                        "noise": f"{rate:.7g}",
                        "stage": stage,
                        "epoch": epoch,
                        "step": step,
                        "seconds": round(0.9 * epoch + 1.1, 3),
                        "lr_scale": 1.0 if epoch < drop else 0.1,
                    }
                    for part, curve in curves.items():
                        a = curve[epoch]
                        values = {
                            "loss": -1.6 * np.log(np.clip(a, 0.02, 0.995)) + 0.05,
                            "accuracy": a,
                            "balanced_accuracy": 0.97 * a,
                            "macro_f1": 0.96 * a,
                            "ece": 0.3 * (1 - a),
                        }
                        for metric in METRICS[:2] if part == "train" else METRICS:
                            row[f"{part}/{metric}"] = f"{values[metric]:.6f}"
                    history.append(row)
    with (path / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
    with (path / "split_manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["fold", "role", "file", "sha256", "label", "subject"])
        for fold in range(folds):
            rest = np.concatenate([part for i, part in enumerate(parts) if i != fold])
            cut = int(0.8 * len(rest)) if validation else len(rest)
            roles = {"train": rest[:cut], "validation": rest[cut:], "test": parts[fold]}
            for role, rows in roles.items():
                for row in rows:
                    subject = f"S{subjects[row]:03}"
                    file_name = f"{subject}/{row:05}.png"
                    label = CLASSES[labels[row]]
                    writer.writerow(
                        [fold, role, file_name, f"{row:064x}", label, subject]
                    )
    counts = {c: int(np.sum(labels == i)) for i, c in enumerate(CLASSES)}
    info = {
        "dataset": "ckplus",
        "class_names": list(CLASSES),
        "method": "cfnet" if cfnet else "resnet18",
        "stages": list(stages),
        "runs": runs,
        "protocol": {
            "kind": "subject",
            "folds": folds,
            "validation": 0.2 if validation else 0.0,
            "validation_kind": "last",
            "seeds": list(range(seeds)),
        },
        "environment": {
            "python": "3.11.7",
            "jax": "0.10.2",
            "devices": ["TFRT_CPU_0"],
            "platform": "Linux x86_64, 2 cores",
        },
        "command": "python -m jaxfer.launch --config cfnet_ckplus.py "
        "--config.protocol.kind=subject --config.optim.learning_rate=3e-4",
        "seconds": {"total": 912.4, "joint": 801.0, "fusion": 66.2},
        "peak_memory_bytes": 3_412_000_000,
        "data": {
            "examples": examples,
            "counts": {"all": counts},
            "near_duplicates": [
                {
                    "fold": 2,
                    "train_file": "S011/00033.png",
                    "test_file": "S044/00132.png",
                    "distance": 3,
                }
            ],
            "dropped": {"no majority": 4},
            "skipped": 2,
        },
        "parameters": 13_912_405,
    }
    config = {
        "jaxfer_version": "0.1.0",
        "seed": 0,
        "method": {"name": info["method"]},
        "data": {
            "name": "ckplus",
            "label_noise": {"kind": "symmetric" if rates else "", "rates": rates},
            "corruption": {"name": "", "kernel_size": 15, "variance": 0.01},
        },
    }
    (path / "run.json").write_text(json.dumps(info))
    (path / "config.json").write_text(json.dumps(config))
    return path


def add_classes(path, count=300):
    """Lets a run know more classes, which no image has and no answer names."""
    info = json.loads((path / "run.json").read_text())
    info["class_names"] += [f"c{k}" for k in range(len(info["class_names"]), count)]
    (path / "run.json").write_text(json.dumps(info))
    for file in path.rglob("predictions_*.npz"):
        with np.load(file) as table:
            arrays = dict(table)
        for name, array in arrays.items():
            if name.startswith("logits/"):
                fill = ((0, 0), (0, count - array.shape[1]))
                arrays[name] = np.pad(array, fill, constant_values=-1e9)
        np.savez(file, **arrays)
    return path


def toy_data():
    """The toy with rows that tell the class, as columns would not in a mirror."""
    found = toy.dataset()
    images = read_images(found, np.arange(60), 8).transpose(0, 2, 1, 3)
    encoded = [cv2.imencode(".png", x[..., ::-1])[1].tobytes() for x in images]
    return replace(found, source=toy.Records({"image": e} for e in encoded))


def patch_toys(patch, folder):
    """The toy stands in for data and method."""
    toy.stand_in(patch, toy_data())
    patch.setenv("JAXFER_DATA_DIR", str(folder / "data"))


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory):
    """A trained toy run of three folds at two rates, to be copied."""
    folder = tmp_path_factory.mktemp("toy")
    config = toy.config(folds=3)
    config.data.label_noise.kind = "symmetric"
    config.data.label_noise.rates = (0.0, 0.25)
    with pytest.MonkeyPatch.context() as patch:
        patch_toys(patch, folder)
        options = {"command": "python -m jaxfer.launch", "say": lambda line: None}
        train.run(config, folder / "run", **options)
    return folder / "run"


@pytest.fixture(scope="session")
def widen():
    """`add_classes`: more of them than a report lists."""
    return add_classes


@pytest.fixture
def toys(monkeypatch, tmp_path):
    """The toy stands in for data and method; a function that gives its data."""
    patch_toys(monkeypatch, tmp_path)
    return toy_data


@pytest.fixture(scope="session")
def run_writer():
    """`write_run`, for fixtures that outlive a test."""
    return write_run


@pytest.fixture(scope="session")
def parse():
    """`Page`, which fails for wrongly nested elements."""
    return Page


@pytest.fixture
def undrawn(monkeypatch):
    """Figures without content, for pages whose figures are not looked at."""

    def savefig(figure, file, **options):
        write = file.write_text if isinstance(file, Path) else file.write
        write('<svg viewBox="0 0 1 1"></svg>')

    monkeypatch.setattr(Figure, "savefig", savefig)


@pytest.fixture
def make_run(tmp_path):
    """A function that writes a run folder and returns its path."""
    return lambda **options: write_run(tmp_path / "run", **options)
