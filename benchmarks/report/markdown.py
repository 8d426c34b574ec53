"""The report in Markdown, for a pull request: the figures without the pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from benchmarks.report.formats import counted, figure, one_line, scrub
from benchmarks.report.runs import Run
from benchmarks.report.tables import Comparison, Table
from runtime.console import markdown_table

# GitHub takes 65,536 characters in a comment.
LONGEST = 65_000
LONGEST_NAME = 80
STAGES = ("preprocess", "network", "decode", "association", "total")
# Nothing here stands at the start of a line, so that lists and headings need no care.
_SPECIAL = re.compile(r"([\\`*_\[\]|~$#])")


def escape(value: Any, longest: int = LONGEST_NAME) -> str:
    r"""Write other people's words so that Markdown takes them for words, on one line.

    Args:
        value: The words.
        longest: Letters after which they are cut.

    Examples:
        >>> print(escape("a|b_c <img> $x$ @me"))
        a\|b\_c &lt;img&gt; \$x\$ @​me
    """
    text = one_line(value)
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    text = _SPECIAL.sub(r"\\\1", text)
    # Entities keep tags away and addresses from becoming links; an empty letter keeps a name
    # behind an at sign from calling somebody.
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("://", "&#58;//").replace("@", "@\u200b")


def render_markdown(content: dict[str, Any]) -> str:
    """Return the report.

    Args:
        content: What ``benchmarks.report.page.gather`` returns.

    Returns:
        At most ``LONGEST`` characters. If it would be longer, sections at the end are left away,
        and a last line says so.
    """
    sections = [
        *_opening(content),
        _stages(content["runs"]),
        *_resources(content["resources"]),
        *_sequences(content["sequence_tables"]),
        *_precisions(content),
        *_comparisons(content["comparisons"]),
        *_machines(content),
        *_command(content["command"]),
    ]
    note = "\nThe rest is in the HTML report.\n"
    text = ""
    for section in sections:
        if section and len(text) + len(section) + 2 + len(note) > LONGEST:
            return text + note
        text += f"{section}\n\n" if section else ""
    return text.rstrip() + "\n"


def _opening(content: dict[str, Any]) -> list[str]:
    runs, found = content["runs"], content["verdict"]
    scored_on = escape(content["scored_on"], 1000)
    opening = [f"## {escape(content['title'], 200)}"]
    if found:
        opening.append(f"**{escape(found.headline, 1000)}**")
        opening.append(escape(" ".join(found.remarks), 2000))
    if content["choice"]:
        opening.append(escape(content["choice"], 2000))
    opening.append(f"{counted(len(runs), 'model')}, {scored_on}.")
    if len(content["scored"]) > 1:
        opening.append(
            "The models were scored on different sequences; their figures do not compare."
        )
    if content["notes"]:
        opening.append(escape(content["notes"], 2000))
    return [*opening, _table(content["headline"], roles=True)]


def _table(table: Table, roles: bool = False) -> str:
    rows = []
    for row in table.rows:
        name = escape(row.run.name)
        if roles and row.run.role:
            name += f" ({escape(row.run.role)})"
        cells = [
            f"**{cell}**" if index in row.best else cell for index, cell in enumerate(row.cells)
        ]
        rows.append([name, *cells])
    return markdown_table(("model", *table.columns), rows)


def _stages(runs: Sequence[Run]) -> str:
    rows = []
    for run in runs:
        medians = [run.measured("stages", name, "median_ms") for name in STAGES]
        if run.timing:
            cells = ["–" if median is None else figure(median) for median in medians]
            rows.append([escape(run.name), *cells])
    table = markdown_table(("median ms", *STAGES), rows)
    return f"### Where the time goes\n\n{table}" if rows else ""


def _resources(table: Table | None) -> list[str]:
    return [f"### {table.title}\n\n{_table(table)}"] if table else []


def _sequences(tables: Sequence[tuple[str, Table]]) -> list[str]:
    heading = "### Per sequence\n\n"
    return [
        f"{'' if index else heading}**{escape(name)}**\n\n{_table(table)}"
        for index, (name, table) in enumerate(tables)
    ]


def _precisions(content: dict[str, Any]) -> list[str]:
    sections = []
    for table in content["precisions"]:
        rows = [
            [
                escape(name),
                *(escape(f"{value} ({words})" if words else value) for value, words in cells),
            ]
            for name, cells in table.rows
        ]
        rows.append(["parity", *(_passed(told) for told in table.verdicts)])
        columns = ("figure", *map(escape, table.titles))
        name = escape(table.runs[0].name)
        sections.append(f"### Precision: {name}\n\n{markdown_table(columns, rows)}")
    rows = [
        [escape(run.name), escape(parity.get("precision", "–")), _passed(parity.get("passed"))]
        for run, _, parity in content["parities"]
    ]
    if rows:
        table = markdown_table(("model", "precision", "parity"), rows)
        sections.append(f"### Export parity\n\n{table}")
    return sections


def _passed(told: Any) -> str:
    return {True: "passed", False: "**failed**"}.get(told, "–") if isinstance(told, bool) else "–"


def _comparisons(entries: Sequence[Comparison]) -> list[str]:
    rows = [
        [
            escape(entry.other),
            escape(entry.first),
            figure(entry.ratio),
            f"{figure(entry.low)} to {figure(entry.high)}",
        ]
        for entry in entries
    ]
    if not rows:
        return []
    interval = f"{100 * entries[0].confidence:g} % interval"
    table = markdown_table(("model", "against", "times as fast", interval), rows)
    return [f"### Speed over paired rounds\n\n{table}"]


def _machines(content: dict[str, Any]) -> list[str]:
    sections = []
    for machine in content["machines"]:
        sections += [f"> Mind: {escape(one, 500)}" for one in machine.warnings]
        parts = [f"Timing of {escape(machine.names, 500)}.", _pairs("machine", machine.facts)]
        if machine.clocks:
            rows = [[escape(cell, 300) for cell in row] for row in machine.clocks]
            parts.append(markdown_table(("clocks", "before", "after"), rows))
        sections.append(_folded("Machine", "\n\n".join(parts)))
    if content["settings"]:
        sections.append(_folded("How it was timed", _pairs("setting", content["settings"])))
    return sections


def _pairs(title: str, rows: Sequence[tuple[str, str]]) -> str:
    return markdown_table((title, ""), [[escape(key), escape(value, 300)] for key, value in rows])


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def _command(command: str) -> list[str]:
    if not command:
        return []
    longest = max((len(run) for run in re.findall("`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"Made by\n\n{fence}\n{scrub(command)}\n{fence}"]
