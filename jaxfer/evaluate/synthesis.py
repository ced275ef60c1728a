"""A run's synthesised expressions, judged on its own test images.

Each test face, of a person that the model did not see, is drawn once with another
expression. Expressions are exchanged among the faces of a run, so that the drawn ones
have each as often as the real ones: accuracies of the two and the distance between
them are then about the pictures, not about how often an expression occurs.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfer import data, train
from jaxfer.errors import ConfigError, WeightsError
from jaxfer.evaluate import judges, run_folder
from jaxfer.evaluate.drawing import create_draw, middle, one_hot
from jaxfer.evaluate.identity import create_embed, similarities
from jaxfer.evaluate.recognised import Drawn, answers_of, compared
from jaxfer.evaluate.restored import check_same_data, restore
from jaxfer.evaluate.samples import people_in_turn
from jaxfer.evaluate.selections import spread
from jaxfer.evaluate.synthesized import NAME
from jaxfer.methods import draws_faces
from jaxfer.train.inputs import corruption

FACES = 512
"""Test images that are drawn, over all runs."""

OWN = "own"
"""The key of the run's own recognition branch among the recognisers."""


def measure(
    run_dir: str | Path, *, judge: Path | None = None, identity: Path | None = None
) -> dict[str, Any]:
    """Judges what a run's models draw, for its report.

    Writes RUN/report/synthesis.json and, of the first run, the grid that the report
    shows, RUN/report/synthesis.npz. What judges and identities of an earlier call said
    is kept, unless they are asked again or another selection is meanwhile judged.

    Args:
      run_dir: the folder of a finished run.
      judge: the folder of another run, of any method, that recognises the same
        expressions and was trained on real images.
      identity: see `jaxfer.evaluate.identity.create_embed`; None takes the file of
        `method.identity_weights`, where there is one.

    Returns:
      The content of synthesis.json: `images`, and `recognisers` by key, the model's
      own recognition and every judge, with accuracies of the faces as they are, of
      their `middle` and of what was `drawn` from it, and the distance; `difference`
      to real faces of the same person; `identity`, cosines, or None.

    Raises:
      JaxferError: no finished run, or one that draws no faces; its data set is not
        here or another; a judge of other classes; a training that diverged.
    """
    folder = run_folder.load(run_dir)
    if not draws_faces(folder.config):
        raise ConfigError(
            f"{folder.path} draws no faces that could be judged: expected a run of"
            " fersnet with method.multi_task=True"
        )
    if jax.process_count() > 1:  # models are read by all processes together
        raise ConfigError(
            "several processes trained this run together: `jaxfer evaluate"
            f" {folder.path}`, by one process, judges what it draws."
        )
    names = folder.class_names
    if judge and judge.resolve() == folder.path.resolve():
        raise ConfigError(
            f"{judge} is the run that is to be judged: name another one as its judge"
        )
    asked = judges.open_judge(judge, names) if judge else None
    options = folder.config["method"]
    file = Path(options.get("identity_weights") or "")
    embed = create_embed(identity) if identity else _configured(file)
    selection, restored = restore(folder)
    check_same_data(restored, folder)
    quoted = set(run_folder.by_rate(folder)[0][1].runs)
    runs = [r for r, run in zip(restored.runs, folder.runs) if run in quoted]
    draw = create_draw(restored.config, len(names))
    share = max(2, FACES // len(runs))
    parts = [
        _drawn(restored, run, draw, share, number) for number, run in enumerate(runs)
    ]
    weight = (options.get("weights") or {}).get("identity", 0.0)
    term = "file" if options.get("identity_weights") else "random"
    found: dict[str, Any] = {
        "selection": selection,
        "pictures_of": {"seed": runs[0].seed, "fold": runs[0].fold},
        "images": sum(len(part.rows) for part in parts),
        "exchange": _digest(parts),
        "identity_term": term if weight else "off",
        "recognisers": {OWN: _own(restored, parts, names)},
        "difference": _difference(parts),
        "identity": _identity(parts, *embed) if embed else None,
    }
    if asked:
        sha256 = restored.dataset.table.sha256
        found["recognisers"][str(judge)] = _judged(asked, parts, names, sha256)
    path = folder.path / "report" / f"{NAME}.json"
    if path.is_file():
        found = _with_earlier(found, run_folder.read_json(path))
    arrays = _grid(restored, runs[0], draw, len(names))
    run_folder.write_arrays(path.with_suffix(".npz"), arrays)
    run_folder.write_json(path, found)
    return found


def _configured(file: Path) -> tuple[str, Callable] | None:
    """What `method.identity_weights` names, if it is here and embeds faces."""
    try:
        return create_embed(file) if file.is_file() else None
    except WeightsError:  # its last layer may be missing: training does not need it
        return None


def _digest(parts: list[Drawn]) -> str:
    """Which faces were drawn, with which expressions."""
    pairs = np.concatenate([np.stack([p.rows, p.wanted], axis=1) for p in parts])
    return hashlib.sha256(pairs.astype(np.int64).tobytes()).hexdigest()


def _with_earlier(found: dict[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured before of the same drawn faces, overlaid by what is new."""
    if any(earlier.get(key) != found[key] for key in ("selection", "exchange")):
        return found
    return {
        **found,
        "recognisers": {**earlier["recognisers"], **found["recognisers"]},
        "identity": found["identity"] or earlier["identity"],
    }


def exchanged(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another class for each example, all of them together the same classes.

    Only where more than half are of one class must some keep theirs.

    Args:
      label: int (n,).
      rng: which of the possible exchanges; every class is taken for every other.

    Returns:
      int (n,), a permutation of `label`.
    """
    wanted = rng.permutation(label)
    for i in rng.permutation(len(label)):
        if wanted[i] != label[i]:
            continue
        fits = np.flatnonzero((wanted != label[i]) & (label != label[i]))
        if len(fits):
            j = rng.choice(fits)
            wanted[[i, j]] = wanted[[j, i]]
    return wanted


def _drawn(
    restored: train.Restored,
    run: train.RestoredRun,
    draw: Callable,
    most: int,
    seed: int,
) -> Drawn:
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(run.rows.test)[:most])
    table, config = restored.dataset.table, restored.config
    label = table.label[rows]
    wanted = exchanged(label, rng)
    images = data.read_images(restored.dataset, rows, config.data.image_size)
    change = corruption(config)
    if change is not None:
        index = jnp.asarray(rows.astype(np.int32))
        images = np.asarray(change(jnp.asarray(images), index))
    classes = len(restored.dataset.class_names)
    drawn = draw(run.variables, images, one_hot(wanted, classes))
    people, person = np.unique(table.subject[rows], return_inverse=True)
    person = np.where(people[person] == "", -1, person)
    seen = middle(images, drawn.shape[1])
    return Drawn(run, rows, label, wanted, person, images, seen, drawn)


def _own(
    restored: train.Restored, parts: list[Drawn], names: list[str]
) -> dict[str, Any]:
    """What the model's own recognition says: no independent judge."""
    deployed = restored.method.deployed
    converted = [deployed.convert(part.run.variables) for part in parts]
    size = restored.config.data.image_size
    ask = judges.create_ask(restored.method, converted[0], size)
    answers = [
        answers_of(ask, variables, part)
        for variables, part in zip(converted, parts, strict=True)
    ]
    return {
        "name": "its own recognition",
        "independent": False,
        "trained_on_drawn": bool(restored.config.method.get("fes_augmentation")),
        "seen": None,
        **compared(parts, answers, names),
    }


def _judged(
    judge: judges.Judge, parts: list[Drawn], names: list[str], sha256: np.ndarray
) -> dict[str, Any]:
    answers, seen = [], []
    for part in parts:
        place, share = judges.choose_run(judge, sha256[part.rows])
        seen.append(share)
        answers.append(answers_of(judge.ask, judges.variables_of(judge, place), part))
    known = [share for share in seen if share is not None]
    on_drawn = bool(judge.folder.config["method"].get("fes_augmentation"))
    return {
        "name": f"{judge.folder.info['method']} of {judge.folder.path}",
        "independent": not on_drawn,
        "trained_on_drawn": on_drawn,
        "trained_on": judge.folder.info["dataset"],
        "selection": judge.selection,
        "seen": float(np.mean(known)) if known else None,
        **compared(parts, answers, names),
    }


def _difference(parts: list[Drawn]) -> dict[str, Any] | None:
    """Mean absolute difference to a real face of the person with that expression.

    That of the face that was drawn from is what changing nothing would give.
    """
    values: dict[str, list[float]] = {"drawn": [], "unchanged": []}
    images = 0
    for part in parts:
        fits = part.person[:, None] == part.person[None]
        fits &= (part.person >= 0)[:, None] & (part.wanted[:, None] == part.label[None])
        has = np.flatnonzero(fits.any(axis=1))
        if not len(has):
            continue
        images += len(has)
        target = part.middle[fits[has].argmax(axis=1)].astype(np.float64)
        for name, pictures in (("drawn", part.drawn), ("unchanged", part.middle)):
            error = np.abs(pictures[has] - target) / 255
            values[name].append(float(error.mean()))
    if not images:
        return None
    return {name: spread(runs) for name, runs in values.items()} | {"images": images}


def _identity(parts: list[Drawn], name: str, embed: Callable) -> dict[str, Any]:
    found = [
        similarities(embed(part.middle), embed(part.drawn), part.label, part.person)
        for part in parts
    ]
    return {"by": name} | {
        key: spread([one[key] for one in found])
        if np.isfinite([one[key] for one in found]).all()
        else None
        for key in found[0]
    }


def _grid(
    restored: train.Restored, run: train.RestoredRun, draw: Callable, classes: int
) -> dict[str, np.ndarray]:
    """A few people with every expression, real ones beside them where there are.

    Returns:
      `person` str (P,); `source` uint8 (P, S, S, 3) with `source_label` (P,);
      `drawn` and `real` (P, K, S, S, 3), and `has_real` bool (P, K).
    """
    table, size = restored.dataset.table, restored.config.data.image_size
    chosen, real, person = people_in_turn(table, run.rows.test, classes)
    images = data.read_images(restored.dataset, chosen, size)
    every = one_hot(np.tile(np.arange(classes), len(chosen)), classes)
    drawn = draw(run.variables, np.repeat(images, classes, axis=0), every)
    side = drawn.shape[1]
    others = data.read_images(restored.dataset, np.maximum(real, 0).ravel(), size)
    shape = (len(chosen), classes, side, side, 3)
    known = bool((person != "").all())
    return {
        "person": person,
        "source": middle(images, side),
        "source_label": table.label[chosen],
        "drawn": drawn.reshape(shape),
        "real": middle(others, side).reshape(shape),
        "has_real": (real >= 0) & known,
    }
