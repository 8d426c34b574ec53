"""``kd-bench tables``: the tables of the README, made from the records in ``benchmarks/results``.

A table stands between two comments, ``<!-- table: NAME -->`` and ``<!-- end -->``, which Markdown
does not show. What stands between them is written anew from the record, so no figure is typed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.association.measure import association_summary
from benchmarks.compare import comparison_markdown
from benchmarks.faults import faults_markdown
from benchmarks.records import distil, export, summary
from benchmarks.records.held_out import held_out_markdown
from benchmarks.records.loop import share_markdown, throughput_markdown
from benchmarks.records.presets import presets_markdown
from benchmarks.scoring.speed import speed_markdown
from runtime.errors import UserError
from runtime.files import atomic_path, existing_file

RESULTS = Path(__file__).parents[1] / "results"
# Quoted in these files of a checkout.
DOCUMENTS = (Path("README.md"), Path("benchmarks/results/README.md"))
PLACE = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

# Name of a table: its record, and how a table is made of it.
TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "demo": ("demo.json", summary.summary_markdown),
    "compare": ("compare.json", comparison_markdown),
    "default": ("default.json", held_out_markdown),
    "metrics": ("metrics.json", speed_markdown),
    "distil": ("distil.json", distil.summary_markdown),
    "export": ("export.json", export.latency_markdown),
    "association": ("runtime.json", lambda record: association_summary(record["association"])),
    "share": ("runtime.json", lambda record: share_markdown(record["share"])),
    "throughput": ("runtime.json", lambda record: throughput_markdown(record["throughput"])),
    "presets": ("runtime.json", lambda record: presets_markdown(record["presets"])),
    "faults": ("runtime.json", lambda record: faults_markdown(record["faults"])),
}


def table(name: str) -> str:
    """Return a table in Markdown.

    Args:
        name: A key of ``TABLES``.

    Raises:
        UserError: There is no such table, or its record is missing.
    """
    if name not in TABLES:
        raise UserError(f"there is no table {name}: choose from {', '.join(TABLES)}")
    file, render = TABLES[name]
    record = json.loads(existing_file(RESULTS / file, "record").read_text(encoding="utf-8"))
    return render(record)


def filled(text: str) -> str:
    """Return a document with all its tables as the records have them.

    Args:
        text: Markdown with places for tables.

    Raises:
        UserError: A place names no table, or a record is missing.
    """
    return PLACE.sub(lambda place: place[1] + table(place["name"]).strip() + "\n" + place[3], text)


def fill(document: Path) -> bool:
    """Write a document's tables anew.

    Args:
        document: The file.

    Returns:
        Whether anything has changed.

    Raises:
        UserError: The file is missing, or as ``filled``.
    """
    before = existing_file(document, "document").read_text(encoding="utf-8")
    after = filled(before)
    if after == before:
        return False
    with atomic_path(document) as temporary:
        temporary.write_text(after, encoding="utf-8")
    return True
