"""The pipeline and ``kd-run``, on the stub model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from runtime import Tracker, TrackerConfig, UserError, load, pipeline, run
from runtime.cli import main
from runtime.mot import read_mot
from runtime.opencv import cv2
from runtime.sources import open_source
from tests.runtime.conftest import write_images
from tests.stub_model import write_stub_model


def kd_run(monkeypatch, *arguments) -> int:
    """Run the command line in this process and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["kd-run", *(str(argument) for argument in arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def one_line_error(capfd) -> str:
    """Return the last line on standard error, which must be the only one about the error."""
    text = capfd.readouterr().err
    assert "Traceback" not in text
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and text.splitlines()[-1] == errors[0]
    return errors[0]


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


@pytest.mark.parametrize("kind", ["video", "images"])
def test_kd_run_writes_tracks_and_overlay(tmp_path, video, stub_model, monkeypatch, capfd, kind):
    source = video if kind == "video" else write_images(tmp_path / "walk", 20)
    out = tmp_path / "a" / "b"
    assert kd_run(monkeypatch, source, "--model", stub_model, "--out", out, "--threads", 1) == 0
    rows = read_mot(out / "tracks.txt")
    assert len(rows) == 40 and set(rows.ids.tolist()) == {1, 2}
    assert rows.frames.min() == 1 and rows.frames.max() == 20
    capture = cv2.VideoCapture(str(out / "overlay.webm"))
    count = 0
    while capture.grab():
        count += 1
    assert count == 20
    assert sorted(file.name for file in out.iterdir()) == ["overlay.webm", "tracks.txt"]
    output = capfd.readouterr().out
    for word in ("median", "p95", "p99", *pipeline.STAGES, "outside the network", "tracks.txt"):
        assert word in output


def test_kd_run_options_reach_the_tracker(tmp_path, video, stub_model, monkeypatch):
    arguments = [video, "--model", stub_model, "--no-overlay", "--max-frames", 5]
    more = ["--preset", "fairmot", "--set", "tracker.high_threshold=1"]
    assert kd_run(monkeypatch, *arguments, "--out", tmp_path, *more) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["tracks.txt"]
    assert (tmp_path / "tracks.txt").read_text() == ""


def test_cut_video_keeps_what_was_tracked(tmp_path, cut_video, stub_model, monkeypatch, capfd):
    assert kd_run(monkeypatch, cut_video, "--model", stub_model, "--out", tmp_path) == 1
    assert "of 20 frames" in one_line_error(capfd)
    assert len(read_mot(tmp_path / "tracks.txt")) > 4
    assert (tmp_path / "overlay.webm").stat().st_size > 0


def test_interruption_keeps_what_was_tracked(tmp_path, video, stub_model, monkeypatch, capfd):
    update = Tracker.update

    def interrupted(self, detections, frame=None, timestamp=None):
        if self._frame == 6:
            raise KeyboardInterrupt
        return update(self, detections, frame, timestamp)

    monkeypatch.setattr(Tracker, "update", interrupted)
    assert kd_run(monkeypatch, video, "--model", stub_model, "--out", tmp_path) == 130
    captured = capfd.readouterr()
    assert captured.err.splitlines()[-1] == "interrupted"
    assert "tracks.txt" in captured.out
    assert set(read_mot(tmp_path / "tracks.txt").frames.tolist()) == set(range(1, 7))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["overlay.webm", "tracks.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--model": None}, "add --model"),
        ({"--model": "gone.onnx"}, "gone.onnx does not exist"),
        ({"--preset": "deep"}, "choose one of default, fairmot"),
        ({"--set": "tracker.speed=1"}, "'speed' is unknown"),
        ({"--set": "lost_seconds=1"}, "write tracker.KEY=VALUE"),
        ({"--set": "tracker.lost_seconds=soon"}, "neither a number nor"),
        ({"--set": "tracker.lost_seconds=nan"}, "lost_seconds is nan"),
        ({"--fps": 0}, "frame rate 0"),
        ({"--score-threshold": 7}, "between 0 and 1"),
    ],
)
def test_mistakes_get_one_line(tmp_path, video, stub_model, monkeypatch, capfd, change, message):
    options = {"--model": stub_model, "--out": tmp_path / "out", **change}
    flat = [part for pair in options.items() if pair[1] is not None for part in pair]
    assert kd_run(monkeypatch, video, *flat) == 1
    assert message in one_line_error(capfd)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_output_that_is_a_file_is_found_before_any_work(tmp_path, monkeypatch, capfd):
    (tmp_path / "out").write_text("")
    assert kd_run(monkeypatch, "gone.mp4", "--model", "gone.onnx", "--out", tmp_path / "out") == 1
    assert "is a file" in one_line_error(capfd)


def test_wrong_usage_exits_with_two(monkeypatch, capfd):
    assert kd_run(monkeypatch, "clip.mp4") == 2
    assert "--out" in one_line_error(capfd)


def test_model_settings_are_checked(tmp_path, video, monkeypatch, capfd):
    write_stub_model(tmp_path / "m.onnx", tracker={"velocity": 3})
    out = tmp_path / "out"
    assert kd_run(monkeypatch, video, "--model", tmp_path / "m.onnx", "--out", out) == 1
    assert "'velocity' is unknown" in one_line_error(capfd)


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
