"""Putting the page together."""

from __future__ import annotations

import math
import os
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report.runs import HEADLINE, Run, read_runs
from benchmarks.report.verdict import verdict
from runtime.errors import UserError
from runtime.files import atomic_path, output_directory
from runtime.version import __version__

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class HeadlineRow:
    """One row of the table at the top; ``best`` holds the columns in which it leads."""

    run: Run
    cells: dict[str, str]
    best: frozenset[str]


def write_report(
    folders: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    title: str = "Tracker report",
    source: str | os.PathLike[str] | None = None,
    command: str = "",
) -> None:
    """Write one self-contained HTML page.

    Args:
        folders: One folder per model; see ``benchmarks.report.runs``.
        output: The HTML file.
        title: Heading of the page.
        source: Video, image folder or sequence the tracks were made from. With it the page shows
            frames, and an identity timeline if ground truth lies beside it.
        command: The command that makes the page, shown at its end.

    Raises:
        UserError: An input is missing or damaged, the output cannot be written, or the extra
            ``bench`` is not installed.
    """
    runs = read_runs(folders)
    target = Path(output)
    output_directory(target.parent)
    page = render(runs, target, title, Path(source) if source else None, command)
    with atomic_path(target) as temporary:
        # JSON can name characters that UTF-8 cannot.
        temporary.write_bytes(page.encode("utf-8", errors="replace"))


def render(runs: Sequence[Run], target: Path, title: str, source: Path | None, command: str) -> str:
    """Return the page's HTML; the arguments are those of ``write_report``."""
    try:
        import jinja2

        from benchmarks.report import figures
    except ModuleNotFoundError as error:
        raise UserError(
            f"the report needs {error.name}, which is not installed: pip install 'kd-mot[bench]'"
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    comparison = (
        figures.accuracy_against_latency(runs),
        figures.stage_bars(runs),
        figures.hota_over_alpha(runs),
    )
    return environment.get_template("report.html.j2").render(
        title=title,
        version=__version__,
        command=command,
        rows=headline_rows(runs),
        metrics=HEADLINE,
        sequences=sorted({str(run.accuracy.get("sequence") or "not named") for run in runs}),
        verdict=verdict(runs),
        pictures=[picture for picture in comparison if picture],
        curves=figures.training_curves(runs),
        details=[(run, detail_rows(run)) for run in runs],
        parities=[(run, parity_rows(run.parity), run.parity) for run in runs if run.parity],
        videos=[(run, link) for run in runs if (link := relative_link(run.overlay, target))],
        environments=environments(runs),
        runs=runs,
        **_pictures_of_tracks(runs, source),
    )


def _pictures_of_tracks(runs: Sequence[Run], source: Path | None) -> dict[str, Any]:
    """Return the frame strips and timelines; both need the source."""
    if source is None or not any(run.tracks for run in runs):
        return {"strips": [], "timelines": []}
    from benchmarks.accuracy import load_sequence
    from benchmarks.report.strip import strips
    from benchmarks.report.timeline import draw_timeline

    gt_file = next(
        (
            candidate
            for folder in (source, source.parent)
            if (candidate := folder / "gt" / "gt.txt").is_file()
        ),
        None,
    )
    timelines = []
    for number, run in enumerate(runs if gt_file else ()):
        if run.tracks and gt_file:
            data = load_sequence(gt_file, run.tracks)
            timeline = draw_timeline(data, run.name, f"timeline{number}")
            if timeline:
                timelines.append((run, timeline))
    return {"strips": strips(runs, source), "timelines": timelines}


def headline_rows(runs: Sequence[Run]) -> list[HeadlineRow]:
    """Return the table at the top: accuracy, size and speed of each run."""
    values: dict[str, list[float | None]] = {
        key: [float(run.accuracy[key]) for run in runs] for key in HEADLINE
    }
    values["parameters"] = [run.parameters for run in runs]
    values["ms"] = [run.milliseconds for run in runs]
    values["size"] = [run.size_bytes for run in runs]
    shown = {
        **dict.fromkeys(HEADLINE, lambda value: f"{value:.3f}"),
        "parameters": si_count,
        "ms": lambda value: f"{value:.1f}",
        "size": file_size,
    }
    rows = []
    for index, run in enumerate(runs):
        cells, best = {}, set()
        for key, column in values.items():
            value = column[index]
            cells[key] = "–" if value is None else shown[key](value)
            known = [other for other in column if other is not None]
            leader = max(known, default=None) if key in HEADLINE else min(known, default=None)
            if value is not None and value == leader and len(set(known)) > 1:
                best.add(key)
        rows.append(HeadlineRow(run, cells, frozenset(best)))
    return rows


def detail_rows(run: Run) -> list[tuple[str, str]]:
    """Return a run's other accuracy figures, in the file's order."""
    return [
        (key, format_value(value))
        for key, value in run.accuracy.items()
        if key not in HEADLINE and isinstance(value, int | float) and not isinstance(value, bool)
    ]


def parity_rows(parity: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, figure and threshold of each entry of a parity check."""
    figures, thresholds = parity.get("figures"), parity.get("thresholds")
    figures = figures if isinstance(figures, dict) else {}
    thresholds = thresholds if isinstance(thresholds, dict) else {}
    names = [*figures, *(name for name in thresholds if name not in figures)]
    return [
        (
            str(name),
            format_value(figures[name]) if name in figures else "–",
            format_value(thresholds[name]) if name in thresholds else "–",
        )
        for name in names
    ]


def environments(runs: Sequence[Run]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return each distinct machine with the names of the runs that were timed on it.

    The date and the load of the machine differ from run to run; the first run's are shown.
    """
    found: dict[str, tuple[list[str], list[tuple[str, str]]]] = {}
    for run in runs:
        told = (run.latency or {}).get("environment")
        if not isinstance(told, dict):
            continue
        fixed = {key: value for key, value in told.items() if key not in ("date", "load_average")}
        rows = [(str(key), format_value(value)) for key, value in told.items()]
        found.setdefault(repr(sorted(fixed.items())), ([], rows))[0].append(run.name)
    return [(", ".join(names), rows) for names, rows in found.values()]


def relative_link(file: Path | None, page: Path) -> str | None:
    """Return the URL of a file that lies beside the page or below it, else None.

    Examples:
        >>> relative_link(Path("out/a b/overlay.webm"), Path("out/report.html"))
        'a%20b/overlay.webm'
    """
    if file is None:
        return None
    folder = page.resolve().parent
    if not file.resolve().is_relative_to(folder):
        return None
    relative = urllib.parse.quote(file.resolve().relative_to(folder).as_posix())
    # A colon in the first part would read as a scheme.
    return f"./{relative}" if ":" in relative else relative


def format_value(value: Any) -> str:
    """Format any value of a JSON file for a table.

    Examples:
        >>> format_value(0.25), format_value(3.2e-07), format_value([1.5, 2]), format_value(True)
        ('0.25', '3.2e-07', '1.5, 2', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return ", ".join(format_value(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {format_value(item)}" for key, item in value.items())
    return "–" if value is None else str(value)


def si_count(value: float) -> str:
    """Format a count with its magnitude.

    Examples:
        >>> si_count(950), si_count(3_480_000), si_count(20_350_000)
        ('950', '3.48 M', '20.4 M')
    """
    for limit, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:#.3g}".rstrip(".") + suffix
    return f"{value:g}"


def file_size(size_bytes: float) -> str:
    """Format a file's size in decimal units.

    Examples:
        >>> file_size(13_900_000), file_size(4_200)
        ('13.9 MB', '4.2 kB')
    """
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"
