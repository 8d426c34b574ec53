"""The plots of time: stages, single frames, and ratios."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.report import svg
from benchmarks.report.formats import figure as written
from benchmarks.report.formats import short
from benchmarks.report.runs import Run
from benchmarks.report.svg import Picture
from benchmarks.report.tables import Comparison

FloatArray = npt.NDArray[np.float64]

STAGES = ("preprocess", "network", "decode", "association")
# A bar longer than so many times the one before it is cut, or the others would be stumps.
CUT_FROM = 3.0
CUT_AT = 1.25
# Width of a column of the histogram, as a ratio; and how many there may be.
BIN_RATIO = 1.012
MOST_BINS = 260


def stage_bars(runs: Sequence[Run]) -> Picture | None:
    """Plot where the time of a frame goes, one bar per run."""
    timed = [run for run in runs if run.timing]
    if not timed:
        return None
    widths = np.array([[stage_ms(run, name) for name in STAGES] for run in timed])
    totals = widths.sum(axis=1)
    limit = _bar_limit(totals)
    drawn = widths * np.minimum(1, limit / np.maximum(totals, 1e-9))[:, None]
    with svg.axes(svg.WIDTH, 84.0 + 42 * len(timed)) as (figure, axes):
        rows = np.arange(len(timed))
        starts = np.cumsum(drawn, axis=1) - drawn
        for index, name in enumerate(STAGES):
            if widths[:, index].any():
                left, colour = starts[:, index], svg.stage(index)
                axes.barh(rows, drawn[:, index], 0.42, left=left, color=colour, label=name)
        for row, run in enumerate(timed):
            axes.text(0, row - 0.28, short(run.name), va="bottom", color=svg.INK)
            axes.annotate(
                written(totals[row]),
                (drawn[row].sum(), row),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=svg.MUTED,
            )
            if totals[row] > limit:
                _draw_break(axes, 0.9 * limit, row, limit)
        axes.set_xlim(0, (limit or 1.0) * 1.15)
        axes.set_ylim(len(timed) - 0.5, -0.75)
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=svg.STEPS))
        axes.set_xlabel("median ms per frame")
        _legend(figure, 4)
        told = "; ".join(
            f"{run.name}: " + ", ".join(f"{name} {stage_ms(run, name):.2f} ms" for name in STAGES)
            for run in timed
        )
        image = svg.to_svg(figure, "stages", f"Time per stage. {told}.")
    caption = (
        "Medians of the stages; their sum may differ a little from the median of the whole frame."
    )
    if (totals > limit).any():
        caption += " A bar with a gap is cut short; its shares are kept."
    return Picture("Where the time goes", caption, image)


def stage_ms(run: Run, name: str) -> float:
    """Return the median of one of ``STAGES`` in ms, 0 where it is not told."""
    return run.measured("stages", name, "median_ms") or 0.0


def _bar_limit(totals: FloatArray) -> float:
    """Return the longest bar that is drawn whole, or where longer ones are cut."""
    ordered = np.sort(totals)
    jumps = np.flatnonzero(ordered[1:] > CUT_FROM * np.maximum(ordered[:-1], 1e-9))
    # Only where most are on the short side: a cut serves them.
    jumps = jumps[jumps + 1 >= len(ordered) / 2]
    return float(ordered[jumps[0]] * CUT_AT) if len(jumps) else float(ordered[-1])


def _draw_break(axes: Axes, x: float, row: int, limit: float) -> None:
    """Draw a slanted gap through a bar."""
    lean, half = 0.012 * limit, 0.3
    axes.fill(
        [x - lean, x + lean, x + 3 * lean, x + lean],
        [row + half, row - half, row - half, row + half],
        color=svg.CARD,
        zorder=3,
    )


def _legend(figure: Figure, columns: int) -> None:
    figure.legend(
        loc="outside upper left",
        ncols=columns,
        handlelength=0.8,
        handletextpad=0.5,
        columnspacing=1.2,
        labelcolor=svg.MUTED,
    )


def frame_histogram(runs: Sequence[Run]) -> Picture | None:
    """Plot how the times of single frames are spread, one outline per run over a common axis."""
    timed = [(run, np.array(run.frame_ms)) for run in runs if run.frame_ms]
    if not timed:
        return None
    low = min(times.min() for _, times in timed) / 1.03
    high = max(times.max() for _, times in timed) * 1.03
    bins = int(np.clip(np.log(high / low) / np.log(BIN_RATIO), 20, MOST_BINS))
    edges = np.geomspace(low, high, bins + 1)
    told = []
    with svg.axes(svg.WIDTH, 62.0 + 44 * len(timed)) as (figure, axes):
        for row, (run, times) in enumerate(timed):
            median, p99 = np.percentile(times, [50, 99])
            _draw_ridge(axes, row, times, edges, svg.series(run.colour))
            for value, style in ((median, "solid"), (p99, (0, (2, 1.5)))):
                axes.vlines(value, row, row - 0.56, color=svg.INK, linewidth=1.4, linestyle=style)
            words = f"median {written(median)}, p99 {written(p99)}"
            _write_above(axes, row - 0.62, short(run.name), words, f"halo{row}")
            told.append(f"{run.name}: median {median:.2f} ms, 99th percentile {p99:.2f} ms")
        svg.log_axis(axes, low, high)
        axes.set_ylim(len(timed) - 0.85, -1.05)
        axes.set_yticks([])
        axes.set_xlabel("ms per frame")
        image = svg.to_svg(figure, "frames", f"Times of single frames. {'; '.join(told)}.")
    caption = (
        "All timed frames, each outline to its own height, time on a logarithmic scale. Solid "
        "line: median. Dashed line: 99 of 100 frames are faster. Narrow is steady."
    )
    return Picture("How steady the time is", caption, image)


def _write_above(axes: Axes, y: float, name: str, figures: str, gid: str) -> None:
    """Write a row's name on the left and its figures on the right."""
    place = {"va": "bottom", "fontsize": svg.SMALL, "transform": axes.get_yaxis_transform()}
    axes.text(0, y, name, ha="left", color=svg.INK, fontdict=place, gid=gid)
    axes.text(1, y, figures, ha="right", color=svg.MUTED, fontdict=place, gid=f"{gid}b")


def _draw_ridge(axes: Axes, row: int, times: FloatArray, edges: FloatArray, colour: str) -> None:
    counts, _ = np.histogram(times, edges)
    kept = np.flatnonzero(counts)
    first, last = kept[0], kept[-1] + 1
    heights = row - 0.52 * counts[first:last] / counts.max()
    axes.stairs(heights, edges[first : last + 1], baseline=row, fill=True, color=colour, alpha=0.35)
    axes.stairs(heights, edges[first : last + 1], baseline=row, color=colour, linewidth=1.2)
    axes.axhline(row, color=svg.GRID, linewidth=0.8, zorder=1)


def ratio_intervals(comparisons: Sequence[Comparison]) -> Picture | None:
    """Plot how many times as fast each run is as the first, with the interval."""
    if not comparisons:
        return None
    firsts = list(dict.fromkeys(entry.first for entry in comparisons))
    with svg.axes(svg.WIDTH, 66.0 + 40 * len(comparisons)) as (figure, axes):
        axes.axvline(1, color=svg.MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        for row, entry in enumerate(comparisons):
            colour = svg.series(entry.run.colour)
            axes.axhline(row, color=svg.GRID, linewidth=0.8, zorder=1)
            axes.hlines(row, entry.low, entry.high, color=colour, linewidth=3)
            marker = "D" if entry.run.rival else "o"
            axes.plot([entry.ratio], [row], marker, markersize=7, color=colour)
            name = (
                short(entry.other) if len(firsts) == 1 else short(f"{entry.other} / {entry.first}")
            )
            _write_above(axes, row - 0.24, name, entry.words, f"halo{row}")
        low = min(1, *(entry.low for entry in comparisons))
        high = max(1, *(entry.high for entry in comparisons))
        svg.log_axis(axes, low / 1.15, high * 1.15)
        axes.set_ylim(len(comparisons) - 0.6, -0.85)
        axes.set_yticks([])
        axes.set_xlabel("times as fast")
        told = "; ".join(f"{one.other}: {one.words} times as fast" for one in comparisons)
        image = svg.to_svg(figure, "ratios", f"Speed against {', '.join(firsts)}. {told}.")
    confidence = f"{100 * comparisons[0].confidence:g} %"
    caption = (
        f"Over paired rounds, with the {confidence} interval. Right of the dashed line is faster, "
        "and an interval that crosses it means that no difference was shown."
    )
    against = short(firsts[0]) if len(firsts) == 1 else "the first"
    return Picture(f"Speed against {against}", caption, image)
