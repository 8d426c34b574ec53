"""The logs of a run: CSV files with a row per entry, the step in the second column."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from runtime.files import atomic_path


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

    A row that was not written to its end, because the process was killed, is dropped as well.

    Args:
        file: The log.
        step: The last step to keep.
    """
    if not file.exists():
        return
    with file.open(newline="", encoding="utf-8") as handle:
        whole = [line for line in handle if line.endswith("\n")]
    kept = whole[:1] + [row for row in whole[1:] if int(row.split(",")[1]) <= step]
    if not kept:
        file.unlink()
        return
    with atomic_path(file) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8", newline="")
