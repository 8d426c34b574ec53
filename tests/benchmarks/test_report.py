"""``kd-bench report``: the page is whole, offline and safe whatever the names are."""

from __future__ import annotations

import html
import itertools
import json
from pathlib import Path

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from click.testing import CliRunner

from benchmarks.cli import cli
from benchmarks.report import write_report
from benchmarks.report.formats import short
from benchmarks.report.page import relative_link
from benchmarks.report.runs import read_runs
from benchmarks.report.verdict import verdict
from runtime.errors import UserError
from tests.benchmarks.reports import (
    HOSTILE,
    Page,
    compared_runs,
    latency,
    make_run,
    make_sequence,
    walk,
    whole_run,
)


def build(tmp_path: Path, folders: list[Path], **options) -> tuple[Page, str]:
    target = tmp_path / "report.html"
    write_report(folders, target, **options)
    text = target.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    return page, text


def assert_offline(page: Page) -> None:
    for name in ("src", "href", "xlink:href", "poster", "srcset", "data", "action"):
        for value in page.values(name):
            assert value.startswith(("#", "data:")) or ":" not in value, value
    for value in page.values("style"):
        assert "url(" not in value.replace("url(#", "")
    assert not {"script", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert "@import" not in page.text


def test_a_single_run_with_accuracy_alone(tmp_path):
    page, _ = build(tmp_path, [make_run(tmp_path / "tiny")])
    assert "tiny" in page.text
    assert "0.400" in page.text
    assert "distillation" not in page.text.lower()
    assert "svg" not in page.tags
    assert_offline(page)


def test_without_ground_truth_there_are_times_and_pictures_and_no_figures(tmp_path):
    folders = compared_runs(tmp_path / "runs", ["before", "after"])
    for folder in folders:
        (folder / "accuracy.json").unlink()
    sequence = make_sequence(tmp_path / "ONE", gt=False)
    page, _ = build(tmp_path, folders, sources=[sequence], title="no truth")
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    for text in (page.text, markdown):
        assert "2 models, not scored, as there is no ground truth." in text
        assert "10.0" in text
        assert "MOTA" not in text
        assert "HOTA" not in text
    assert "img" in page.tags
    assert_offline(page)


def test_one_model_scored_and_one_not(tmp_path):
    runs = [make_run(tmp_path / "a", "a", "distilled"), make_run(tmp_path / "b", "b")]
    (runs[1] / "accuracy.json").unlink()
    (runs[1] / "latency.json").write_text(json.dumps(latency("b", 5.0)))
    page, _ = build(tmp_path, runs)
    assert "scored on SEQ" in page.text
    assert "–" in page.text
    assert verdict(read_runs(runs)) is None


def test_a_folder_with_nothing_to_show_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds none of accuracy.json, latency.json"):
        write_report([tmp_path / "empty"], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_everything_at_once(tmp_path):
    folders = [
        whole_run(tmp_path / role, f"{role} model", role, hota)
        for role, hota in (("teacher", 0.6), ("undistilled", 0.4), ("distilled", 0.45))
    ]
    page, _ = build(tmp_path, folders, title="My page", command="kd-bench report 'a b'")
    assert page.tags.count("svg") == 7  # three comparisons, the loss, and its parts three times
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(labels) == 7
    assert all(labels)
    assert "HOTA rose by 5.0 points, from 0.400 to 0.450" in page.text
    assert "distillation closed 25% of that gap" in page.text
    assert "kd-bench report 'a b'" in page.text
    assert "CPU of teacher model" in page.text
    assert "failed" in page.text
    assert ("html", "lang", "en") in page.attributes
    headings = [int(tag[1]) for tag in page.tags if tag in ("h1", "h2", "h3")]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(headings))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert_offline(page)


def test_hostile_names_stay_text(tmp_path):
    folders = [
        whole_run(tmp_path / role, HOSTILE, role, hota)
        for role, hota in (
            ("teacher", 0.6),
            ("undistilled", 0.4),
            ("distilled", 0.3),
            (HOSTILE[:8], 0.2),
        )
    ]
    page, text = build(tmp_path, folders, title=HOSTILE, command=HOSTILE)
    assert "<script" not in text.lower()
    assert page.text.count(HOSTILE) >= 8
    # Inside the pictures names are cut to fit, and still escaped.
    assert html.escape(short(HOSTILE), quote=False) in text
    assert page.tags.count("svg") == 8
    assert not [value for value in page.values("style") if "evil" in value]
    assert_offline(page)


def test_names_that_cannot_be_written(tmp_path):
    name = "a\nb \ud800 \x00 \u65e5\u672c " + "x" * 80
    run = make_run(tmp_path / "run", name, "distilled", latency=latency(name, 9.0))
    page, _ = build(tmp_path, [run], title=name)
    assert page.tags.count("svg") == 2
    assert "a b \ufffd \ufffd \u65e5\u672c" in page.text


def with_roles(tmp_path, undistilled, distilled, teacher=None):
    spec = {"undistilled": undistilled, "distilled": distilled, "teacher": teacher}
    folders = [
        make_run(tmp_path / role, role, role, accuracy=dict(zip(("MOTA", "IDF1", "HOTA"), v)))  # noqa: B905
        for role, v in spec.items()
        if v
    ]
    return verdict(read_runs(folders))


@pytest.mark.parametrize(
    ("after", "outcome"),
    [
        ((0.6, 0.6, 0.6), "Distillation helped:"),
        ((0.4, 0.5, 0.3), "Distillation did harm:"),
        ((0.4, 0.5, 0.6), "Distillation helped in part:"),
        ((0.5, 0.5001, 0.5), "Distillation changed nothing:"),
    ],
)
def test_verdict_says_what_the_figures_say(tmp_path, after, outcome):
    found = with_roles(tmp_path, (0.5, 0.5, 0.5), after)
    assert found.headline.startswith(outcome)


def test_verdict_names_the_gap_to_the_teacher(tmp_path):
    found = with_roles(tmp_path, (0.5, 0.5, 0.5), (0.4, 0.4, 0.4), (0.7, 0.7, 0.7))
    assert "HOTA fell by 10.0 points, from 0.500 to 0.400" in found.headline
    assert any("lies further back" in remark for remark in found.remarks)


def test_no_verdict_without_both(tmp_path):
    assert verdict(read_runs([make_run(tmp_path / "a", "a", "distilled")])) is None


def test_frames_and_timeline_from_a_source(tmp_path):
    sequence = make_sequence(tmp_path / "SEQ")
    run = make_run(tmp_path / "run", HOSTILE, "distilled", tracks_txt=walk([1] * 6))
    (run / "overlay.webm").write_bytes(b"video")
    page, text = build(tmp_path, [run], sources=[sequence])
    images = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert len(images) == 3
    assert all(value.startswith("data:image/jpeg;base64,") for value in images)
    assert all(value for tag, name, value in page.attributes if (tag, name) == ("img", "alt"))
    assert "0 switches" in page.text
    assert ("video", "src", "run/overlay.webm") in page.attributes
    assert "<script" not in text
    assert_offline(page)


def test_a_whole_comparison(tmp_path):
    for name in ("ONE", "TWO"):
        make_sequence(tmp_path / "data" / name)
    names = ["net", "net fp16", "YOLOX + ByteTrack"]
    folders = compared_runs(tmp_path / "runs", names, rivals=1)
    page, text = build(tmp_path, folders, sources=[tmp_path / "data"])
    assert page.tags.count("svg") == 5 + 2 + 4
    # Two models: one sequence has errors in two frames; without errors there are three frames.
    assert page.tags.count("img") == 2 * 2 + 2 * 3
    assert "Frame 6: 1 missed" in page.text
    assert page.tags.count("details") == 1 + 3
    for words in ("net, ONE: 1 switch", "net fp16, TWO: 0 switches", "Diamonds are rivals."):
        assert words in page.text
    for words in ("Energy mJ per frame", "First frame ms", "cpu mhz", "Mind: the clock fell"):
        assert words in page.text
    columns = [value for tag, name, value in page.attributes if (tag, name) == ("th", "scope")]
    assert len(columns) == page.tags.count("th")
    assert page.values("id")
    for anchor in page.values("href"):
        assert anchor.startswith("data:") or anchor[1:] in page.values("id")
    assert len(text) < 500_000
    assert_offline(page)


def test_many_tracks_keep_the_page_small(tmp_path, monkeypatch):
    for module in ("strip", "timeline"):
        monkeypatch.setattr(f"benchmarks.report.{module}.BUDGET", 1)
    sequence = make_sequence(tmp_path / "SEQ")
    folders = [
        make_run(tmp_path / name, name, "x", tracks_txt=walk([1, 1, 0, 1, 1, 0]))
        for name in ("a", "b", "c")
    ]
    page, _ = build(tmp_path, folders, sources=[sequence])
    assert page.tags.count("img") == 1
    assert page.tags.count("svg") == 1
    assert "2 sets of tracks at the end of the list" in page.text


def test_a_source_without_tracks(tmp_path):
    run = make_run(tmp_path / "run", "a", "x")
    sequence = make_sequence(tmp_path / "SEQ")
    with pytest.raises(UserError, match="no model has tracks of SEQ"):
        write_report([run], tmp_path / "report.html", sources=[sequence])
    assert not (tmp_path / "report.html").exists()


def test_a_video_elsewhere_is_not_linked(tmp_path):
    assert relative_link(tmp_path / "x" / "overlay.webm", tmp_path / "page" / "r.html") is None
    assert relative_link(tmp_path / "a:b.webm", tmp_path / "r.html") == "a%3Ab.webm"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("accuracy.json", "{", "not a JSON file"),
        ("accuracy.json", '{"MOTA": 1, "IDF1": NaN, "HOTA": 1}', "has no number IDF1"),
        ("latency.json", '{"models": []}', "not whole"),
        ("parity.json", "[]", "holds no JSON object"),
        ("run.json", '{"parameters": "3 M"}', "parameters is '3 M'"),
        ("training.csv", "step,loss\n1,much\n", "not a table of numbers"),
    ],
)
def test_damaged_files_are_named(tmp_path, file, content, message):
    run = make_run(tmp_path / "run")
    (run / file).write_text(content)
    with pytest.raises(UserError, match=rf"{file}.*{message}"):
        write_report([run], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_time_is_never_that_of_another_model(tmp_path):
    folders = compared_runs(tmp_path / "runs", ["first\nof all", "second"])
    assert [run.milliseconds for run in read_runs(folders)] == [10.0, 11.0]
    (folders[1] / "run.json").write_text('{"name": "third"}')
    with pytest.raises(UserError, match=r"latency.json tells of first of all, second and not of"):
        read_runs(folders)


def test_command(tmp_path):
    run = make_run(tmp_path / "run")
    target = tmp_path / "new" / "report.html"
    done = CliRunner().invoke(cli, ["report", str(run), "-o", str(target), "--title", "T & U"])
    assert done.exit_code == 0, done.output
    assert "<h1>T &amp; U</h1>" in target.read_text()
    assert target.with_suffix(".md").read_text().startswith("## T &amp; U\n")
