"""Test images that a run got right and wrong, with thumbnails."""

import base64
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from jaxfer.evaluate import run_folder
from jaxfer.evaluate.run_folder import RunFolder

ImageOf = Callable[[int], np.ndarray]
"""Row of the data set's table -> uint8 (H, W, 3), RGB."""

SHOWN = 12
_SIDE = 160


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def thumbnail(image: np.ndarray) -> str:
    """A JPEG data URI of an RGB image, its longer side at most 160 pixels."""
    scale = min(1.0, _SIDE / max(image.shape[:2]))
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    small = cv2.resize(np.asarray(image), size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 86])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _spread_over_classes(labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """`order`, rearranged so that classes take turns."""
    turn: dict[int, int] = {}
    turns: list[tuple[int, int]] = []
    for row in order:
        label = int(labels[row])
        turns.append((turn.get(label, 0), len(turns)))
        turn[label] = turn.get(label, 0) + 1
    return order[[position for _, position in sorted(turns)]]


def choose(
    folder: RunFolder, selection: str, image_of: ImageOf | None
) -> dict[str, list[dict[str, Any]]]:
    """Examples of the first seed's test images, 12 right and 12 wrong.

    Right ones are drawn at random, classes taking turns; wrong ones are those
    with the highest confidence. The draw is the same every time.

    Args:
      folder: the run.
      selection: whose predictions.
      image_of: reads an image; None leaves thumbnails out.

    Returns:
      `right` and `wrong`, each a list of `true`, `predicted`, `confidence`,
      `row` (of the data set's table), `fold` and `image` (a data URI or None).
    """
    seed = folder.runs[0].seed
    runs = [run for run in folder.runs if run.seed == seed]
    tables = [run_folder.predictions(run, selection) or {} for run in runs]
    joined = {
        name: np.concatenate([table[name] for table in tables])
        for name in ("index", "label", "logits/decision")
    }
    folds = np.repeat([r.fold for r in runs], [len(t["label"]) for t in tables])
    probabilities = _softmax(joined["logits/decision"].astype(np.float64))
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    labels = joined["label"]
    names = folder.class_names

    def describe(row: int) -> dict[str, Any]:
        index = int(joined["index"][row])
        return {
            "true": names[labels[row]],
            "predicted": names[predicted[row]],
            "confidence": float(confidence[row]),
            "row": index,
            "fold": int(folds[row]),
            "image": thumbnail(image_of(index)) if image_of else None,
        }

    drawn = np.random.default_rng(0).permutation(len(labels))
    right = drawn[predicted[drawn] == labels[drawn]]
    surest = np.argsort(-confidence, kind="stable")
    wrong = surest[predicted[surest] != labels[surest]]
    return {
        "right": [describe(r) for r in _spread_over_classes(labels, right)[:SHOWN]],
        "wrong": [describe(r) for r in wrong[:SHOWN]],
    }
