"""The logs of a run: CSV files with a row per entry, the step in the second column."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any


def append_row(file: Path, row: dict[str, Any]) -> None:
    """Append a row to a CSV file; the first row names the columns."""
    fresh = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(row))
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def drop_rows_after(file: Path, step: int) -> None:
    """Drop the rows of steps that are going to be taken again; a missing file has none.

    Args:
        file: The log.
        step: The last step to keep.
    """
    if file.exists():
        header, *rows = file.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [row for row in rows if int(row.split(",")[1]) <= step]
        file.write_text("".join([header, *kept]), encoding="utf-8")
