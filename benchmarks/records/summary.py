"""The table that ``make demo`` prints and the README quotes."""

from __future__ import annotations

from typing import Any

from runtime.console import markdown_table

SUMMARY_COLUMNS = ("model", "MOTA", "IDF1", "HOTA", "parameters", "ms per frame")


def summary_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Format one model's row.

    Args:
        row: An entry of ``rows`` in the demo's ``summary.json``.

    Examples:
        >>> summary_cells({"name": "nano", "MOTA": 0.5, "IDF1": 0.6, "HOTA": 0.4,
        ...                "parameters": 1_385_207, "ms": 8.26})
        ('nano', '0.500', '0.600', '0.400', '1.39 M', '8.3')
    """
    return (
        row["name"],
        *(f"{row[metric]:.3f}" for metric in ("MOTA", "IDF1", "HOTA")),
        f"{row['parameters'] / 1e6:.2f} M",
        f"{row['ms']:.1f}",
    )


def summary_markdown(summary: dict[str, Any]) -> str:
    """Render a summary as a Markdown table."""
    return markdown_table(SUMMARY_COLUMNS, [summary_cells(row) for row in summary["rows"]])
