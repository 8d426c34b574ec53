"""``kd-bench report``: one HTML page from the measurements of one or more models."""

from __future__ import annotations

from benchmarks.report.page import write_report

__all__ = ["write_report"]
