"""Drawing for the report: inline SVG that follows the page's light or dark theme.

Figures are drawn with placeholder colours; `inline` turns these into CSS variables
of the page, and fonts into the page's own.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID = "#010101", "#020202", "#030303"
TEST, VALIDATION, TRAIN, WARN = "#040404", "#050505", "#060606", "#070707"
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    TEST: "--accent",
    VALIDATION: "--second",
    TRAIN: "--third",
    WARN: "--warn",
}
_STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "jaxfer",
}


WIDTH = 4.7
"""Inches of a figure."""


def percent(axes: Axes, axis: str = "y") -> None:
    """Shares along an axis, as per cent."""
    getattr(axes, f"{axis}axis").set_major_formatter(lambda v, _: f"{100 * v:.6g}")


@contextmanager
def styled() -> Iterator[None]:
    """Figures drawn inside have the report's style."""
    with mpl.rc_context(_STYLE):
        yield


def inline(figure: Figure, name: str, description: str) -> str:
    """The figure as an SVG element; `name` makes its ids unique on the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(
        r"font: (?:(\d+) )?([\d.]+)px [^;\"]+",
        lambda m: f"font-size: {m[2]}px" + (f"; font-weight: {m[1]}" if m[1] else ""),
        svg,
    )
    svg = re.sub(r"font-family: [^;\"]+;? ?", "", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None
    opening = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {view_box[0]} '
        f'role="img" aria-label="{description}">'
    )
    return re.sub(r"<svg.*?>", lambda _: opening, svg, count=1, flags=re.DOTALL)
