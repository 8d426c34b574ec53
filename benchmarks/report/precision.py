"""The same model in several precisions, side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.report.formats import figure, file_size, format_value
from benchmarks.report.runs import Run, headline
from benchmarks.report.tables import MISSING, Comparison
from benchmarks.report.verdict import Difference

PRECISIONS = ("fp32", "fp16", "int8")
_WORD = re.compile(r"[^a-z0-9]*(?<![a-z0-9])(fp32|fp16|int8)(?![a-z0-9])[^a-z0-9]*")


@dataclass(frozen=True)
class PrecisionTable:
    """One model in several precisions.

    Attributes:
        runs: One per column.
        titles: Precision of each column, with the run's name where a precision occurs twice.
        rows: Name of each figure and its cells, which pair what was measured with words on how it
            compares: with the first column, or with the threshold.
        verdicts: Per column whether the parity check held, None where there was none.
    """

    runs: tuple[Run, ...]
    titles: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    verdicts: tuple[bool | None, ...]


def base_name(name: str) -> str:
    """Return a name without its precision.

    Examples:
        >>> base_name("Student FP16"), base_name("student_int8.v2"), base_name("student")
        ('student', 'student v2', 'student')
    """
    return _WORD.sub(" ", name.lower()).strip()


def precision_groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the runs that are one model in several precisions, fp32 first.

    Two are the same model if they share the kind of network, the number of parameters, and the
    name without the precision.
    """
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        timing = run.timing or {}
        if timing.get("arch") and _precision(run) in PRECISIONS:
            key = (str(timing["arch"]), run.parameters, base_name(run.name))
            groups.setdefault(key, []).append(run)
    return [
        sorted(group, key=lambda run: PRECISIONS.index(_precision(run)))
        for group in groups.values()
        if len({_precision(run) for run in group}) > 1
    ]


def precision_table(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> PrecisionTable:
    """Put a group's figures side by side.

    Args:
        runs: One of ``precision_groups``.
        comparisons: Paired ratios, whether of these runs or not.
    """
    first = runs[0]
    told = [_precision(run) for run in runs]
    titles = [
        name if told.count(name) == 1 else f"{name}, {run.name}"
        for name, run in zip(told, runs, strict=True)
    ]
    rows = [(key, tuple(_accuracy(first, run, key) for run in runs)) for key in headline(runs)]
    rows.append(("ms per frame", tuple(_time(first, run, comparisons) for run in runs)))
    rows.append(("size", tuple(_size(first, run) for run in runs)))
    names = dict.fromkeys(name for run in runs for name in parity_figures(run.parity or {}))
    for name in names:
        found = [parity_figures(run.parity or {}).get(name, (MISSING, MISSING)) for run in runs]
        cells = tuple(
            (measured, "" if limit == MISSING else f"limit {limit}") for measured, limit in found
        )
        rows.append((name, cells))
    verdicts = [(run.parity or {}).get("passed") for run in runs]
    return PrecisionTable(
        tuple(runs),
        tuple(titles),
        tuple(rows),
        tuple(told if isinstance(told, bool) else None for told in verdicts),
    )


def parity_figures(parity: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return figure and threshold of each entry of a parity check, by name."""
    figures, thresholds = (
        part if isinstance(part, dict) else {}
        for part in (parity.get("figures"), parity.get("thresholds"))
    )
    return {
        str(name).replace("_", " "): (
            format_value(figures[name]) if name in figures else MISSING,
            format_value(thresholds[name]) if name in thresholds else MISSING,
        )
        for name in dict.fromkeys([*figures, *thresholds])
    }


def _precision(run: Run) -> str:
    return str((run.timing or {}).get("precision"))


def _accuracy(first: Run, run: Run, key: str) -> tuple[str, str]:
    if not run.accuracy:
        return MISSING, ""
    value = f"{run.accuracy[key]:.3f}"
    if run is first or not first.accuracy:
        return value, ""
    return value, f"{Difference(key, first.accuracy[key], run.accuracy[key]).signed} points"


def _time(first: Run, run: Run, comparisons: Sequence[Comparison]) -> tuple[str, str]:
    """Return the time and how it compares: paired where that was measured, else by medians."""
    own, base = run.milliseconds, first.milliseconds
    if own is None:
        return MISSING, ""
    if run is first or not base:
        return figure(own), ""
    for entry in comparisons:
        if (entry.first, entry.run) == (first.name, run):
            ratio, low, high = 1 / entry.ratio, 1 / entry.high, 1 / entry.low
            break
        if (entry.first, entry.run) == (run.name, first):
            ratio, low, high = entry.ratio, entry.low, entry.high
            break
    else:
        return figure(own), f"{figure(own / base)} times, of the medians"
    return figure(own), f"{figure(ratio)} times ({figure(low)} to {figure(high)})"


def _size(first: Run, run: Run) -> tuple[str, str]:
    if run.size_bytes is None:
        return MISSING, ""
    share = run.size_bytes / first.size_bytes if first.size_bytes and run is not first else None
    return file_size(run.size_bytes), "" if share is None else f"{share:.0%}"
