"""``kd-bench compare``: what it puts together and where, not how fast anything is."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from benchmarks.cli import cli
from benchmarks.compare import comparison_markdown, precision_pairs
from tests.benchmarks.reports import make_sequence
from tests.benchmarks.test_contenders import tiny_detector
from tests.stub_model import write_stub_model
from tests.train.tiny_onnx import STRIDES

pytest.importorskip("onnxruntime")
pytest.importorskip("jinja2")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Compare three models with a detector that this project's own tracker follows."""
    folder = tmp_path_factory.mktemp("compare")
    make_sequence(folder / "data" / "SEQ")
    write_stub_model(folder / "one.onnx", parameters=7)
    write_stub_model(folder / "full.onnx", parameters=9)
    write_stub_model(folder / "small.onnx", parameters=9, precision="int8")
    tiny_detector(folder / "tiny.onnx")
    (folder / "tiny.yaml").write_text(f"path: {folder / 'tiny.onnx'}\nstrides: {STRIDES}\n")
    models = [f"teacher={folder / 'one.onnx'}", f"own={folder / 'full.onnx'}"]
    models.append(f"own int8={folder / 'small.onnx'}")
    arguments = [part for model in models for part in ("--model", model)]
    arguments += ["--data", str(folder / "data"), "--out", str(folder / "out")]
    arguments += ["--detector", str(folder / "tiny.yaml"), "--tracker", "kd-mot"]
    arguments += ["--frames", "2", "--rounds", "2", "--quick", "--notes", "Made <up>."]
    result = CliRunner().invoke(cli, ["compare", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder / "out", result.output


def test_the_record_holds_every_contender(compared):
    out, printed = compared
    record = json.loads((out / "compare.json").read_text())
    names = [entry["model"] for entry in record["contenders"]]
    assert names == ["teacher", "own", "own int8", "tiny+kd-mot"]
    assert [entry["role"] for entry in record["contenders"]] == ["teacher", "", "", "rival"]
    assert record["sequences"] == ["SEQ"]
    for entry in record["contenders"]:
        assert entry["accuracy"]["frames"] == 6
        assert entry["stages"]["total"]["median_ms"] > 0
        assert "memory_mb" not in entry
        assert entry["model"] in printed


def test_pairs_are_with_the_first_and_between_precisions(compared):
    record = json.loads((compared[0] / "compare.json").read_text())
    pairs = [(entry["first"], entry["other"]) for entry in record["comparisons"]]
    others = ["own", "own int8", "tiny+kd-mot"]
    assert pairs == [*[("teacher", name) for name in others], ("own", "own int8")]


def test_every_contender_has_a_folder_and_the_page_shows_all(compared):
    out, _ = compared
    for folder in ("teacher", "own", "own-int8", "tiny+kd-mot"):
        assert (out / folder / "tracks" / "SEQ.txt").is_file()
        assert json.loads((out / folder / "accuracy.json").read_text())["sequence"] == "SEQ"
    page = (out / "report.html").read_text()
    assert "Made &lt;up&gt;." in page and "tiny+kd-mot" in page
    assert "own int8" in (out / "report.md").read_text()


def test_the_table_of_a_record(compared):
    record = json.loads((compared[0] / "compare.json").read_text())
    record["contenders"][0]["accuracy"] = None
    lines = comparison_markdown(record).splitlines()
    assert len(lines) == 2 + 4
    assert lines[2].startswith("| teacher | – | – | – | – |")


def test_only_one_model_in_two_precisions_makes_a_pair():
    entry = {"arch": "nano", "parameters": 5, "frame_ms": [4.0, 4.0]}
    models = [
        {**entry, "model": "a", "precision": "fp32"},
        {**entry, "model": "b", "precision": "fp32"},
        {**entry, "model": "b int8", "precision": "int8", "frame_ms": [2.0, 1.0]},
        {**entry, "model": "c int8", "precision": "int8"},
    ]
    (pair,) = precision_pairs({"models": models, "settings": {"rounds": 2}})
    assert (pair["first"], pair["other"]) == ("b", "b int8")
    assert pair["ratio"] == pytest.approx(8**0.5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to compare"),
        (["--model", "missing.onnx"], "missing.onnx does not exist"),
        (["--embedder", "e.onnx"], "--embedder goes with --detector"),
        (["--original", "nowhere", "--model", "missing.onnx"], "original"),
    ],
)
def test_what_cannot_be_compared(arguments, said, tmp_path):
    make_sequence(tmp_path / "SEQ")
    where = ["--data", str(tmp_path), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, ["compare", *where, *arguments])
    assert result.exit_code != 0
    assert said in result.output + str(result.exception)
