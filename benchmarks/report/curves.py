"""The plots of curves: HOTA over its threshold, and training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.report import svg
from benchmarks.report.formats import LABEL_LENGTH, short
from benchmarks.report.runs import COLOURS, Run, is_number
from benchmarks.report.svg import Picture

CURVE_POINTS = 200
# Letters of a name where two stand side by side.
HALF_LENGTH = 22


def hota_over_alpha(runs: Sequence[Run]) -> Picture | None:
    """Plot HOTA over the localisation threshold."""
    drawn = [(run, curve) for run in runs if (curve := _curve(run))]
    if not drawn:
        return None
    with svg.axes(svg.WIDTH, svg.HEIGHT) as (figure, axes):
        for run, (alphas, values) in drawn:
            style = "dashed" if run.rival else "solid"
            colour = svg.series(run.colour)
            axes.plot(alphas, values, color=colour, linestyle=style)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, None)
        axes.set_title("HOTA", loc="left", fontsize=svg.FONT_SIZE, color=svg.MUTED)
        axes.set_xlabel("localisation threshold α (IoU)")
        _legend(figure, axes, [run.name for run, _ in drawn])
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
    with svg.axes(svg.WIDTH, svg.HEIGHT) as (figure, axes):
        for run in trained:
            x_name, x = _progress(run)
            xs, ys = _thin(x, run.training["loss"])
            axes.plot(xs, ys, color=svg.series(run.colour))
        _legend(figure, axes, [run.name for run in trained])
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
    with svg.axes(svg.WIDTH, svg.HEIGHT) as (figure, axes):
        for index, name in enumerate(parts):
            xs, ys = _thin(x, run.training[name])
            axes.plot(
                xs,
                ys,
                color=svg.series((3 + index) % COLOURS),
                linewidth=1.6,
            )
        _legend(figure, axes, parts)
        _loss_axes(axes, x_name, [value for name in parts for value in run.training[name]])
        label = f"Parts of the loss of {run.name}: {', '.join(parts)}."
        image = svg.to_svg(figure, prefix, label)
    return Picture(f"Parts of the loss: {run.name}", "As logged in training.", image)


def _legend(figure: Figure, axes: Axes, names: Sequence[str]) -> None:
    """Name the curves below them, where the names cover none, and make room for that.

    Args:
        figure: The figure.
        axes: With the curves.
        names: Of the curves in the order they were drawn. They are given here and not as labels,
            since those that begin with an underscore are left out of legends.
    """
    one_column = len(names) <= 4 and max(map(len, names)) > HALF_LENGTH
    length, columns = (LABEL_LENGTH, 1) if one_column else (HALF_LENGTH, 2)
    figure.set_figheight((svg.HEIGHT + 19 * math.ceil(len(names) / columns)) / 72)
    figure.legend(
        axes.get_lines(),
        ["\u200b" + short(name, length) for name in names],
        loc="outside lower left",
        ncols=columns,
        handlelength=1.6,
        labelcolor=svg.INK,
    )


def _loss_axes(axes: Axes, x_name: str, values: Sequence[float]) -> None:
    finite = np.array([value for value in values if math.isfinite(value)])
    # A long way down only shows on a logarithmic axis, which cannot show zero.
    if len(finite) and finite.min() > 0 and finite.max() > 30 * finite.min():
        axes.set_yscale("log")
        # The default writes powers as formulas, which are switched off.
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title("loss", loc="left", fontsize=svg.FONT_SIZE, color=svg.MUTED)
    axes.set_xlabel(x_name)


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
