"""Accuracy against latency, with names that do not cover each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmarks.report import svg
from benchmarks.report.formats import short
from benchmarks.report.runs import Run
from benchmarks.report.svg import Picture
from benchmarks.report.verdict import pareto_front

FloatArray = npt.NDArray[np.float64]

HEIGHT = 350.0
MARKER = 9.0
# From this ratio of the slowest to the fastest on, a linear axis would heap the fast ones up.
LOG_FROM = 5.0
# Steps in which a place for a name is looked for, and from where on a line leads to it, in points.
STEP = 4.0
LEADER_FROM = 11.0
# Room around a name, as the reader's typeface is not the one it is measured with.
PADDING = 3.0
LINE_STEPS = 12
# What a covered square point costs, in points of distance; and how many orders are tried.
COVERED = 1000.0
ORDERS = 12


def accuracy_against_latency(runs: Sequence[Run]) -> Picture | None:
    """Plot HOTA over the time per frame, with the Pareto front."""
    timed = [run for run in runs if run.milliseconds and run.accuracy]
    if not timed:
        return None
    xs = [run.milliseconds or 0.0 for run in timed]
    ys = [float(run.accuracy["HOTA"]) for run in timed]
    front = pareto_front(xs, ys)
    logarithmic = max(xs) > LOG_FROM * min(xs)
    with svg.axes(svg.WIDTH, HEIGHT) as (figure, axes):
        _limits(axes, xs, ys, logarithmic)
        axes.plot(
            [xs[i] for i in front],
            [ys[i] for i in front],
            color=svg.MUTED,
            linewidth=1.2,
            linestyle=(0, (4, 3)),
            zorder=1,
        )
        for run, x, y in zip(timed, xs, ys, strict=True):
            axes.plot(
                [x],
                [y],
                marker="D" if run.rival else "o",
                markersize=MARKER - run.rival,
                color=svg.series(run.colour),
                zorder=3,
            )
        axes.set_title("HOTA", loc="left", fontsize=svg.FONT_SIZE, color=svg.MUTED)
        axes.set_xlabel("median ms per frame, camera to tracks")
        _label_points(figure, axes, timed, np.column_stack([xs, ys]), front)
        points = "; ".join(
            f"{run.name} {x:.1f} ms, HOTA {y:.3f}" for run, x, y in zip(timed, xs, ys, strict=True)
        )
        image = svg.to_svg(figure, "pareto", f"Accuracy against latency: {points}.")
    caption = "Up and to the left is better."
    if logarithmic:
        caption += " Time is on a logarithmic scale."
    if len(front) > 1:
        caption += " The dashed line joins the models that none of the others beats in both."
    if any(run.rival for run in timed):
        caption += " Diamonds are rivals."
    return Picture("Accuracy against latency", caption, image)


def _limits(axes: Axes, xs: Sequence[float], ys: Sequence[float], logarithmic: bool) -> None:
    if logarithmic:
        svg.log_axis(axes, min(xs) / 2, max(xs) * 1.5)
    else:
        axes.set_xlim(0, max(xs) * 1.15)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=svg.STEPS))
    spread = max(max(ys) - min(ys), 0.05)
    axes.set_ylim(max(0.0, min(ys) - 0.2 * spread), max(ys) + 0.2 * spread)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=svg.STEPS))


def _label_points(
    figure: Figure, axes: Axes, runs: Sequence[Run], points: FloatArray, front: Sequence[int]
) -> None:
    """Write each name where it covers neither a point nor another name."""
    # The axes only now get the size that they will have.
    figure.draw_without_rendering()
    scale = 72 / figure.dpi
    # What is drawn on the axes is in pixels of this renderer; the picture counts in points.
    places = axes.transData.transform(points) * scale
    inside = axes.get_window_extent()
    area = np.array([inside.x0, inside.y0, inside.x1, inside.y1]) * scale
    texts = [
        axes.annotate(
            short(run.name),
            (0.0, 0.0),
            xycoords="figure points",
            ha="center",
            va="center",
            color=svg.INK,
            gid=f"halo{index}",
            fontsize=svg.SMALL,
        )
        for index, run in enumerate(runs)
    ]
    sizes = np.array([text.get_window_extent().size for text in texts]) * scale + PADDING
    steps = np.linspace(0, 1, LINE_STEPS)[:, None]
    corners = places[list(front)]
    line = (corners[:-1, None] * (1 - steps) + corners[1:, None] * steps).reshape(-1, 2)
    boxes = place_labels(places, sizes, area, line)
    for text, place, box in zip(texts, places, boxes, strict=True):
        text.xyann = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        text.set_in_layout(False)
        nearest = np.clip(place, box[:2], box[2:])
        if np.hypot(*(nearest - place)) > LEADER_FROM:
            axes.annotate(
                "",
                nearest,
                xytext=place,
                xycoords="figure points",
                textcoords="figure points",
                arrowprops={"arrowstyle": "-", "color": svg.MUTED, "linewidth": 0.8},
                zorder=2,
            ).set_in_layout(False)


def place_labels(
    points: FloatArray, sizes: FloatArray, area: FloatArray, line: FloatArray
) -> FloatArray:
    """Find a place for each label, near its point, off all points and off the other labels.

    The labels choose one after the other, in several orders, of which the best is kept.

    Args:
        points: ``[N, 2]`` positions.
        sizes: ``[N, 2]`` widths and heights of the labels.
        area: ``[4]`` left, bottom, right, top, in which the labels must lie.
        line: ``[M, 2]`` points that are better not covered.

    Returns:
        ``[N, 4]`` left, bottom, right, top of each label. One for which there is no room covers as
        little as it can.
    """
    random = np.random.default_rng(0)
    choices = [_options(index, points, sizes[index], area, line) for index in range(len(points))]
    best, least = np.zeros((len(points), 4)), np.inf
    for _ in range(ORDERS):
        boxes, total = np.zeros_like(best), 0.0
        taken: list[FloatArray] = []
        for index in random.permutation(len(points)):
            found, costs = choices[index]
            costs = costs + sum(COVERED * _overlaps(found, other) for other in taken)
            choice = int(costs.argmin())
            boxes[index] = found[choice]
            total += float(costs[choice])
            taken.append(found[choice])
        if total < least:
            best, least = boxes, total
    return best


def _options(
    index: int, points: FloatArray, size: FloatArray, area: FloatArray, line: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return where a label may lie, ``[K, 4]``, and how bad each is as long as it is alone."""
    point, reach = points[index], MARKER / 2
    gap = np.array([reach + 3, size[1] / 2])
    beside = np.stack([point + gap * [1, -1], point - gap - [size[0], 0]])
    lefts = np.arange(area[0], max(area[2] - size[0], area[0]) + 1e-6, STEP)
    bottoms = np.arange(area[1], max(area[3] - size[1], area[1]) + 1e-6, STEP)
    grid = np.stack(np.meshgrid(lefts, bottoms), axis=-1).reshape(-1, 2)
    fits = (beside >= area[:2]).all(axis=1) & (beside + size <= area[2:]).all(axis=1)
    corners = np.concatenate([beside[fits], grid])
    found = np.concatenate([corners, corners + size], axis=1)
    # [K, N] from each place to each point.
    nearest = np.clip(points[None], found[:, None, :2], found[:, None, 2:])
    distances = np.hypot(*(nearest - points[None]).transpose(2, 0, 1))
    covered = sum(_overlaps(found, np.concatenate([one - reach, one + reach])) for one in points)
    crossed = (line[None] > found[:, None, :2]) & (line[None] < found[:, None, 2:])
    # As near as need be is near enough, unless another point is nearer still. Off the line is
    # better, and level with the point reads best.
    away = np.maximum(distances[:, index], reach + 4)
    doubtful = (distances < away[:, None]).sum(axis=1)
    level = np.abs(found[:, [1, 3]].mean(axis=1) - point[1])
    costs = COVERED * covered + away + 25 * doubtful + crossed.all(axis=2).sum(axis=1) + 0.1 * level
    return found, costs


def _overlaps(boxes: FloatArray, other: FloatArray) -> FloatArray:
    """Return the area that each of ``[K, 4]`` boxes shares with another one."""
    overlap = np.minimum(boxes[:, 2:], other[2:]) - np.maximum(boxes[:, :2], other[:2])
    return np.maximum(overlap, 0).prod(axis=1)
