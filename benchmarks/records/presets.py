"""The tracker's presets on the same detections, those of two ONNX files from elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.association.crowd import FPS, make_crowd, score
from benchmarks.scoring.accuracy import score_file
from runtime.console import markdown_table, print_table, progress
from runtime.sinks import MotWriter
from runtime.sources import open_source
from runtime.tracking.config import PRESETS, TrackerConfig
from runtime.tracking.tracker import Tracker
from runtime.types import Detections
from train.teachers.config import OnnxTeacherConfig
from train.teachers.onnx import OnnxTeacherModel

DATA = Path("../shared/data")
MODELS = Path("../shared/models")
SEQUENCES = ("PETS09-S2L1", "TUD-Stadtmitte")
# YOLOX-nano's scores: below this it sees people everywhere.
DETECTOR_THRESHOLDS = {"high_threshold": 0.5, "new_track_threshold": 0.6}
FIGURES = ("MOTA", "IDF1", "HOTA", "IDSW")
# People, frames, and every how many of them are looked at.
CROWDS = ((40, 240, 1), (40, 240, 4), (100, 240, 1), (100, 240, 4))
COLUMNS = ("scene", "preset", *FIGURES)


def measure_presets() -> list[dict[str, Any]]:
    """Track the same detections with every preset, with embeddings and by motion alone.

    The detections are those of YOLOX-nano with person-reid-0248 on MOT15 sequences, and those of
    generated crowds at two frame rates. Score thresholds are the detector's and the same for all.

    Returns:
        A row for each scene and preset with ``FIGURES``.

    Raises:
        UserError: The footage or the ONNX files are missing.
    """
    rows = []
    with progress(transient=True) as bar:
        task = bar.add_task("scenes", total=len(SEQUENCES) + len(CROWDS))
        for name in SEQUENCES:
            sequence = DATA / name
            detections, fps = detect_all(sequence)
            for by_motion in (False, True):
                seen = [without_embeddings(one) for one in detections] if by_motion else detections
                scene = f"{name}, by motion" if by_motion else name
                for preset in PRESETS:
                    rows.append(_row(scene, preset, _score_sequence(sequence, seen, preset, fps)))
            bar.advance(task)
        for people, frames, step in CROWDS:
            crowd = make_crowd(people, frames)
            for preset in PRESETS:
                tracker = Tracker(preset, fps=FPS / step)
                tracks = [tracker.update(found) for found in crowd.detections[::step]]
                figures = score(tracks, crowd.truth[::step]).to_dict()
                rows.append(_row(f"{people} people, {FPS / step:g} fps", preset, figures))
            bar.advance(task)
    return rows


def detect_all(sequence: Path) -> tuple[list[Detections], float]:
    """Return what the two ONNX files see in each frame of a sequence, and its frame rate."""
    teacher = OnnxTeacherConfig.model_validate(
        {
            "kind": "onnx",
            "detector": {"path": MODELS / "yolox_nano.onnx"},
            "embedder": {"path": MODELS / "person-reid-0248.onnx"},
        }
    )
    detect = OnnxTeacherModel(teacher).detect
    with open_source(sequence) as source:
        return [detect(frame) for frame in source], source.fps


def without_embeddings(detections: Detections) -> Detections:
    """Return boxes, scores and classes alone."""
    return Detections(detections.boxes_xyxy, detections.scores, None, detections.classes)


def _score_sequence(
    sequence: Path, detections: Sequence[Detections], preset: str, fps: float
) -> dict[str, Any]:
    config = TrackerConfig.preset(preset).replace(**DETECTOR_THRESHOLDS)
    tracker = Tracker(fps=fps, config=config)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tracks.txt"
        with MotWriter(file) as writer:
            for number, found in enumerate(detections, 1):
                writer.write_tracks(number, tracker.update(found))
        return score_file(sequence, file)


def _row(scene: str, preset: str, figures: dict[str, Any]) -> dict[str, Any]:
    return {"scene": scene, "preset": preset, **{name: figures[name] for name in FIGURES}}


def preset_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Format one preset on one scene."""
    figures = (row[name] for name in FIGURES)
    texts = (f"{value:.3f}" if isinstance(value, float) else str(value) for value in figures)
    return (row["scene"], row["preset"], *texts)


def presets_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Render what ``measure_presets`` returned as a Markdown table."""
    return markdown_table(COLUMNS, [preset_cells(row) for row in rows])


def print_presets(rows: Sequence[dict[str, Any]]) -> None:
    """Print what ``measure_presets`` returned on standard output."""
    print_table("Presets on the same detections", COLUMNS, [preset_cells(row) for row in rows])
