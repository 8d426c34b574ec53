"""From a matplotlib figure to an SVG that lives inside the page.

Colours are drawn as placeholders and become CSS variables, so that one picture follows the reader's
light or dark setting; text stays text in the page's own typeface.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

# No colour of these can arise by itself: everything drawn comes from here.
INK = "#0a0b01"
MUTED = "#0a0b02"
GRID = "#0a0b03"
PAPER = "#0a0b04"
ON_IDENTITY = "#0a0b05"
CARD = "#0a0b06"
IDENTITIES = 12
WIDTH, HEIGHT = 410.0, 290.0
FONT_SIZE = 12.5
SMALL = 11.5
# Distances of ticks that read as round.
STEPS = (1, 2, 5, 10)

_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    ON_IDENTITY: "on-id",
    CARD: "card",
}
_GROUPS = {"0b": "series", "0c": "stage", "0d": "id"}
_PLACEHOLDER = re.compile(r"#0([abcd])0([b-e])([0-9a-f]{2})")


@dataclass(frozen=True)
class Picture:
    """A plot with its heading and a sentence on how to read it."""

    title: str
    caption: str
    image: Markup


def series(index: int) -> str:
    """Return the placeholder of a run's colour."""
    return f"#0b0c{index:02x}"


def stage(index: int) -> str:
    """Return the placeholder of a stage's colour."""
    return f"#0c0d{index:02x}"


def identity(index: int) -> str:
    """Return the placeholder of a track's colour; colours repeat after ``IDENTITIES``."""
    return f"#0d0e{index % IDENTITIES:02x}"


@contextmanager
def axes(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure and its axes in the page's style; ``to_svg`` turns them into a picture.

    Args:
        width: Width in points, which become the units of the picture.
        height: Height likewise.
    """
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "kd-mot",
        # Names with a dollar sign are names, not formulas.
        "text.parse_math": False,
        "font.size": FONT_SIZE,
        "font.family": "DejaVu Sans",
        "text.color": INK,
        "axes.edgecolor": GRID,
        "axes.labelcolor": MUTED,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "xtick.color": GRID,
        "ytick.color": GRID,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "ytick.left": False,
        "legend.frameon": False,
        "legend.fontsize": SMALL,
        "lines.linewidth": 2.0,
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Matplotlib's own typeface only measures text here; the reader's draws it.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        yield figure, figure.add_subplot()


def log_axis(axes: Axes, low: float, high: float) -> None:
    """Make the x axis logarithmic, with plain numbers at round places.

    Args:
        axes: The axes.
        low: Left end, above 0.
        high: Right end.
    """
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    wide = high > 5 * low
    axes.xaxis.set_major_locator(
        LogLocator(subs=(1, 2, 5)) if wide else MaxNLocator(6, steps=STEPS)
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def to_svg(figure: Figure, prefix: str, label: str, least_width: int = 0) -> Markup:
    """Render a figure for the page.

    Args:
        figure: Drawn with the placeholders of this module.
        prefix: Unique on the page; keeps the pictures' ids apart.
        label: What the picture shows, for readers who do not see it.
        least_width: CSS pixels under which it does not shrink with the page; the box around it
            scrolls instead.

    Returns:
        An ``<svg>`` element.
    """
    buffer = io.StringIO()
    empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=empty)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Out go metadata, comments and a style sheet that would reach the whole page.
    text = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL
    )
    text = re.sub(r'(?<=\s)style="([^"]*)"', _restyle, text)
    text = re.sub(r'\sid="([^"]+)"', rf' id="{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    text = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    width, height = (round(72 * inches, 1) for inches in figure.get_size_inches())
    size = f' style="min-width:{least_width}px"' if least_width else ""
    head = (
        f'<svg role="img" aria-label="{html.escape(label)}" '
        f'viewBox="0 0 {width:g} {height:g}"{size}>'
    )
    body = text[text.index(">") + 1 :]
    return Markup(head + body.strip())


def _restyle(match: re.Match[str]) -> str:
    """Turn placeholders into CSS variables and leave typefaces to the page."""
    style = match[1]
    for colour, name in _VARIABLES.items():
        style = style.replace(colour, f"var(--{name})")
    style = _PLACEHOLDER.sub(
        lambda found: (
            f"var(--{_GROUPS[f'0{found[1]}']}-{int(found[3], 16)})"
            if f"0{found[1]}" in _GROUPS
            else found[0]
        ),
        style,
    )
    style = re.sub(r"font: (?:[a-z0-9]+ )*?([\d.]+px) [^;]*", r"font-size: \1", style)
    style = re.sub(r"font-family: [^;]*;?", "", style)
    return f'style="{style}"'
