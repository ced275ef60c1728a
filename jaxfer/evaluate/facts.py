"""What a report says in words: the protocol, the splits, and honest limits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxfer.data.splits import WORDS
from jaxfer.evaluate import run_folder
from jaxfer.evaluate.run_folder import RunFolder


def corruption_name(corruption: Mapping[str, Any]) -> str:
    """A corruption and its parameter in words."""
    if corruption["name"] == "gaussian_blur":
        return "Blur, {0} × {0}".format(corruption["kernel_size"])
    return f"Noise, variance {corruption['variance']:g}"


def protocol(folder: RunFolder) -> str:
    """The protocol in words."""
    settings = folder.info.get("protocol") or {}
    kind = settings.get("kind", "")
    words = WORDS.get(kind, kind or "unknown").format(**settings)
    corruption = folder.config.get("data", {}).get("corruption", {})
    if corruption.get("name"):
        name = corruption_name(corruption).lower()
        words += f"; all images corrupted, in training and test alike ({name})"
    return words


def splits(folder: RunFolder) -> list[dict[str, Any]]:
    """Images and subjects of every fold's parts, from split_manifest.csv.

    Returns:
      One row a fold: `fold`, counts `train`, `validation`, `test`, counts
      `subjects_train` and `subjects_test`, and `shared`, the subjects on both
      sides (None where subjects are unknown). Empty without a manifest.
    """
    images: Counter[tuple[int, str]] = Counter()
    subjects: dict[tuple[int, bool], set[str]] = {}
    for row in run_folder.manifest(folder) or ():
        fold, role = int(row["fold"]), row["role"]
        images[fold, role] += 1
        subjects.setdefault((fold, role == "test"), set()).add(row["subject"])
    table = []
    for fold in sorted({fold for fold, _ in images}):
        train, test = (subjects.get((fold, side), {""}) for side in (False, True))
        known = "" not in train | test
        table.append(
            {
                "fold": fold,
                **{
                    role: images[fold, role] for role in ("train", "validation", "test")
                },
                "subjects_train": len(train) if known else None,
                "subjects_test": len(test) if known else None,
                "shared": len(train & test) if known else None,
            }
        )
    return table


def waits(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """How long each stage's training waited for streamed images.

    Returns:
      By stage, `share` of the training's time, mean over epochs and runs, and
      `workers`, the most that an epoch would have taken, None where none waited for
      long. Empty where all images were on the device.
    """
    found = {}
    for stage in folder.stages:
        mine = folder.history.get("stage", np.zeros(0)) == stage
        share, workers = (
            folder.history.get(f"input/{name}", np.full(mine.shape, np.nan))[mine]
            for name in ("wait", "workers")
        )
        if np.isfinite(share).any():
            known = workers[np.isfinite(workers)]
            found[stage] = {
                "share": float(np.nanmean(share)),
                "workers": int(known.max()) if known.size else None,
            }
    return found


def limits(
    folder: RunFolder,
    results: Mapping[str, Any],
    split_table: Sequence[Mapping[str, Any]],
) -> list[str]:
    """What a reader should keep in mind, as far as this run shows it."""
    notes = []
    runs = len(folder.runs)
    folds = len({run.fold for run in folder.runs})
    selection = results["headline"]["selection"]
    if runs == 1:
        notes.append(
            "One run: nothing is known of how much the result varies with the seed or "
            "the split. Repeat it with several seeds before comparing methods."
        )
    elif folds > 1:
        notes.append(
            f"The deviations are sample standard deviations over {runs} runs. Folds "
            "share training images, so they are no confidence interval."
        )
    if selection == "last":
        notes.append(
            "No images were held out for validation, so the last epoch is quoted; it "
            "was not chosen by any result."
        )
    if "label_noise" in results:
        note = "Training labels were made wrong on purpose; test labels were not."
        if selection == "best_by_validation":
            note += (
                " Nor were those of the validation images, by which epochs were "
                "chosen: data that is wrong by itself offers no such help. The last "
                "epoch and the mean of the last five do without."
            )
        notes.append(note)
    if (folder.info.get("protocol") or {}).get("carry_weights_across_folds"):
        notes.append(
            "Weights were carried from fold to fold, as in the authors' released code: "
            "later folds started from weights trained on their own test images. The "
            "result is no estimate of accuracy on new images."
        )
    shared = [row["shared"] for row in split_table]
    if shared and any(count is None for count in shared):
        notes.append(
            "Subjects are unknown for some images: the same person may be in training "
            "and test, which flatters the result."
        )
    elif any(shared):
        notes.append(
            f"Up to {max(shared)} subjects are in both training and test of a fold: "
            "the result does not tell how new people are recognised."
        )
    pairs = (folder.info.get("data") or {}).get("near_duplicates") or []
    if pairs:
        notes.append(
            f"{len(pairs)} pairs of near-identical images cross a train/test boundary, "
            "which flatters the result."
        )
    rows = results["per_class"][selection]
    rarest = min(rows, key=lambda row: row["support"])
    if rarest["support"] < 30:
        notes.append(
            f"The rarest class, {rarest['class']}, has {rarest['support']} test images "
            "in all: its figures, and the means over classes, rest on few examples."
        )
    if folder.info["dataset"].startswith("synthetic_"):
        notes.append(
            "These faces are drawn by a program. The result shows that the system "
            "works, not how well it reads real faces."
        )
    else:
        notes.append(
            "Expressions are labels that people gave to pictures, often of posed "
            "faces; they are not the feelings of the person shown."
        )
    notes.append(
        "Confidences are uncorrected softmax probabilities; the calibration section "
        "shows how far to trust them."
    )
    return notes
