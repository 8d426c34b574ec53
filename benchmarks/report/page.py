"""Putting the page and its Markdown twin together."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report.footage import find_footage, tracked
from benchmarks.report.formats import counted, format_value, scrub
from benchmarks.report.markdown import render_markdown
from benchmarks.report.precision import parity_figures, precision_groups, precision_table
from benchmarks.report.runs import HEADLINE, Run, is_number, read_runs
from benchmarks.report.tables import (
    comparisons,
    headline_table,
    machines,
    resource_table,
    sequence_tables,
)
from benchmarks.report.verdict import choice, verdict
from runtime.errors import UserError
from runtime.files import atomic_path, output_directory
from runtime.version import __version__

TEMPLATES = Path(__file__).parent / "templates"


def write_report(
    folders: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    title: str = "Tracker report",
    sources: Sequence[str | os.PathLike[str]] = (),
    command: str = "",
    notes: str = "",
    markdown: str | os.PathLike[str] | None = None,
) -> None:
    """Write one self-contained HTML page, and the same in Markdown for a pull request.

    Args:
        folders: One folder per model; see ``benchmarks.report.runs``.
        output: The HTML file.
        title: Heading of the page.
        sources: Videos, image folders or sequences the tracks were made from, or folders of such.
            With them the page shows frames, and where ground truth lies beside them, what is wrong
            in them and a timeline of the identities.
        command: The command that makes the page, shown at its end.
        notes: Words on the models or the data, shown below the title.
        markdown: The Markdown file; beside the page, under its name, when None.

    Raises:
        UserError: An input is missing or damaged, an output cannot be written, or the extra
            ``bench`` is not installed.
    """
    runs = read_runs(folders)
    target = Path(output)
    twin = target.with_suffix(".md") if markdown is None else Path(markdown)
    if twin.resolve() == target.resolve():
        raise UserError(f"{target} cannot hold page and Markdown: give the page a name in .html")
    for file in (target, twin):
        output_directory(file.parent)
    content = gather(runs, title, command, notes)
    page = render(runs, content, target, sources)
    for file, text in ((target, page), (twin, render_markdown(content))):
        with atomic_path(file) as temporary:
            # JSON can name characters that UTF-8 cannot.
            temporary.write_bytes(text.encode("utf-8", errors="replace"))


def gather(runs: Sequence[Run], title: str, command: str, notes: str = "") -> dict[str, Any]:
    """Return what the page and the Markdown share, by name."""
    ratios = comparisons(runs)
    groups = precision_groups(runs)
    grouped = [run for group in groups for run in group]
    scored = [", ".join(run.sequence_names) for run in runs if run.accuracy]
    return {
        "title": title,
        "version": __version__,
        "command": command,
        "notes": notes,
        "runs": runs,
        "scored": list(dict.fromkeys(scored)),
        "scored_on": "scored on " + "; ".join(dict.fromkeys(scored))
        if scored
        else "not scored, as there is no ground truth",
        "headline": headline_table(runs),
        "choice": choice(runs),
        "verdict": verdict(runs),
        "sequence_tables": sequence_tables(runs),
        "resources": resource_table(runs),
        "comparisons": ratios,
        "precisions": [precision_table(group, ratios) for group in groups],
        "parities": [
            (run, parity_figures(run.parity), run.parity)
            for run in runs
            if run.parity and run not in grouped
        ],
        "details": [(run, detail_rows(run)) for run in runs],
        "settings": settings(runs),
        "machines": machines(runs),
    }


def render(
    runs: Sequence[Run],
    content: dict[str, Any],
    target: Path,
    sources: Sequence[str | os.PathLike[str]],
) -> str:
    """Return the page's HTML.

    Args:
        runs: The runs.
        content: What ``gather`` made of them.
        target: Where the page will lie.
        sources: As for ``write_report``.
    """
    try:
        import jinja2
        from markupsafe import Markup

        from benchmarks.report import curves, scatter, timing
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
        # Escaping leaves letters that turn the direction of the text around them.
        finalize=lambda value: scrub(value) if type(value) is str else value,
    )
    plots = (
        scatter.accuracy_against_latency(runs),
        curves.hota_over_alpha(runs),
        timing.ratio_intervals(content["comparisons"]),
        timing.frame_histogram(runs),
        timing.stage_bars(runs),
    )
    styles = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        **content,
        styles=Markup(styles),
        counted=counted,
        pictures=[picture for picture in plots if picture],
        curves=curves.training_curves(runs),
        videos=[(run, link) for run in runs if (link := relative_link(run.overlay, target))],
        **_pictures_of_tracks(runs, sources),
    )


def _pictures_of_tracks(
    runs: Sequence[Run], sources: Sequence[str | os.PathLike[str]]
) -> dict[str, Any]:
    """Return the frame strips and timelines; both need the sources."""
    from benchmarks.report.strip import BUDGET, strips
    from benchmarks.report.timeline import draw_timelines

    footage = find_footage(sources)
    entries = tracked(runs, footage)
    if footage and not entries:
        names = ", ".join(one.name for one in footage)
        raise UserError(
            f"no model has tracks of {names}: give the source of tracks.txt or tracks/SEQUENCE.txt"
        )
    return {
        "left_out": max(0, len(entries) - BUDGET),
        "strips": strips(entries),
        "timelines": draw_timelines(entries),
        "several": len({entry.footage for entry in entries}) > 1,
    }


def detail_rows(run: Run) -> list[tuple[str, str]]:
    """Return a run's other accuracy figures, in the file's order."""
    return [
        (key, format_value(value))
        for key, value in run.accuracy.items()
        if key not in HEADLINE and is_number(value)
    ]


def settings(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Return how the first run that was timed was timed."""
    told = next((run.latency.get("settings") for run in runs if run.latency), None)
    rows = told.items() if isinstance(told, dict) else ()
    return [
        (str(key).replace("_", " "), format_value(value))
        for key, value in rows
        if value is not None and key != "warnings"
    ]


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
