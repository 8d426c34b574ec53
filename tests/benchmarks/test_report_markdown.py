"""The Markdown twin: the same figures, safe in a pull request, and not too long for one."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from click.testing import CliRunner

from benchmarks.cli import cli
from benchmarks.report import write_report
from benchmarks.report.markdown import LONGEST, escape, render_markdown
from benchmarks.report.page import gather
from benchmarks.report.runs import read_runs
from runtime.errors import UserError
from tests.benchmarks.reports import ATTACKS, compared_runs, make_run, whole_run


def tables(text: str) -> list[list[str]]:
    """Return the rows of each table."""
    return [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def test_it_says_what_the_page_says(tmp_path):
    folders = compared_runs(tmp_path / "runs", ["net", "net int8", "YOLOX + ByteTrack"], rivals=1)
    text = render_markdown(gather(read_runs(folders), "My title", "kd-bench report x"))
    assert text.startswith("## My title\n")
    assert "The fastest is net (10.0 ms, HOTA 0.400)" in text
    assert "3 models, scored on ONE, TWO." in text
    headline = tables(text)[0]
    assert cells(headline[0])[0] == "model"
    assert cells(headline[-1])[0] == "YOLOX + ByteTrack (rival)"
    for heading in ("Where the time goes", "Speed, start and memory", "Per sequence"):
        assert f"### {heading}\n" in text
    assert "| net int8 | net | 1.50 | 1.40 to 1.60 |" in text
    assert "> Mind: the clock fell" in text
    assert text.count("<details>") == text.count("</details>") == 4
    assert text.rstrip().endswith("```\nkd-bench report x\n```")


def test_the_verdict_comes_first(tmp_path):
    roles = (("undistilled", 0.4), ("distilled", 0.45))
    folders = [whole_run(tmp_path / role, role, role, hota) for role, hota in roles]
    text = render_markdown(gather(read_runs(folders), "Title", ""))
    assert text.split("\n\n")[1].startswith("**Distillation helped: MOTA stayed at 0.500;")
    assert "### Export parity\n" in text
    assert "**failed**" in text


def test_hostile_words_stay_words(tmp_path):
    folders = compared_runs(tmp_path / "runs", list(ATTACKS))
    text = render_markdown(gather(read_runs(folders), ATTACKS[7], ATTACKS[7]))
    # Outside the command's fence no tag, address, mention, picture or formula is left.
    body = text[: text.index("Made by")]
    assert set(re.findall(r"<[^>]*>", body)) == {
        "<details>",
        "<summary>",
        "</summary>",
        "</details>",
    }
    for mark in ("://", "@octocat", " $", " _under_", "``", "a|b", "[link]", "\u202e"):
        assert mark not in body
    assert "{{7*7}}" not in body
    assert "\n````\n" in text
    for table in tables(body):
        assert len({len(cells(row)) for row in table}) == 1


@pytest.mark.parametrize("word", ATTACKS)
def test_escaped_words_are_one_line_without_open_marks(word):
    text = escape(word)
    assert "\n" not in text
    assert not re.search(r"(?<!\\)[`*_|$\[\]]", text)
    assert "<" not in text


def test_it_is_never_too_long_for_a_comment(tmp_path):
    accuracy = {
        "sequences": [
            {"sequence": f"sequence {number} {'x' * 60}", "MOTA": 0.5, "IDF1": 0.5, "HOTA": 0.5}
            for number in range(700)
        ]
    }
    run = make_run(tmp_path / "run", "x", "x", accuracy=accuracy)
    text = render_markdown(gather(read_runs([run]), "Title", "command"))
    assert LONGEST - 1000 < len(text) <= LONGEST
    assert text.endswith("The rest is in the HTML report.\n")


def test_command(tmp_path):
    run, target = make_run(tmp_path / "run"), tmp_path / "new" / "report.html"
    twin = tmp_path / "other" / "comment.md"
    arguments = ["report", str(run), "-o", str(target), "--markdown", str(twin)]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert twin.read_text().startswith("## Tracker report")
    assert not target.with_suffix(".md").exists()


def test_page_and_markdown_are_two_files(tmp_path):
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError, match=r"report.md cannot hold page and Markdown"):
        write_report([run], tmp_path / "report.md")
    assert not (tmp_path / "report.md").exists()
