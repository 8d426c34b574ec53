"""The tables of a report, as plain words that the page and the Markdown both write down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from benchmarks.report.formats import figure, file_size, format_value, one_line, si_count
from benchmarks.report.runs import HEADLINE, Run, headline, is_number

MISSING = "–"
NOTES = {
    "Jitter ms": "Jitter is how much a frame differs from the one before, on average.",
    "Memory MB": "Memory is the peak of a process that does nothing else.",
    "First frame ms": "Loading and the first frame are a cold start.",
}


@dataclass(frozen=True)
class Row:
    """One row; ``best`` holds the columns in which it leads."""

    run: Run
    cells: tuple[str, ...]
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Table:
    """Columns behind the one of the runs' names, the rows, and what to say about them."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class _Column:
    """How a column is filled; ``better`` is 1 where more is better, -1 where less is."""

    title: str
    value: Callable[[Run], float | None]
    shown: Callable[[float], str]
    better: int = -1


@dataclass(frozen=True)
class Comparison:
    """How many times as fast ``other`` is as ``first``, over paired rounds."""

    run: Run
    first: str
    other: str
    ratio: float
    low: float
    high: float
    confidence: float

    @property
    def words(self) -> str:
        """The ratio with its interval.

        Examples:
            >>> Comparison(None, "a", "b", 1.4762, 1.4614, 1.4894, 0.95).words
            '1.48 (1.46 to 1.49)'
        """
        return f"{figure(self.ratio)} ({figure(self.low)} to {figure(self.high)})"


def headline_table(runs: Sequence[Run]) -> Table:
    """Return the table at the top: accuracy, size and speed of each run."""
    accuracy = [_Column(key, partial(_accuracy, key), "{:.3f}".format, 1) for key in headline(runs)]
    others = [
        _Column("Parameters", lambda run: run.parameters, si_count),
        _Column("ms per frame", lambda run: run.milliseconds, figure),
        _Column("Size", lambda run: run.size_bytes, file_size),
    ]
    return _table(runs, accuracy + others, keep_empty=True)


def sequence_tables(runs: Sequence[Run]) -> list[tuple[str, Table]]:
    """Return the accuracy on each sequence, where there are several."""
    told = {id(run): dict(zip(run.sequence_names, run.sequences, strict=True)) for run in runs}
    names = list(dict.fromkeys(name for entries in told.values() for name in entries))
    if len(names) < 2:
        return []
    found = []
    for name in names:
        scored = [run for run in runs if name in told[id(run)]]
        figures = {id(run): told[id(run)][name] for run in scored}
        columns = [
            _Column(key, partial(_of_sequence, figures, key), "{:.3f}".format, 1)
            for key in HEADLINE
        ]
        columns += [
            _Column(key, partial(_of_sequence, figures, key), "{:.0f}".format)
            for key in ("IDSW", "FP", "FN")
        ]
        found.append((name, _table(scored, columns)))
    return found


def _accuracy(key: str, run: Run) -> float | None:
    return float(run.accuracy[key]) if run.accuracy else None


def _of_sequence(figures: dict[int, dict[str, Any]], key: str, run: Run) -> float | None:
    value = figures[id(run)].get(key)
    return float(value) if is_number(value) else None


def resource_table(runs: Sequence[Run]) -> Table | None:
    """Return what each run costs beside the median time; columns nobody filled are left away."""
    total = ("stages", "total")
    columns = [
        _Column("Median ms", lambda run: run.milliseconds, figure),
        _Column("p95 ms", lambda run: run.measured(*total, "p95_ms"), figure),
        _Column("p99 ms", lambda run: run.measured(*total, "p99_ms"), figure),
        _Column("Jitter ms", lambda run: run.measured("jitter_ms"), figure),
        _Column("Throughput fps", lambda run: run.measured("throughput_fps"), figure, 1),
        _Column("Memory MB", lambda run: run.measured("memory_mb"), "{:.0f}".format),
        _Column("Load ms", lambda run: run.measured("load_ms"), figure),
        _Column("First frame ms", lambda run: run.measured("first_frame_ms"), figure),
        _Column("Energy mJ per frame", lambda run: run.measured("energy_mj"), figure),
        _Column("Power W", lambda run: run.measured("power_w"), figure),
    ]
    table = _table([run for run in runs if run.timing], columns)
    if len(table.columns) < 2:
        return None
    notes = [note for title, note in NOTES.items() if title in table.columns]
    title = "Speed, start and memory" if notes else "Speed"
    return replace(table, title=title, note=" ".join(notes))


def _table(runs: Sequence[Run], columns: Sequence[_Column], keep_empty: bool = False) -> Table:
    filled = [(column, [column.value(run) for run in runs]) for column in columns]
    filled = [
        (column, values)
        for column, values in filled
        if keep_empty or any(value is not None for value in values)
    ]
    texts = [
        [MISSING if value is None else column.shown(value) for value in values]
        for column, values in filled
    ]
    leaders = [
        _leader(values, shown, column.better)
        for (column, values), shown in zip(filled, texts, strict=True)
    ]
    rows = []
    for index, run in enumerate(runs):
        cells = tuple(shown[index] for shown in texts)
        best = [place for place, cell in enumerate(cells) if cell == leaders[place]]
        rows.append(Row(run, cells, frozenset(best)))
    return Table(tuple(column.title for column, _ in filled), tuple(rows))


def _leader(values: Sequence[float | None], shown: Sequence[str], better: int) -> str | None:
    """Return the best cell as it is shown, None where all look alike."""
    known = [
        (value * better, text)
        for value, text in zip(values, shown, strict=True)
        if value is not None
    ]
    return max(known)[1] if len({text for _, text in known}) > 1 else None


def comparisons(runs: Sequence[Run]) -> list[Comparison]:
    """Return the paired ratios of the runs that are on the page, each pair once.

    A file may tell of models that are not on the page, or be damaged; such entries are left away.
    """
    by_model = {str((run.timing or {}).get("model")): run for run in runs if run.timing}
    found: dict[tuple[str, str], Comparison] = {}
    for run in runs:
        told = (run.latency or {}).get("comparisons")
        for entry in told if isinstance(told, list) else []:
            if not isinstance(entry, dict):
                continue
            first, other = str(entry.get("first")), str(entry.get("other"))
            if not (first in by_model and other in by_model):
                continue
            told_figures = [entry.get(key) for key in ("ratio", "low", "high")]
            figures = [float(value) for value in told_figures if is_number(value) and value > 0]
            if len(figures) < len(told_figures):
                continue
            ratio, low, high = figures
            share = entry.get("confidence")
            names = by_model[first].name, by_model[other].name
            ending = ratio, low, high, share if is_number(share) else 0.95
            found.setdefault((first, other), Comparison(by_model[other], *names, *ending))
    return list(found.values())


@dataclass(frozen=True)
class Machine:
    """One machine that runs were timed on.

    Attributes:
        names: The runs.
        facts: What it is, by name.
        clocks: Name, value before and value after of what may change while it runs.
        warnings: What to mind about the figures.
    """

    names: str
    facts: list[tuple[str, str]]
    clocks: list[tuple[str, str, str]]
    warnings: list[str]


def machines(runs: Sequence[Run]) -> list[Machine]:
    """Return each distinct machine with the runs that were timed on it.

    The date, the load and the clocks differ from run to run; the first run's are shown.
    """
    passing = ("date", "load_average", "clocks", "warnings")
    found: dict[str, tuple[list[str], Machine]] = {}
    for run in runs:
        told = (run.latency or {}).get("environment")
        if not isinstance(told, dict):
            continue
        fixed = {key: value for key, value in told.items() if key not in passing}
        facts = [
            (str(key).replace("_", " "), format_value(value))
            for key, value in told.items()
            if key not in ("clocks", "warnings")
        ]
        machine = Machine("", facts, _clocks(told.get("clocks")), _warnings(run.latency or {}))
        found.setdefault(repr(sorted(fixed.items(), key=str)), ([], machine))[0].append(run.name)
    return [
        Machine(", ".join(names), machine.facts, machine.clocks, machine.warnings)
        for names, machine in found.values()
    ]


def _clocks(told: Any) -> list[tuple[str, str, str]]:
    before, after = (
        dict(part) if isinstance(part, dict) else {}
        for part in (
            told.get(key) if isinstance(told, dict) else None for key in ("before", "after")
        )
    )
    return [
        (str(key).replace("_", " "), format_value(before.get(key)), format_value(after.get(key)))
        for key in dict.fromkeys([*before, *after])
    ]


def _warnings(latency: dict[str, Any]) -> list[str]:
    """Return the warnings of a measurement, which may stand beside its parts or in them."""
    found = []
    for part in (latency, latency.get("environment"), latency.get("settings")):
        told = part.get("warnings") if isinstance(part, dict) else None
        found += [one_line(entry) for entry in (told if isinstance(told, list) else [])]
    return list(dict.fromkeys(found))
