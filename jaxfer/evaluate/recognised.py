"""What recognisers say of drawn faces, beside the real ones they were drawn from."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxfer import metrics, train
from jaxfer.evaluate.judges import Answer, Ask
from jaxfer.evaluate.selections import spread

_measure = partial(jax.jit, static_argnames="num_groups")(metrics.kernel_distance)


class Drawn(NamedTuple):
    """The n test faces of one run that were drawn.

    Attributes:
      run: whose model drew them.
      rows: of the data set's table, int (n,).
      label: their expressions (n,).
      wanted: the expressions they were drawn with (n,).
      person: int (n,), -1 where unknown.
      images: uint8 (n, H, W, 3), as they are.
      middle: uint8 (n, S, S, 3), the part that is drawn.
      drawn: uint8 (n, S, S, 3).
    """

    run: train.RestoredRun
    rows: np.ndarray
    label: np.ndarray
    wanted: np.ndarray
    person: np.ndarray
    images: np.ndarray
    middle: np.ndarray
    drawn: np.ndarray


def answers_of(ask: Ask, variables: Any, part: Drawn) -> dict[str, Answer]:
    """Of the faces as they are, of their middle, and of what was drawn from it."""
    size = part.images.shape[1]
    given = {
        "real": part.images,
        "middle": _framed(part.middle, size),
        "drawn": _framed(part.drawn, size),
    }
    return {name: ask(variables, images) for name, images in given.items()}


def compared(
    parts: list[Drawn], answers: list[dict[str, Answer]], names: list[str]
) -> dict[str, Any]:
    """Accuracies of real and drawn faces, by class, and the distance between them."""
    right: dict[str, list[np.ndarray]] = {kind: [] for kind in answers[0]}
    truth: dict[str, list[np.ndarray]] = {kind: [] for kind in answers[0]}
    for part, answer in zip(parts, answers, strict=True):
        for kind, found in answer.items():
            label = part.wanted if kind == "drawn" else part.label
            right[kind].append(found.logits.argmax(axis=1) == label)
            truth[kind].append(label)
    together = {k: (np.concatenate(right[k]), np.concatenate(truth[k])) for k in right}

    def recall(kind: str, k: int) -> float | None:
        hits, label = together[kind]
        return float(hits[label == k].mean()) if (label == k).any() else None

    halves = [_halves(part, answer) for part, answer in zip(parts, answers)]
    return {
        "accuracy": {
            kind: spread([float(np.mean(hits)) for hits in runs])
            for kind, runs in right.items()
        },
        "per_class": [
            {"class": name} | {kind: recall(kind, k) for kind in ("middle", "drawn")}
            for k, name in enumerate(names)
        ],
        "distance": _mean_distance(
            [_distance(part, answer) for part, answer in zip(parts, answers)]
        ),
        "distance_of_halves": _mean_distance([one for one in halves if one]),
    }


def _people(part: Drawn) -> np.ndarray:
    """Groups from 0 on: people, or images where somebody is unknown."""
    if (part.person < 0).any():
        return np.arange(len(part.rows))
    return np.unique(part.person, return_inverse=True)[1]


def _distance(part: Drawn, answer: dict[str, Answer]) -> tuple[float, float]:
    """Of the middles and what was drawn from them, and its standard error."""
    group = _people(part)
    real, drawn = answer["middle"].features, answer["drawn"].features
    return _estimate(real, drawn, real, group, group)


def _halves(part: Drawn, answer: dict[str, Answer]) -> tuple[float, float] | None:
    """Of the faces of half of the people and those of the others, for comparison."""
    group, real = _people(part), answer["middle"].features
    first = group % 2 == 0
    if group.max() < 3 or min(first.sum(), (~first).sum()) < 2:
        return None
    return _estimate(real[first], real[~first], real, group[first], group[~first])


def _estimate(
    x: np.ndarray,
    y: np.ndarray,
    like: np.ndarray,
    x_group: np.ndarray,
    y_group: np.ndarray,
) -> tuple[float, float]:
    """The kernel distance of features, in units of the root mean square of `like`."""
    scale = max(float(np.sqrt(np.mean(np.square(like, dtype=np.float64)))), 1e-12)
    found = _measure(
        jnp.asarray(x / scale, jnp.float32),
        jnp.asarray(y / scale, jnp.float32),
        groups=(jnp.asarray(x_group), jnp.asarray(y_group)),
        num_groups=int(max(x_group.max(), y_group.max())) + 1,
    )
    return float(found.distance), float(found.standard_error)


def _mean_distance(found: list[tuple[float, float]]) -> dict[str, Any] | None:
    """The mean over runs, whose test images differ, and its standard error."""
    if not found:
        return None
    values, errors = np.array(found).T
    error = float(np.sqrt(np.sum(errors**2)) / len(errors))
    return {
        "mean": float(values.mean()),
        "standard_error": error if np.isfinite(error) else None,
        "runs": values.tolist(),
    }


def _framed(middle: np.ndarray, size: int) -> np.ndarray:
    """Middle parts as large as whole images, by repeating what is at their edge.

    A recogniser then sees faces of the size that it was trained on.
    """
    before = (size - middle.shape[1]) // 2
    after = size - middle.shape[1] - before
    return np.pad(middle, ((0, 0), (before, after), (before, after), (0, 0)), "edge")
