"""The claims that a run's explanations make, measured on its own images.

Pattern maps should look alike within a class, whoever is seen, and differ between
classes; masks should mark what the decision needs. Each model is asked about test
images that it did not see; means of classes come from its training images.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxfer import train
from jaxfer.errors import ConfigError
from jaxfer.evaluate import insertion, run_folder, told
from jaxfer.evaluate.attention import ATTENTION, MASKS, PATTERN
from jaxfer.evaluate.explained import NAME
from jaxfer.evaluate.pattern_maps import (
    Sums,
    add,
    class_means,
    distances,
    nearest,
    sums,
)
from jaxfer.evaluate.restored import check_same_data, restore
from jaxfer.evaluate.samples import Ask, pictures_of
from jaxfer.evaluate.selections import spread
from jaxfer.evaluate.told import BATCH, Told

IMAGES = 4096
"""Of the training and of the test part of each run, at most; drawn with a seed."""

MASKED = 128
"""Test images for deletion and insertion, over all runs."""

CHUNK = 16 * BATCH


def measure(run_dir: str | Path) -> dict[str, Any] | None:
    """Measures a run's explanations, for its report.

    Writes RUN/report/explanations.json, and the pictures that the report shows, of the
    first run, into RUN/report/explanations.npz. Of runs with several rates of label
    noise, those of the lowest are asked.

    Args:
      run_dir: the folder of a finished run.

    Returns:
      What explanations.json then holds: `selection`, `pattern_maps` and `masks`, or
      None, and no file, where the models tell nothing beside their decision.

    Raises:
      JaxferError: no finished run, its data set is not here or another, its
        training diverged, or several processes train together.
    """
    folder = run_folder.load(run_dir)
    given = told.names(folder)
    if not given:
        return None
    if jax.process_count() > 1:  # models are read by all processes together
        raise ConfigError(
            "several processes trained this run together: `jaxfer evaluate"
            f" {folder.path}`, by one process, measures them."
        )
    selection, restored = restore(folder)
    check_same_data(restored, folder)
    quoted = set(run_folder.by_rate(folder)[0][1].runs)
    runs = [r for r, run in zip(restored.runs, folder.runs) if run in quoted]
    question = told.create_ask(restored)

    def asker(run: train.RestoredRun) -> Ask:
        return lambda rows: question(run, rows)

    first = runs[0]
    found: dict[str, Any] = {
        "selection": selection,
        "pictures_of": {"seed": first.seed, "fold": first.fold},
    }
    tests = [_drawn(run.rows.test, IMAGES, number) for number, run in enumerate(runs)]
    pictures: dict[str, np.ndarray] = {}
    table = restored.dataset.table
    classes = len(restored.dataset.class_names)
    if PATTERN in given:
        rows = []
        for number, (run, test) in enumerate(zip(runs, tests)):
            training = _drawn(run.rows.train, IMAGES, number)
            row, means = _patterns(asker(run), table, training, test, classes)
            rows.append(row)
            if run is first:
                pictures["mean_patterns"] = means.astype(np.float16)
        found["pattern_maps"] = {
            kind: {name: _spread([row[kind][name] for row in rows]) for name in values}
            for kind, values in rows[0].items()
        }
        count = np.bincount(table.label[np.concatenate(tests)], minlength=classes)
        found["largest_class_share"] = float(count.max() / count.sum())
        found["images"] = {
            "train_per_run": round(
                np.mean([min(len(run.rows.train), IMAGES) for run in runs]).item()
            ),
            "test": int(count.sum()),
        }
    kinds = [name for name in (*MASKS, ATTENTION) if name in given]
    if kinds:
        found["masks"] = _masks(restored, runs, asker, kinds)
    pictures |= pictures_of(asker(first), table, tests[0], given, classes)
    path = folder.path / "report" / f"{NAME}.json"
    run_folder.write_arrays(path.with_suffix(".npz"), pictures)
    run_folder.write_json(path, found)
    return found


def _drawn(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    """At most so many rows, in a random order that is always the same."""
    return np.random.default_rng(seed).permutation(rows)[:most]


def _spread(values: Sequence[float]) -> dict[str, Any] | None:
    """`spread`, or None where a run has no such value."""
    return spread(values) if np.isfinite(values).all() else None


def _chunks(ask: Ask, rows: np.ndarray) -> Iterator[tuple[slice, Told]]:
    for first in range(0, len(rows), CHUNK):
        part = slice(first, first + CHUNK)
        yield part, ask(rows[part])


def _patterns(
    ask: Ask, table: Any, training: np.ndarray, test: np.ndarray, classes: int
) -> tuple[dict[str, dict[str, float]], np.ndarray]:
    """The claim of pattern maps for one model, and the same of the faces' grey.

    Returns:
      Figures of `pattern_maps` and `gray_images`, and the mean pattern map of each
      class of test images (K, S, S).
    """
    names = {"pattern_maps": PATTERN, "gray_images": "gray"}
    label = table.label[test]
    people, person = np.unique(table.subject[test], return_inverse=True)
    person = np.where(people[person] == "", -1, person)
    keys, group = np.unique(np.stack([label, person]), axis=1, return_inverse=True)
    of_training: dict[str, Sums] = {}
    of_test: dict[str, Sums] = {}
    right = dict.fromkeys(names, 0)
    shape: tuple[int, ...] = ()
    for part, answer in _chunks(ask, training):
        for kind, name in names.items():
            some = sums(answer[name], table.label[training[part]], classes)
            of_training[kind] = add(of_training[kind], some) if part.start else some
    every = np.arange(classes)
    means = {k: class_means(total, every, classes) for k, total in of_training.items()}
    for part, answer in _chunks(ask, test):
        shape = answer[PATTERN].shape[1:]
        for kind, name in names.items():
            some = sums(answer[name], group[part], keys.shape[1])
            of_test[kind] = add(of_test[kind], some) if part.start else some
            chosen = nearest(answer[name], means[kind])
            right[kind] += int(np.sum(chosen == label[part]))
    figures = {
        kind: distances(of_test[kind], *keys)
        | {"nearest_class_mean_accuracy": right[kind] / len(test)}
        for kind in names
    }
    shown = class_means(of_test["pattern_maps"], keys[0], classes)
    return figures, shown.reshape(classes, *shape)


def _masks(
    restored: train.Restored,
    runs: Sequence[train.RestoredRun],
    asker: Callable[[train.RestoredRun], Ask],
    kinds: Sequence[str],
) -> dict[str, Any]:
    """Deletion and insertion by each mask, and by random ones of the same values."""
    step = insertion.create_step(restored.method.predict)
    share = max(1, -(-MASKED // len(runs)))
    curves: dict[str, list[np.ndarray]] = {}
    for number, run in enumerate(runs):
        rng = np.random.default_rng(number)
        rows = _drawn(run.rows.test, share, number)
        for first in range(0, len(rows), BATCH):
            part = rows[first : first + BATCH]
            at = np.minimum(np.arange(BATCH), len(part) - 1)
            answer = asker(run)(part)
            images, classes = answer["images"], answer["logits"].argmax(axis=1)
            for kind in kinds:
                mask = answer[kind]
                for name, order in (
                    (kind, mask),
                    (f"random {kind}", insertion.shuffled(mask, rng)),
                ):
                    both = insertion.curves(
                        step, run.variables, images[at], order[at], classes[at]
                    )
                    kept = np.stack(both, axis=1)[: len(part)]
                    curves.setdefault(name, []).append(kept)
    joined = {name: np.concatenate(parts) for name, parts in curves.items()}
    return {
        "images": len(joined[kinds[0]]),
        "shares": list(insertion.SHARES),
        "kinds": {k: _scores(joined[k], joined[f"random {k}"]) for k in kinds},
    }


def _scores(curves: np.ndarray, random: np.ndarray) -> dict[str, Any]:
    """Areas and mean curves of (n, 2, T) curves, and of those of random masks."""
    found: dict[str, Any] = {}
    for place, name in enumerate(("deletion", "insertion")):
        mine, other = (insertion.area(c[:, place]) for c in (curves, random))
        found[name] = {
            "area": _mean(mine),
            "random_area": _mean(other),
            "difference": _mean(mine - other),
            "curve": curves[:, place].mean(axis=0).tolist(),
            "random_curve": random[:, place].mean(axis=0).tolist(),
        }
    return found


def _mean(values: np.ndarray) -> dict[str, float | None]:
    count = len(values)
    error = float(values.std(ddof=1) / np.sqrt(count)) if count > 1 else None
    return {"mean": float(values.mean()), "standard_error": error}
