"""Training images whose label is probably wrong, as the trained model sees it.

How is said in `jaxfer.evaluate.suspicion`; here models are asked, and the list is
written.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfer import data, train
from jaxfer.errors import ConfigError, DataError
from jaxfer.evaluate import run_folder
from jaxfer.evaluate.restored import check_same_data, restore
from jaxfer.evaluate.run_folder import Run
from jaxfer.evaluate.suspicion import TOP, Ranking, over_runs, rank
from jaxfer.train.inputs import corruption

BATCH = 64
CHUNK = 16 * BATCH
"""Images that are read at once, and pass through every run's model."""


def answers(restored: train.Restored) -> list[np.ndarray]:
    """Every run's answers to its own training images and their mirror images.

    Returns:
      Log-probabilities (n, 2, K) for each run, float64, in the order of its
      training rows.
    """
    dataset, config = restored.dataset, restored.config
    predict = jax.jit(lambda v, x: restored.method.predict(v, x).logits)
    change = corruption(config)
    parts = [run.rows.train for run in restored.runs]
    found = [np.zeros((len(p), 2, len(dataset.class_names))) for p in parts]
    rows = np.unique(np.concatenate(parts)).astype(np.int32)
    for first in range(0, len(rows), CHUNK):
        chunk = rows[first : first + CHUNK]
        images = data.read_images(dataset, chunk, config.data.image_size)
        for run, part, table in zip(restored.runs, parts, found):
            at = np.flatnonzero(np.isin(part, chunk))
            for start in range(0, len(at), BATCH):
                some = at[start : start + BATCH]
                taken = np.pad(some, (0, BATCH - len(some)), mode="edge")
                one = images[np.searchsorted(chunk, part[taken])]
                if change is not None:
                    index = jnp.asarray(part[taken].astype(np.int32))
                    one = np.asarray(change(jnp.asarray(one), index))
                for view, image in enumerate((one, one[:, :, ::-1])):
                    logits = predict(run.variables, jnp.asarray(image))
                    table[some, view] = np.asarray(logits, np.float64)[: len(some)]
    for run, logits in zip(restored.runs, found):
        if not np.isfinite(logits).all():
            raise DataError(
                f"The model in {run.dir} gives numbers that are not finite: its "
                "training diverged, and it ranks nothing. Train again with a lower "
                "learning rate."
            )
        logits -= logits.max(axis=-1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return found


def _lines(
    ranking: Ranking, dataset: data.Dataset, noise: float, true_known: bool
) -> list[dict[str, Any]]:
    """A ranking in words and numbers, one dictionary an image."""
    names, table = dataset.class_names, dataset.table
    lines = []
    for number, (row, given, predicted, *values, runs) in enumerate(zip(*ranking), 1):
        score, gap, probability = (float(f"{value:.6g}") for value in values)
        line = {
            "noise": noise,
            "rank": number,
            "file": str(table.file[row]),
            "given_label": names[given],
            "predicted_label": names[predicted],
            "score": score,
            "gap_between_views": gap,
            "probability_of_given": probability,
            "runs": int(runs),
        }
        if true_known:
            line["true_label"] = names[table.label[row]]
        lines.append(line | {"row": int(row)})
    return lines


def _csv(lines: Sequence[dict[str, Any]], *, several_rates: bool) -> str:
    hidden = {"row"} if several_rates else {"row", "noise"}
    columns = [name for name in lines[0] if name not in hidden]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def measure(
    run_dir: str | Path, *, selection: str | None = None, top: int = TOP
) -> dict[str, Any]:
    """Ranks a run's training images by how suspicious their labels are.

    Writes all of them into RUN/suspect_labels.csv, a ranking for each rate of label
    noise by the mean over its runs, and what the report shows into
    RUN/report/suspect_labels.json.

    Args:
      run_dir: the folder of a finished run.
      selection: "best_by_validation" or "last"; None takes the former where
        there are validation images.
      top: how many images the report shows, of the highest rate.

    Returns:
      What suspect_labels.json then holds: `selection`; `rates`, one dictionary a
      rate, its `images` those of the list, and where labels were made wrong
      `per_run`, see `over_runs`; and `top`.

    Raises:
      JaxferError: no finished run, its data set is not here or another, or a
        selection that it lacks.
    """
    if top < 1:
        raise ConfigError(f"--top takes 1 or more, found {top}.")
    folder = run_folder.load(run_dir)
    selection, restored = restore(folder, selection)
    check_same_data(restored, folder)
    known = bool(restored.config.data.label_noise.kind)
    given = [run.labels[run.rows.train] for run in restored.runs]
    found = answers(restored)
    labels = restored.dataset.table.label
    position: dict[Run, int] = {run: number for number, run in enumerate(folder.runs)}
    rates, lines = [], []
    groups = run_folder.by_rate(folder)
    for rate, group in groups:
        mine = [position[run] for run in group.runs]
        ranking = rank(
            [restored.runs[i].rows.train for i in mine],
            [given[i] for i in mine],
            [found[i] for i in mine],
        )
        facts: dict[str, Any] = {"rate": rate, "images": len(ranking.row)}
        if known:
            alone = [
                rank([restored.runs[i].rows.train], [given[i]], [found[i]])
                for i in mine
            ]
            facts["per_run"] = over_runs(alone, labels)
        rates.append(facts)
        lines.append(_lines(ranking, restored.dataset, rate, known))
    text = _csv([x for part in lines for x in part], several_rates=len(groups) > 1)
    run_folder.write_text(folder.path / "suspect_labels.csv", text)
    content = {"selection": selection, "rates": rates, "top": lines[-1][:top]}
    run_folder.write_json(folder.path / "report" / "suspect_labels.json", content)
    return content
