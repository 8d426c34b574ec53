"""Mean and spread over the seeds, and how they are shown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from train.compare.config import PlannedRun
from train.compare.running import RunResult

FIGURES = ("MOTA", "IDF1", "HOTA", "recall", "precision")
DIFFERENCES = ("MOTA", "IDF1", "HOTA")
COLUMNS = ("setting", "runs", *FIGURES, "parameters", "minutes")

Finished = Sequence[tuple[PlannedRun, RunResult]]
Spread = dict[str, float | None]


def mean_and_spread(values: Sequence[float]) -> Spread:
    """Return the mean and the standard deviation of a sample.

    Args:
        values: One per seed, at least one.

    Returns:
        ``mean`` and ``std``, which divides by one less than there are values and is None for one.

    Examples:
        >>> mean_and_spread([1.0, 3.0])
        {'mean': 2.0, 'std': 1.4142135623730951}
        >>> mean_and_spread([1.0])
        {'mean': 1.0, 'std': None}
    """
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": spread}


def summarise(finished: Finished, settings: Sequence[str]) -> list[dict[str, Any]]:
    """Sum up the runs of each setting.

    Args:
        finished: Runs and what they are worth, in any order.
        settings: Names of all settings; the first is what the others are held against.

    Returns:
        Per setting with a finished run its name, its ``seeds``, mean and spread of every figure and
        of the minutes, its ``parameters``, and under ``difference`` mean and spread of what it has
        above the first setting at the same seed; None without a seed in common.
    """
    by_setting: dict[str, dict[int, RunResult]] = {name: {} for name in settings}
    for run, result in finished:
        by_setting[run.setting][run.seed] = result
    first = by_setting[settings[0]]
    rows = []
    for name, results in by_setting.items():
        if not results:
            continue
        ordered = [results[seed] for seed in sorted(results)]
        row: dict[str, Any] = {"setting": name, "seeds": sorted(results)}
        for figure in FIGURES:
            row[figure] = mean_and_spread([one.combined[figure] for one in ordered])
        row["parameters"] = ordered[0].parameters
        row["minutes"] = mean_and_spread([one.minutes for one in ordered])
        row["difference"] = None if name == settings[0] else _difference(results, first)
        rows.append(row)
    return rows


def _difference(
    results: Mapping[int, RunResult], first: Mapping[int, RunResult]
) -> dict[str, Any] | None:
    """Pair the runs by their seeds: what the seed does to both is not the setting's doing."""
    common = sorted(results.keys() & first.keys())
    if not common:
        return None
    paired: dict[str, Any] = {"seeds": common}
    for figure in DIFFERENCES:
        paired[figure] = mean_and_spread(
            [results[seed].combined[figure] - first[seed].combined[figure] for seed in common]
        )
    return paired


def spread_text(value: Spread, form: str = ".3f") -> str:
    """Format a mean with its spread.

    Examples:
        >>> spread_text({"mean": 0.5, "std": 0.0126}), spread_text({"mean": 0.5, "std": None})
        ('0.500 ± 0.013', '0.500')
        >>> spread_text({"mean": 0.02, "std": 0.01}, "+.3f")
        '+0.020 ± 0.010'
    """
    mean = format(value["mean"], form)
    return mean if value["std"] is None else f"{mean} ± {format(value['std'], form.lstrip('+'))}"


def figure_rows(summary: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the cells of the table under ``COLUMNS``."""
    return [
        (
            row["setting"],
            str(len(row["seeds"])),
            *(spread_text(row[figure]) for figure in FIGURES),
            f"{row['parameters'] / 1e6:.2f} M",
            spread_text(row["minutes"], ".1f"),
        )
        for row in summary
    ]


def difference_rows(summary: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the cells of the table of differences: setting, pairs of runs, ``DIFFERENCES``."""
    return [
        (
            row["setting"],
            str(len(row["difference"]["seeds"])),
            *(spread_text(row["difference"][figure], "+.3f") for figure in DIFFERENCES),
        )
        for row in summary
        if row["difference"] is not None
    ]
