"""The README quotes measured figures, not remembered ones."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.summary import summary_markdown

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_in_the_readme_is_the_one_that_was_measured() -> None:
    summary = json.loads((ROOT / "benchmarks" / "results" / "demo.json").read_text())
    assert summary_markdown(summary) in (ROOT / "README.md").read_text(encoding="utf-8")
