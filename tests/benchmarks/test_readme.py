"""The README quotes measured figures, not remembered ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.association.measure import association_summary
from benchmarks.faults import faults_markdown
from benchmarks.loop import share_markdown, throughput_markdown
from benchmarks.presets import presets_markdown
from benchmarks.summary import summary_markdown

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_in_the_readme_is_the_one_that_was_measured() -> None:
    summary = json.loads((ROOT / "benchmarks" / "results" / "demo.json").read_text())
    assert summary_markdown(summary) in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "table",
    [
        lambda record: association_summary(record["association"]),
        lambda record: share_markdown(record["share"]),
        lambda record: throughput_markdown(record["throughput"]),
        lambda record: presets_markdown(record["presets"]),
        lambda record: faults_markdown(record["faults"]),
    ],
    ids=["association", "share", "throughput", "presets", "faults"],
)
def test_the_tables_of_the_runtime_are_those_that_were_measured(table) -> None:
    record = json.loads((ROOT / "benchmarks" / "results" / "runtime.json").read_text())
    assert table(record) in (ROOT / "README.md").read_text(encoding="utf-8")
