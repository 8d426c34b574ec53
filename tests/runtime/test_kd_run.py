"""``kd-run`` on the stub model."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import Tracker, pipeline
from runtime.cli import main
from runtime.mot import read_mot
from runtime.opencv import cv2
from tests.runtime.conftest import write_images, write_video
from tests.stub_model import write_stub_model

FILES = ["overlay.webm", "tracks.jsonl", "tracks.txt"]


def kd_run(monkeypatch, *arguments) -> int:
    """Run the command line in this process and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["kd-run", *(str(argument) for argument in arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def one_line_error(capfd) -> str:
    """Return the last line on standard error, which must be the only one about the error."""
    text = capfd.readouterr().err
    assert "Traceback" not in text
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and text.splitlines()[-1] == errors[0]
    return errors[0]


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
    lines = [json.loads(line) for line in (out / "tracks.jsonl").read_text().splitlines()]
    assert len(lines) == 21 and len(lines[-1]["tracks"]) == 2
    assert names_in(out) == FILES
    output = capfd.readouterr().out
    for word in ("median", "p95", "p99", *pipeline.STAGES, "outside the network", "tracks.txt"):
        assert word in output


def test_kd_run_options_reach_the_tracker(tmp_path, video, stub_model, monkeypatch):
    arguments = [video, "--model", stub_model, "--no-overlay", "--max-frames", 5]
    more = ["--no-jsonl", "--preset", "fairmot", "--set", "tracker.high_threshold=1"]
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
    assert names_in(tmp_path) == FILES


@pytest.mark.parametrize(
    ("change", "message"),
    [
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


def test_several_sources_are_tracked_as_if_each_were_alone(
    tmp_path, video, stub_model, monkeypatch, capfd
):
    other = write_images(tmp_path / "walk", 12)
    model = ["--model", stub_model, "--no-overlay"]
    for name, source in (("blobs", video), ("walk", other)):
        assert kd_run(monkeypatch, source, *model, "--out", tmp_path / "alone" / name) == 0
    out = tmp_path / "together"
    assert kd_run(monkeypatch, video, other, video, *model, "--out", out) == 0
    assert names_in(out) == ["blobs", "blobs-2", "walk"]
    for name in names_in(out):
        expected = (tmp_path / "alone" / name.removesuffix("-2") / "tracks.txt").read_text()
        assert (out / name / "tracks.txt").read_text() == expected != ""
    assert "52 frames, 6 identities" in capfd.readouterr().out


def test_a_source_that_breaks_leaves_the_others_whole(
    tmp_path, video, cut_video, stub_model, monkeypatch, capfd
):
    out = tmp_path / "out"
    assert kd_run(monkeypatch, cut_video, video, "--model", stub_model, "--out", out) == 1
    assert "cut.avi ended after" in one_line_error(capfd)
    assert len(read_mot(out / "blobs" / "tracks.txt")) == 40
    assert len(read_mot(out / "cut" / "tracks.txt")) > 4
    assert names_in(out / "cut") == names_in(out / "blobs") == FILES


def test_lines_and_zones_are_counted(tmp_path, video, stub_model, monkeypatch, capfd):
    shapes = ["--line", "gate:0.66,0,0.66,1", "--zone", "all:0,0,192,0,192,128,0,128"]
    assert kd_run(monkeypatch, video, "--model", stub_model, "--out", tmp_path, *shapes) == 0
    last = json.loads((tmp_path / "tracks.jsonl").read_text().splitlines()[-1])
    assert set(last["lines"]) == {"gate"} and last["zones"]["all"]["present"] == 2
    wrong = ["--line", "gate:1,2,3"]
    out = tmp_path / "out"
    assert kd_run(monkeypatch, video, "--model", stub_model, "--out", out, *wrong) == 1
    assert "write NAME:X1,Y1,X2,Y2" in one_line_error(capfd)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("long") / "long.avi", frames=3000)


def start(video, model, out, *options):
    """Start kd-run in a process of its own, and wait until it has tracked some frames."""
    code = "from runtime.cli import main; main()"
    arguments = [video, "--model", model, "--out", out, *options]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    growing = out / "tracks.part.jsonl"
    while process.poll() is None:
        if growing.exists() and growing.read_bytes().count(b"\n") > 30:
            return process
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize("interrupted", [False, True])
def test_what_broke_a_source_is_told_while_others_go_on(
    tmp_path, cut_video, long_video, stub_model, monkeypatch, capfd, interrupted
):
    update = Tracker.update

    def watched(self, detections, frame=None, timestamp=None):
        if interrupted and self._frame == 200:
            raise KeyboardInterrupt
        return update(self, detections, frame, timestamp)

    monkeypatch.setattr(Tracker, "update", watched)
    more = ["--model", stub_model, "--no-overlay", "--max-frames", 300]
    status = kd_run(monkeypatch, cut_video, long_video, *more, "--out", tmp_path / "out")
    lines = capfd.readouterr().err.splitlines()
    told = [line for line in lines if "cut.avi ended after" in line]
    assert told[0].startswith("warning: ")
    if interrupted:
        assert status == 130 and len(told) == 1 and lines[-1] == "interrupted"
    else:
        assert status == 1 and told[1:] == [lines[-1]] and lines[-1].startswith("error: ")


def test_an_interrupted_run_tells_what_could_not_be_written(tmp_path, long_video, stub_model):
    process = start(long_video, stub_model, tmp_path / "out", "--no-overlay")
    shutil.rmtree(tmp_path / "out")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
    assert "warning: cannot write" in errors and errors.splitlines()[-1] == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_with_all_that_was_read_written(
    tmp_path, long_video, stub_model, number
):
    process = start(long_video, stub_model, tmp_path)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
    assert errors.splitlines()[-1] == "interrupted"
    assert names_in(tmp_path) == FILES
    lines = (tmp_path / "tracks.jsonl").read_text().splitlines()
    frames = [json.loads(line)["frame"] for line in lines[1:]]
    assert frames == list(range(1, len(frames) + 1)) and 30 <= len(frames) < 3000
    assert read_mot(tmp_path / "tracks.txt").frames.max() == len(frames)
    assert f"{len(frames)} frames, " in output


def test_a_killed_run_leaves_whole_lines_and_the_next_run_keeps_them(
    tmp_path, long_video, stub_model, monkeypatch, capfd
):
    process = start(long_video, stub_model, tmp_path)
    process.kill()
    process.communicate(timeout=60)
    assert names_in(tmp_path) == ["overlay.part.webm", "tracks.part.jsonl", "tracks.part.txt"]
    text = (tmp_path / "tracks.part.jsonl").read_text()
    frames = [json.loads(line)["frame"] for line in text.splitlines()[1:]]
    assert text.endswith("\n") and frames == list(range(1, len(frames) + 1))
    rows = read_mot(tmp_path / "tracks.part.txt")
    assert abs(int(rows.frames.max()) - len(frames)) <= 1
    arguments = [long_video, "--model", stub_model, "--out", tmp_path, "--max-frames", 3]
    assert kd_run(monkeypatch, *arguments) == 0
    assert (tmp_path / "tracks.killed-1.jsonl").read_text() == text
    assert "tracks.killed-1.jsonl" in capfd.readouterr().err


def test_a_model_that_is_replaced_or_removed_meanwhile_goes_on_working(
    tmp_path, long_video, stub_model
):
    model = tmp_path / "model.onnx"
    model.write_bytes(stub_model.read_bytes())
    out = tmp_path / "out"
    process = start(long_video, model, out, "--no-overlay")
    model.write_bytes(b"another file")
    model.unlink()
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "3000 frames, " in output
