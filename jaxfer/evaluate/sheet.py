"""A sheet of one face: what the model answered, and where it looked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxfer.evaluate.overlay import colored, gray_picture, grown, overlay

PANELS = 5
"""In a row, at most."""

_SIDE, _GAP, _MARGIN = 2.2, 0.16, 0.22
_HEAD, _CAPTION, _FOOT = 0.80, 0.30, 0.66
INK, MUTED = "#18212b", "#586575"
_GRAY = 0.55
"""Of a face, under a bar's colours."""


class Scale(NamedTuple):
    """What a colour bar says: its name and the values at its ends."""

    name: str
    low: float
    high: float


class Panel(NamedTuple):
    """A picture of the sheet: `values` over the face, or a picture itself.

    Attributes:
      title: above it.
      values: (h, w) of `scale`; or (H, W, C) in [0, 1] without one; None is the face.
      scale: of the values.
    """

    title: str
    values: np.ndarray | None = None
    scale: Scale | None = None


def draw(
    image: np.ndarray, title: str, subtitle: str, panels: Sequence[Panel]
) -> Figure:
    """The sheet of one face.

    Args:
      image: uint8 (H, W, 3), RGB, as the model saw it.
      title: in large letters.
      subtitle: in small ones.
      panels: in reading order.
    """
    scales = list(dict.fromkeys(panel.scale for panel in panels if panel.scale))
    rows = -(-len(panels) // PANELS)
    columns = -(-len(panels) // rows)
    cell = _CAPTION + _SIDE
    foot = _FOOT if scales else 0.0
    width = 2 * _MARGIN + columns * _SIDE + (columns - 1) * _GAP
    height = _HEAD + rows * cell + (rows - 1) * _GAP + foot + _MARGIN
    with mpl.rc_context({"font.size": 9.5, "text.color": INK}):
        figure = Figure((width, height), facecolor="white")

        def text(x: float, y: float, words: str, **style: Any) -> None:
            figure.text(x / width, 1 - y / height, words, va="baseline", **style)

        def axes(x: float, y: float, wide: float, high: float) -> Axes:
            """Axes with their upper left corner there, in inches."""
            box = (x / width, 1 - (y + high) / height, wide / width, high / height)
            return figure.add_axes(box)

        text(_MARGIN, 0.42, title, fontsize=15, fontweight="bold")
        letters = int(13 * (width - 2 * _MARGIN))
        if len(subtitle) > letters:  # of a path, the end tells more
            subtitle = "…" + subtitle[-letters:]
        text(_MARGIN, 0.66, subtitle, fontsize=8.5, color=MUTED)
        for number, panel in enumerate(panels):
            row, column = divmod(number, columns)
            x = _MARGIN + column * (_SIDE + _GAP)
            y = _HEAD + row * (cell + _GAP)
            text(x, y + 0.20, panel.title)
            plot = axes(x, y + _CAPTION, _SIDE, _SIDE)
            plot.imshow(_picture(image, panel), aspect="auto", interpolation="lanczos")
            plot.set_axis_off()
        space = (width - 2 * _MARGIN + _GAP) / max(len(scales), 1)
        for number, scale in enumerate(scales):
            x = _MARGIN + number * space
            y = height - _MARGIN - 0.26
            _bar(axes(x, y, min(space - _GAP, 2 * _SIDE + _GAP), 0.11), scale)
    return figure


def _picture(image: np.ndarray, panel: Panel) -> np.ndarray:
    if panel.values is None:
        return grown(image)
    if panel.scale is None:
        return grown(gray_picture(panel.values))
    return overlay(image, panel.values, panel.scale.low, panel.scale.high)


def _bar(axes: Axes, scale: Scale) -> None:
    """Colours as they look over a face, with the values at the ends and between."""
    strip = colored(np.linspace(0, 1, 256), _GRAY)[None]
    axes.imshow(strip, aspect="auto", extent=(scale.low, scale.high, 0, 1))
    ticks = np.linspace(scale.low, scale.high, 5)
    digits = max(0, 2 - int(np.floor(np.log10(max(scale.high - scale.low, 1e-9)))))
    axes.set_xticks(ticks, [f"{tick:.{min(digits, 6)}f}" for tick in ticks])
    first, *_, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.tick_params(length=0, labelsize=8, labelcolor=MUTED, pad=3)
    axes.set_yticks([])
    axes.set_title(scale.name, fontsize=8.5, color=MUTED, loc="left", pad=4)
    for spine in axes.spines.values():
        spine.set_visible(False)


def save(figure: Figure, path: Path) -> Path:
    """Writes a PNG that is the same for the same figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, format="png", metadata={"Software": None})
    return path
