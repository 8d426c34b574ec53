"""The plots that compare runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from benchmarks.report import svg
from benchmarks.report.runs import COLOURS, Run, is_number

WIDTH, HEIGHT = 460.0, 300.0
LABEL_LENGTH = 26
CURVE_POINTS = 200
STAGES = ("preprocess", "network", "decode", "association")


@dataclass(frozen=True)
class Picture:
    """A plot with its heading and a sentence on how to read it."""

    title: str
    caption: str
    image: Markup


def short(name: str) -> str:
    """Cut a long name so that it fits into a plot.

    Examples:
        >>> short("a" * 40)
        'aaaaaaaaaaaaaaaaaaaaaaaaa…'
    """
    return name if len(name) <= LABEL_LENGTH else name[: LABEL_LENGTH - 1] + "…"


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Return the points that no other point beats in cost and gain, cheapest first.

    Examples:
        >>> pareto_front([3.0, 1.0, 2.0], [0.6, 0.4, 0.3])
        [1, 0]
    """
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], -gains[i])):
        if not front or gains[index] > gains[front[-1]]:
            front.append(index)
    return front


def accuracy_against_latency(runs: Sequence[Run]) -> Picture | None:
    """Plot HOTA over the time per frame, with the Pareto front."""
    timed = [run for run in runs if run.milliseconds is not None]
    if not timed:
        return None
    xs = [run.milliseconds or 0.0 for run in timed]
    ys = [float(run.accuracy["HOTA"]) for run in timed]
    front = pareto_front(xs, ys)
    with svg.axes(WIDTH, HEIGHT) as (figure, axes):
        _limits(axes, xs, ys)
        axes.plot(
            [xs[i] for i in front],
            [ys[i] for i in front],
            color=svg.MUTED,
            linewidth=1.2,
            linestyle=(0, (4, 3)),
            zorder=1,
        )
        for run, x, y in zip(timed, xs, ys, strict=True):
            axes.plot([x], [y], "o", markersize=9, color=svg.series(run.colour), zorder=3)
        _label_points(axes, timed, xs, ys)
        axes.set_title("HOTA", loc="left", fontsize=12, color=svg.MUTED)
        axes.set_xlabel("median ms per frame, camera to tracks")
        points = "; ".join(
            f"{run.name} {x:.1f} ms, HOTA {y:.3f}" for run, x, y in zip(timed, xs, ys, strict=True)
        )
        image = svg.to_svg(figure, "pareto", f"Accuracy against latency: {points}.")
    caption = "Up and to the left is better."
    if len(front) > 1:
        caption += " The dashed line joins the models that none of the others beats in both."
    return Picture("Accuracy against latency", caption, image)


def _limits(axes: Axes, xs: Sequence[float], ys: Sequence[float]) -> None:
    axes.set_xlim(0, max(xs) * 1.15 or 1.0)
    spread = max(max(ys) - min(ys), 0.05)
    axes.set_ylim(max(0.0, min(ys) - 0.35 * spread), max(ys) + 0.35 * spread)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _label_points(
    axes: Axes, runs: Sequence[Run], xs: Sequence[float], ys: Sequence[float]
) -> None:
    """Write each name beside its point, inwards, and apart from the name below it."""
    low, high = axes.get_ylim()
    line_height = 15 / (HEIGHT - 70) * (high - low)
    right = axes.get_xlim()[1]
    taken = -math.inf
    for index in sorted(range(len(runs)), key=lambda i: ys[i]):
        y = max(ys[index], taken + line_height)
        taken = y
        outer = xs[index] > right / 2
        axes.annotate(
            short(runs[index].name),
            (xs[index], y),
            xytext=(-10 if outer else 10, 0),
            textcoords="offset points",
            ha="right" if outer else "left",
            va="center",
            color=svg.INK,
            gid=f"halo{index}",
        )


def stage_bars(runs: Sequence[Run]) -> Picture | None:
    """Plot where the time of a frame goes, one bar per run."""
    timed = [run for run in runs if run.timing]
    if not timed:
        return None
    height = 86.0 + 46 * len(timed)
    with svg.axes(WIDTH, height) as (figure, axes):
        left = np.zeros(len(timed))
        rows = np.arange(len(timed))
        for index, name in enumerate(STAGES):
            widths = np.array([_stage(run, name) for run in timed])
            if not widths.any():
                continue
            axes.barh(rows, widths, 0.42, left=left, color=svg.stage(index), label=name)
            left += widths
        for row, run in enumerate(timed):
            axes.text(0, row - 0.3, short(run.name), va="bottom", color=svg.INK)
            axes.annotate(
                f"{left[row]:.1f}",
                (left[row], row),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=svg.MUTED,
            )
        axes.set_xlim(0, (left.max() or 1.0) * 1.12)
        axes.set_ylim(len(timed) - 0.5, -0.75)
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("median ms per frame")
        figure.legend(
            loc="outside upper left",
            ncols=4,
            handlelength=0.8,
            handletextpad=0.5,
            columnspacing=1.2,
            labelcolor=svg.MUTED,
        )
        told = "; ".join(
            f"{run.name}: " + ", ".join(f"{name} {_stage(run, name):.2f} ms" for name in STAGES)
            for run in timed
        )
        image = svg.to_svg(figure, "stages", f"Time per stage. {told}.")
    caption = (
        "Medians of the stages; their sum may differ a little from the median of the whole frame."
    )
    return Picture("Where the time goes", caption, image)


def _stage(run: Run, name: str) -> float:
    stages = (run.timing or {}).get("stages", {})
    return float(stages[name]["median_ms"]) if name in stages else 0.0


def hota_over_alpha(runs: Sequence[Run]) -> Picture | None:
    """Plot HOTA over the localisation threshold."""
    drawn = [(run, curve) for run in runs if (curve := _curve(run))]
    if not drawn:
        return None
    with svg.axes(WIDTH, HEIGHT) as (figure, axes):
        for run, (alphas, values) in drawn:
            axes.plot(alphas, values, color=svg.series(run.colour), label=short(run.name))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, None)
        axes.set_title("HOTA", loc="left", fontsize=12, color=svg.MUTED)
        axes.set_xlabel("localisation threshold α (IoU)")
        axes.legend(loc="lower left", labelcolor=svg.INK)
        means = ", ".join(f"{run.name} {run.accuracy['HOTA']:.3f}" for run, _ in drawn)
        image = svg.to_svg(figure, "alpha", f"HOTA over the threshold; means: {means}.")
    caption = "The headline HOTA is the mean of this curve. It falls where boxes are inexact."
    return Picture("HOTA by how exact a box must be", caption, image)


def _curve(run: Run) -> tuple[list[float], list[float]] | None:
    alphas, values = run.accuracy.get("alphas"), run.accuracy.get("HOTA_alpha")
    if not isinstance(alphas, list) or not isinstance(values, list):
        return None
    if len(alphas) != len(values) or not alphas or not all(map(is_number, alphas + values)):
        return None
    return alphas, values


def training_curves(runs: Sequence[Run]) -> list[Picture]:
    """Plot the loss of all runs, and the parts of each run's loss."""
    trained = [run for run in runs if run.training]
    if not trained:
        return []
    with svg.axes(WIDTH, HEIGHT) as (figure, axes):
        for run in trained:
            x_name, x = _progress(run)
            xs, ys = _thin(x, run.training["loss"])
            axes.plot(xs, ys, color=svg.series(run.colour), label=short(run.name))
        _loss_axes(axes, x_name, [value for run in trained for value in run.training["loss"]])
        label = "Training loss of " + ", ".join(run.name for run in trained) + "."
        image = svg.to_svg(figure, "loss", label)
    caption = "Losses made of different parts, as with and without distillation, do not compare."
    pictures = [Picture("Training loss", caption, image)]
    return pictures + [
        picture
        for number, run in enumerate(trained)
        if (picture := _loss_parts(run, f"parts{number}"))
    ]


def _loss_parts(run: Run, prefix: str) -> Picture | None:
    skipped = ("epoch", "step", "seconds", "loss", "lr", "learning_rate")
    parts = [name for name in run.training if name not in skipped]
    if not parts:
        return None
    x_name, x = _progress(run)
    with svg.axes(WIDTH, HEIGHT) as (figure, axes):
        for index, name in enumerate(parts):
            xs, ys = _thin(x, run.training[name])
            axes.plot(
                xs, ys, color=svg.series((3 + index) % COLOURS), linewidth=1.6, label=short(name)
            )
        _loss_axes(axes, x_name, [value for name in parts for value in run.training[name]])
        label = f"Parts of the loss of {run.name}: {', '.join(parts)}."
        image = svg.to_svg(figure, prefix, label)
    return Picture(f"Parts of the loss: {run.name}", "As logged in training.", image)


def _loss_axes(axes: Axes, x_name: str, values: Sequence[float]) -> None:
    finite = np.array([value for value in values if math.isfinite(value)])
    # A long way down only shows on a logarithmic axis, which cannot show zero.
    if len(finite) and finite.min() > 0 and finite.max() > 30 * finite.min():
        axes.set_yscale("log")
        # The default writes powers as formulas, which are switched off.
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title("loss", loc="left", fontsize=12, color=svg.MUTED)
    axes.set_xlabel(x_name)
    axes.legend(loc="best", labelcolor=svg.INK)


def _progress(run: Run) -> tuple[str, list[float]]:
    for name in ("step", "epoch"):
        if name in run.training:
            return name, run.training[name]
    return "row", [float(number) for number in range(1, len(run.training["loss"]) + 1)]


def _thin(
    xs: Sequence[float], ys: Sequence[float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Average runs of points, so that a long training stays a small picture."""
    x, y = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    groups = np.array_split(np.arange(len(x)), min(CURVE_POINTS, len(x)) or 1)
    groups = [group for group in groups if len(group)]
    return (
        np.array([x[group].mean() for group in groups]),
        np.array([y[group].mean() for group in groups]),
    )
