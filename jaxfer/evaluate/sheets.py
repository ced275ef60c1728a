"""Sheets of drawn faces while a run is trained: rows faces, columns expressions."""

from collections.abc import Callable

import jax
import ml_collections
import numpy as np

from jaxfer import data
from jaxfer.errors import DataError
from jaxfer.evaluate import face_grid, sheet
from jaxfer.evaluate.drawing import Draw, create_draw, middle, one_hot
from jaxfer.evaluate.samples import people_in_turn
from jaxfer.methods import draws_faces
from jaxfer.methods.base import Stage, State
from jaxfer.train.group import Group

FOLDER = "sheets"

Watch = Callable[[Group, Stage, int, State], None]
"""See `jaxfer.train.group.Group.watch`."""


def create_watch(config: ml_collections.ConfigDict) -> Watch | None:
    """What draws a sheet every `log.sheet_epochs` epochs; None where nothing does.

    It shows validation faces, or test faces where there are none, of a group's first
    run, in RUN/fold_00/sheets/epoch_0025.png and so on, in the first stage, which
    learns to draw. Other epochs cost nothing. Processes that train together draw none.

    Args:
      config: a whole experiment's config.
    """
    every = config.log.get("sheet_epochs", 0)
    if not every or not draws_faces(config) or jax.process_count() > 1:
        return None
    draws: dict[int, Draw] = {}  # compiled once for all folds
    first = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf[0], tree))

    def watch(group: Group, stage: Stage, epoch: int, states: State) -> None:
        if (epoch + 1) % every or stage is not group.method.stages[0]:
            return
        names, run = group.dataset.class_names, group.runs[0]
        count = len(names)
        if count not in draws:
            draws[count] = create_draw(config, count)
        table, rows = group.dataset.table, run.rows.validation
        chosen, _, _ = people_in_turn(
            table, rows if rows.size else run.rows.test, count
        )
        faces = data.read_images(group.dataset, chosen, group.image_size)
        wanted = one_hot(np.tile(np.arange(count), len(faces)), count)
        images = np.repeat(faces, count, axis=0)
        try:
            drawn = draws[count](first(states.variables), images, wanted)
        except DataError:  # not finite, as the log of the epoch tells
            return
        lines = drawn.reshape(len(faces), count, *drawn.shape[1:])
        seen = middle(faces, lines.shape[2])
        grid = face_grid.captioned(
            [[face, *line] for face, line in zip(seen, lines, strict=True)],
            ["face", *names],
            [names[k] for k in table.label[chosen]],
        )
        title = f"Epoch {epoch + 1}"
        figure = face_grid.draw(grid, title, f"seed {run.seed}, fold {run.fold}")
        sheet.save(figure, run.folder / FOLDER / f"epoch_{epoch + 1:04d}.png")

    return watch
