"""The documents quote measured figures, not remembered ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.cli import cli
from benchmarks.records.tables import DOCUMENTS, PLACE, TABLES, fill, filled, table
from runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_the_tables_are_those_that_were_measured(document: Path) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert PLACE.search(text)
    assert filled(text) == text


def test_every_record_is_quoted_somewhere() -> None:
    texts = [(ROOT / document).read_text(encoding="utf-8") for document in DOCUMENTS]
    quoted = {place["name"] for text in texts for place in PLACE.finditer(text)}
    assert quoted == set(TABLES)


def test_a_figure_that_was_typed_is_found_and_mended(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text(f"before\n<!-- table: demo -->\n{table('demo')}\n<!-- end -->\nafter\n")
    assert not fill(document)
    whole = document.read_text()
    document.write_text(whole.replace("| teacher", "| teachers"))
    result = CliRunner().invoke(cli, ["tables", str(document)])
    assert result.output == f"{document}: written anew\n"
    assert document.read_text() == whole


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("<!-- table: nothing -->\n<!-- end -->\n")
    with pytest.raises(UserError, match="no table nothing: choose from demo"):
        fill(document)
    assert document.read_text().startswith("<!-- table: nothing")
