"""Training images whose label is probably wrong, as the trained model sees it.

Two scores rank an image. The first, by which the list is sorted, is the
cross-entropy of the label that was given, `-log p(label)`, averaged over the
image and its mirror image: a model that learned the rule before the exceptions
disagrees with wrong labels. The second is the gap between the two views, half
of the sum of `|p_image - p_mirror|` over classes (total variation, 0 to 1): what
a model knows by heart about one image often does not hold for its mirror.

A model that has memorised its labels agrees with all of them and finds nothing;
therefore the weights are those of the best epoch on validation images, where
there are any. The average cross-entropy is the simplest of the scores of Pleiss et
al., "Identifying Mislabeled Data using the Area Under the Margin Ranking",
https://arxiv.org/abs/2001.10528, and follows Arpit et al., "A Closer Look at
Memorization in Deep Networks", https://arxiv.org/abs/1706.05394.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxfer import data, train
from jaxfer.errors import ConfigError, DataError
from jaxfer.evaluate import run_folder
from jaxfer.evaluate.ranking import auroc, highest_first, precision_at
from jaxfer.evaluate.restored import check_same_data, restore
from jaxfer.evaluate.run_folder import Run
from jaxfer.train.inputs import corruption

BATCH = 64
CHUNK = 16 * BATCH
"""Images that are read at once, and pass through every run's model."""

TOP = 100
SCORES = ("score", "gap")


class Ranking(NamedTuple):
    """Images with the label that was given, the most suspicious first.

    Attributes:
      row: int (n,), rows of the data set's table.
      given: int (n,), the label that was trained on.
      predicted: int (n,), by the mean probabilities of both views.
      score: (n,), the mean cross-entropy of the given label.
      gap: (n,), total variation between the views' probabilities.
      probability: (n,), the mean one of the given label.
      runs: int (n,), how many runs trained on this image with this label, over
        which all of the above are averaged.
    """

    row: np.ndarray
    given: np.ndarray
    predicted: np.ndarray
    score: np.ndarray
    gap: np.ndarray
    probability: np.ndarray
    runs: np.ndarray


def view_scores(
    log_probabilities: np.ndarray, given: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The two scores of the module's text.

    Args:
      log_probabilities: (n, 2, K), of the image and its mirror image.
      given: int (n,), the labels.

    Returns:
      Mean cross-entropy (n,) and gap (n,).
    """
    told = np.take_along_axis(log_probabilities, given[:, None, None], axis=2)
    probabilities = np.exp(log_probabilities)
    gap = 0.5 * np.abs(probabilities[:, 0] - probabilities[:, 1]).sum(axis=1)
    return -told[..., 0].mean(axis=1), gap


def rank(
    rows: Sequence[np.ndarray],
    given: Sequence[np.ndarray],
    log_probabilities: Sequence[np.ndarray],
) -> Ranking:
    """Ranks the images of several runs.

    An image is one entry for each label that any run was given for it, averaged
    over the runs that trained on it so.

    Args:
      rows: for each run its training rows (n,).
      given: and their labels (n,).
      log_probabilities: and their (n, 2, K).
    """
    joined = np.concatenate(log_probabilities)
    labels = np.concatenate(given)
    classes = joined.shape[-1]
    key, entry, runs = np.unique(
        np.concatenate(rows) * classes + labels, return_inverse=True, return_counts=True
    )

    def mean(values: np.ndarray) -> np.ndarray:
        total = np.zeros((len(key), *values.shape[1:]))
        np.add.at(total, entry, values)
        return total / runs.reshape(-1, *[1] * (values.ndim - 1))

    row, label = np.divmod(key, classes)
    score, gap = map(mean, view_scores(joined, labels))
    probabilities = mean(np.exp(joined).mean(axis=1))
    ranking = Ranking(
        row=row,
        given=label,
        predicted=probabilities.argmax(axis=1),
        score=score,
        gap=gap,
        probability=probabilities[np.arange(len(key)), label],
        runs=runs,
    )
    order = highest_first(score)
    return Ranking(*(column[order] for column in ranking))


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


def judge(ranking: Ranking, true: np.ndarray) -> dict[str, Any]:
    """How well each score finds labels that are known to be wrong.

    Args:
      ranking: see `Ranking`.
      true: int (n,), the true labels in its order.

    Returns:
      `images`, `wrong_labels`, and for each of `SCORES` its `auroc`,
      `precision_at_wrong_labels` (as many images as there are wrong labels) and
      `precision_at_100`; None where there is nothing to judge.
    """
    wrong = true != ranking.given
    count = int(wrong.sum())
    found: dict[str, Any] = {"images": len(wrong), "wrong_labels": count}
    for name in SCORES:
        values = getattr(ranking, name)
        found[name] = {
            "auroc": auroc(values, wrong),
            "precision_at_wrong_labels": precision_at(count, values, wrong),
            "precision_at_100": precision_at(TOP, values, wrong) if count else None,
        }
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

    Writes all of them into RUN/suspect_labels.csv, a ranking for each rate of
    label noise, and what the report shows into RUN/report/suspect_labels.json.

    Args:
      run_dir: the folder of a finished run.
      selection: "best_by_validation" or "last"; None takes the former where
        there are validation images.
      top: how many images the report shows, of the lowest rate.

    Returns:
      What suspect_labels.json then holds: `selection`, `rates` (one dictionary a
      rate; with the entries of `judge` where labels were made wrong) and `top`.

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
        rates.append(facts | (judge(ranking, labels[ranking.row]) if known else {}))
        lines.append(_lines(ranking, restored.dataset, rate, known))
    text = _csv([x for part in lines for x in part], several_rates=len(groups) > 1)
    run_folder.write_text(folder.path / "suspect_labels.csv", text)
    content = {"selection": selection, "rates": rates, "top": lines[0][:top]}
    run_folder.write_json(folder.path / "report" / "suspect_labels.json", content)
    return content
