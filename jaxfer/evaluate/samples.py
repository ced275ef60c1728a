"""The samples that a report shows of one run: points, a grid of people, examples."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxfer.evaluate.attention import ATTENTION, MASKS, PATTERN
from jaxfer.evaluate.pattern_maps import principal_plane
from jaxfer.evaluate.told import EMBEDDING, Told

POINTS = 600
PEOPLE = 4
EXAMPLES = 8

Ask = Callable[[np.ndarray], Told]
"""Rows of a data set (n,) -> what one run's model tells of them."""


def pictures_of(
    ask: Ask, table: Any, test: np.ndarray, given: set[str], classes: int
) -> dict[str, np.ndarray]:
    """What the report shows of one run: rows of the table, and arrays for them.

    Args:
      ask: the run's model, about rows.
      table: of the data set.
      test: int (n,), test rows in a random order.
      given: what the model tells.
      classes: K.
    """
    found: dict[str, np.ndarray] = {}
    if EMBEDDING in given and len(test) > 2:
        rows = test[:POINTS]
        plane, share = principal_plane(ask(rows)[EMBEDDING])
        found["embedding"] = plane.astype(np.float32)
        found["embedding_label"] = table.label[rows]
        found["embedding_share"] = share
    if PATTERN in given:
        grid, people = grid_rows(table.label, table.subject, test, classes)
        patterns = ask(np.where(grid < 0, test[0], grid).ravel())[PATTERN]
        found["grid_row"], found["grid_person"] = grid, people
        shape = (*grid.shape, *patterns.shape[1:])
        found["grid_pattern"] = _bytes(patterns).reshape(shape)
    turn = grid_rows(table.label, np.full(len(table.label), ""), test, classes)[0]
    rows = turn[turn >= 0][:EXAMPLES]
    answer = ask(rows)
    shifted = np.exp(answer["logits"] - answer["logits"].max(axis=1, keepdims=True))
    found["example_row"] = rows
    found["example_label"] = table.label[rows]
    found["example_predicted"] = shifted.argmax(axis=1)
    found["example_probability"] = shifted.max(axis=1) / shifted.sum(axis=1)
    for name in (*MASKS, ATTENTION, PATTERN):
        if name in answer:
            found[f"example_{name}"] = answer[name].astype(np.float16)
    return found


def _bytes(pictures: np.ndarray) -> np.ndarray:
    return np.round(255 * np.clip(pictures, 0, 1)).astype(np.uint8)


def grid_rows(
    label: np.ndarray, subject: np.ndarray, rows: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a few people, those with most classes first, by person and class.

    Args:
      label: int (N,), of the table.
      subject: str (N,), "" where unknown.
      rows: int (n,), to choose from; earlier ones are preferred.
      classes: K.

    Returns:
      int (R, K), -1 where there is none, and the people's names (R,); where nobody
      is known, any images of the class under the name "".
    """
    grid: dict[str, np.ndarray] = {}
    nobody = np.all(subject[rows] == "")
    taken = np.zeros(classes, int)
    for row in rows:
        k = label[row]
        name = f"{taken[k]}" if nobody else str(subject[row])
        taken[k] += 1
        if name:
            places = grid.setdefault(name, np.full(classes, -1))
            places[k] = row if places[k] < 0 else places[k]
    order = sorted(grid, key=lambda name: -int(np.sum(grid[name] >= 0)))[:PEOPLE]
    shown = [""] * len(order) if nobody else order
    found = [grid[name] for name in order]
    return np.array(found, np.int32).reshape(-1, classes), np.array(shown, str)


def people_in_turn(
    table: Any, rows: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A few people, each with another class where possible; see `grid_rows`.

    Args:
      table: of the data set.
      rows: int (n,), to choose from.
      classes: K.

    Returns:
      Their rows (R,), and what `grid_rows` tells: all of theirs (R, K), their names.
    """
    mixed = np.random.default_rng(0).permutation(rows)
    grid, people = grid_rows(table.label, table.subject, mixed, classes)
    turns = [np.roll(line, -number) for number, line in enumerate(grid)]
    chosen = np.array([line[line >= 0][0] for line in turns], np.int32)
    return chosen, grid, people
