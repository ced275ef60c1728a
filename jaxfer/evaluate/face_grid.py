"""Faces in rows and columns as one picture."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from jaxfer.evaluate.overlay import grown
from jaxfer.evaluate.sheet import INK, MUTED

_SIDE, _GAP, _MARGIN = 1.2, 0.06, 0.2
_HEAD, _SUBTITLE, _CAPTION, _LABEL = 0.48, 0.2, 0.26, 1.5
_PIXELS = 180


class Cell(NamedTuple):
    """A face, uint8 (H, W, 3), RGB, and what stands above it."""

    image: np.ndarray
    caption: str = ""


class Row(NamedTuple):
    """Faces beside each other, and what stands before them; None leaves a gap."""

    cells: Sequence[Cell | None]
    label: str = ""
    note: str = ""


def captioned(
    lines: Sequence[Sequence[np.ndarray]],
    captions: Sequence[str],
    labels: Sequence[str],
) -> list[Row]:
    """Rows of as many faces each, with captions above those of the first.

    Args:
      lines: (R, C) faces.
      captions: (C,).
      labels: (R,).
    """
    none = [""] * len(captions)
    return [
        Row([Cell(*both) for both in zip(faces, above, strict=True)], label)
        for faces, above, label in zip(
            lines, [captions, *[none] * (len(lines) - 1)], labels, strict=True
        )
    ]


def draw(rows: Sequence[Row], title: str, subtitle: str = "") -> Figure:
    """The grid; a row has captions above its faces where any of them has one.

    Args:
      rows: from top to bottom.
      title: in large letters.
      subtitle: in small ones.
    """
    columns = max(len(row.cells) for row in rows)
    before = _LABEL if any(row.label or row.note for row in rows) else 0.0
    above = [
        _CAPTION if any(cell and cell.caption for cell in row.cells) else 0.0
        for row in rows
    ]
    head = _HEAD + (_SUBTITLE if subtitle else 0)
    width = 2 * _MARGIN + before + columns * _SIDE + (columns - 1) * _GAP
    height = _MARGIN + head + sum(above) + len(rows) * (_SIDE + _GAP)
    with mpl.rc_context({"font.size": 9, "text.color": INK}):
        figure = Figure((width, height), facecolor="white")

        def text(x: float, y: float, words: str, **style: Any) -> None:
            figure.text(x / width, 1 - y / height, words, va="baseline", **style)

        text(_MARGIN, 0.36, title, fontsize=13, fontweight="bold")
        text(_MARGIN, 0.58, subtitle, fontsize=8, color=MUTED)
        y = head
        for row, space in zip(rows, above, strict=True):
            y += space
            text(_MARGIN, y + _SIDE / 2, _shortened(row.label))
            text(_MARGIN, y + _SIDE / 2 + 0.18, row.note, fontsize=8, color=MUTED)
            for number, cell in enumerate(row.cells):
                if cell is None:
                    continue
                x = _MARGIN + before + number * (_SIDE + _GAP)
                text(x + _SIDE / 2, y - 0.08, cell.caption, ha="center")
                corner = (x / width, 1 - (y + _SIDE) / height)
                axes = figure.add_axes((*corner, _SIDE / width, _SIDE / height))
                face = grown(cell.image, _PIXELS)
                axes.imshow(face, aspect="auto", interpolation="lanczos")
                axes.set_axis_off()
            y += _SIDE + _GAP
    return figure


def _shortened(label: str, most: int = 20) -> str:
    """Of a long name, the end tells more."""
    return label if len(label) <= most else "…" + label[1 - most :]
