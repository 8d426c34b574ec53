"""The presets side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.records import presets
from runtime.tracking.config import PRESETS
from runtime.types import Detections
from tests.runtime.conftest import write_video


def make_sequence(folder: Path) -> Path:
    """Write a sequence of two people who walk on, and the ground truth."""
    (folder / "gt").mkdir(parents=True)
    write_video(folder / "v.avi", frames=6)
    rows = [f"{n},{i},{20 * i + n},10,15,40,1,1,1" for n in range(1, 7) for i in (1, 2)]
    (folder / "gt" / "gt.txt").write_text("\n".join(rows))
    (folder / "seqinfo.ini").write_text(
        "[Sequence]\nname=walk\nframeRate=10\nseqLength=6\nimWidth=192\nimHeight=128\n"
    )
    return folder


def test_each_preset_is_scored_on_each_scene(tmp_path, monkeypatch):
    make_sequence(tmp_path / "walk")

    def seen(sequence):
        frames = [
            Detections(
                [[20 * i + n, 10, 20 * i + n + 15, 50] for i in (1, 2)],
                [0.9, 0.8],
                np.eye(2, dtype=np.float32),
            )
            for n in range(1, 7)
        ]
        return frames, 10.0

    monkeypatch.setattr(presets, "DATA", tmp_path)
    monkeypatch.setattr(presets, "SEQUENCES", ("walk",))
    monkeypatch.setattr(presets, "CROWDS", ((5, 12, 1),))
    monkeypatch.setattr(presets, "detect_all", seen)
    rows = presets.measure_presets()
    scenes = ["walk", "walk, by motion", "5 people, 30 fps"]
    assert [(row["scene"], row["preset"]) for row in rows] == [
        (scene, preset) for scene in scenes for preset in PRESETS
    ]
    assert all(row["MOTA"] == 1 and row["IDSW"] == 0 for row in rows[:4])
    presets.print_presets(rows)
    assert "| walk, by motion | fairmot | 1.000 |" in presets.presets_markdown(rows)
