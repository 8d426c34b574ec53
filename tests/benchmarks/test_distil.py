"""The record of what distillation is worth: its configurations, its figures, and the README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.records.distil import (
    CONFIGS,
    Contender,
    count_parameters,
    score,
    summarise,
    summary_markdown,
    write_comparison,
)
from benchmarks.timing.frames import first_frames
from runtime.mot import SequenceInfo, write_sequence_info
from runtime.opencv import cv2
from runtime.tracking.tracker import Tracker
from runtime.types import Detections
from tests.train.tiny_onnx import answering
from train.compare.config import read_comparison
from train.config import load_config
from train.teachers.config import OnnxTeacherConfig
from train.teachers.onnx import OnnxTeacherModel

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "benchmarks" / "results" / "distil.json"


def row(setting: str, seed: int | None, figure: float) -> dict[str, Any]:
    figures = dict.fromkeys(("MOTA", "IDF1", "HOTA", "recall", "precision"), figure)
    return {"setting": setting, "seed": seed, "sequence": "s", **figures, "params": 5, "ms": 2.0}


@pytest.fixture
def sequence(tmp_path: Path) -> Path:
    """A box that moves to the right for eight frames."""
    folder = tmp_path / "walk"
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    rows = []
    for frame in range(1, 9):
        image = np.zeros((48, 64, 3), np.uint8)
        image[10:40, 3 * frame : 3 * frame + 14] = 255
        cv2.imwrite(str(folder / "img1" / f"{frame:06d}.png"), image)
        rows.append(f"{frame},1,{3 * frame},10,14,30,1,1,1")
    (folder / "gt" / "gt.txt").write_text("\n".join(rows) + "\n")
    write_sequence_info(folder, SequenceInfo("walk", 25, 8, (64, 48)))
    return folder


def white_box(frame: np.ndarray) -> Detections:
    """Detect what is white in a picture."""
    columns = np.flatnonzero(frame[20, :, 0] > 128)
    box = np.array([[columns[0], 10, columns[-1] + 1, 40]], np.float32)
    return Detections(box, np.array([0.9], np.float32))


def contender(setting: str) -> Contender:
    return Contender(setting, 0, 5, white_box, lambda fps: Tracker(fps=fps))


def test_no_rows_have_no_summary() -> None:
    assert summarise([]) == []


def test_seeds_are_summed_up() -> None:
    summary = summarise([row("a", 0, 0.2), row("a", 1, 0.4), row("b", None, 0.9)])
    assert [(entry["setting"], entry["seeds"]) for entry in summary] == [("a", 2), ("b", 1)]
    assert summary[0]["MOTA"] == {
        "mean": pytest.approx(0.3),
        "std": pytest.approx(0.1414, abs=1e-4),
    }
    assert summary[1]["HOTA"] == {"mean": 0.9, "std": None}
    table = summary_markdown({"summary": summary})
    assert "| a | 0.300 ± 0.141 |" in table and "| b | 0.900 | 0.900 |" in table


def test_a_perfect_detector_scores_perfectly(sequence: Path, tmp_path: Path) -> None:
    one = contender("one")
    score(one, sequence, tmp_path / "tracks")
    one.medians = [2.0, 3.0, 9.0]
    entry = one.to_row("walk")
    # The Kalman filter's boxes lag a little.
    assert entry["MOTA"] == entry["IDF1"] == 1 and entry["HOTA"] > 0.9
    assert entry["ms"] == 3


def test_all_the_time_of_a_contender_is_that_of_its_parts(sequence: Path) -> None:
    frames, fps = first_frames(sequence, 5)
    one = contender("one")
    one.begin(fps)
    steps = [one.step(frame) for frame in frames]
    assert len(steps) == 5 and fps == 25
    assert all(step.stage_ns[1] > 0 and step.stage_ns[3] > 0 for step in steps)
    assert steps[-1].tracks.boxes_xyxy.shape == (1, 4)


def test_a_teacher_is_a_tracker_of_its_own(tmp_path: Path) -> None:
    boxes = np.array([[[4, 4, 20, 28]]], np.float32)
    file = answering(tmp_path / "d.onnx", boxes=boxes, scores=np.array([[0.9]], np.float32))
    detector = {"path": str(file), "output": "boxes", "fit": "stretch"}
    config = OnnxTeacherConfig.model_validate({"kind": "onnx", "detector": detector})
    found = OnnxTeacherModel(config, 1).detect(np.zeros((32, 64, 3), np.uint8))
    assert found.boxes_xyxy.tolist() == [[4, 4, 20, 28]]
    assert count_parameters(config) == boxes.size + 1


def test_the_configurations_are_whole(tmp_path: Path) -> None:
    config = write_comparison(CONFIGS, tmp_path)
    assert next(iter(config.settings)) == "undistilled" and len(config.seeds) >= 3
    _, runs = read_comparison(tmp_path / "compare.yaml", tmp_path / "runs")
    assert len(runs) == len(config.settings) * len(config.seeds)
    by_setting = {run.setting: run.entries for run in runs}
    # Without labels means without labels, in validation too.
    without = by_setting["distil-onnx"]
    entries = [*without["data"], *without["validation"]]
    assert all(entry["kind"] == "unlabelled" or entry["labels"] is False for entry in entries)
    # All settings see as many pictures, and none sees the test sequence.
    assert len({json.dumps(entries["schedule"]) for entries in by_setting.values()}) == 1
    assert "TUD" not in json.dumps(list(by_setting.values()))
    assert load_config(CONFIGS / "teacher.yaml").distill is None


def test_the_summary_of_the_record_is_that_of_its_rows() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert record["summary"] == summarise(record["rows"])
