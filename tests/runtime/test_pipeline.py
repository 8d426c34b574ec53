"""``runtime.run`` on the stub model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from runtime import Tracker, TrackerConfig, UserError, load, pipeline, run
from runtime.sources import open_source


def test_no_frames_asked_for(video, stub_model):
    assert list(run(video, stub_model, max_frames=0)) == []


def test_two_blobs_keep_their_identities(video, stub_model):
    results = list(run(video, stub_model))
    assert [result.index for result in results] == list(range(20))
    for result in results:
        assert result.tracks.ids.tolist() == [1, 2]
        assert tuple(result.stage_seconds) == pipeline.STAGES
        assert all(seconds > 0 for seconds in result.stage_seconds.values())
    moved = results[-1].tracks.boxes_xyxy[:, 0] - results[0].tracks.boxes_xyxy[:, 0]
    assert sorted(moved.round(-1).tolist()) == [-20, 20]


def test_opened_things_are_used_as_they_are(video, stub_model):
    tracker = Tracker("fairmot", fps=10)
    with open_source(video) as source, load(stub_model, score_threshold=0.3) as detector:
        results = list(run(source, detector, tracker, max_frames=3))
        assert len(results) == 3 and detector.score_threshold == 0.3
        # Still open: it was not the pipeline's to close.
        assert len(list(run(source, detector, "fairmot", max_frames=2))) == 2


def test_mistakes_show_before_the_first_frame(video, stub_model):
    for wrong in [("gone.mp4", stub_model), (video, "gone.onnx"), (video, stub_model, "deep")]:
        with pytest.raises(UserError):
            run(*wrong)


def test_detector_threshold_follows_the_tracker(video, stub_model, monkeypatch):
    thresholds = []
    decode = pipeline.Detector.decode

    def spy(self, *arguments):
        thresholds.append(self.score_threshold)
        return decode(self, *arguments)

    monkeypatch.setattr(pipeline.Detector, "decode", spy)
    next(run(video, stub_model, TrackerConfig(low_threshold=0.2)))
    next(run(video, stub_model, score_threshold=0.3))
    assert list(dict.fromkeys(thresholds)) == [0.2, 0.3]


@pytest.mark.parametrize("module", ["runtime", "runtime.cli", "runtime.tracking.config"])
def test_import_is_light(module):
    code = f"import {module}, sys, json; print(json.dumps(sorted(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = set(json.loads(process.stdout))
    assert not loaded & {"torch", "onnx", "onnxruntime", "cv2", "numpy", "lap"}


def test_tracking_needs_neither_torch_nor_onnx(tmp_path, video, stub_model):
    code = (
        "import sys, json, runtime; "
        f"print(sum(len(r.tracks) for r in runtime.run({str(video)!r}, {str(stub_model)!r}))); "
        "print(json.dumps(sorted(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    count, modules = process.stdout.splitlines()
    assert int(count) == 40
    assert not set(json.loads(modules)) & {"torch", "onnx", "train", "export", "benchmarks"}
