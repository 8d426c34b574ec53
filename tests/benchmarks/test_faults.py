"""Faults done to real runs of kd-run on the stub model, and that a loss would be seen."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.faults import FAULTS, disks, faults_markdown, measure_faults, print_faults
from benchmarks.faults.bench import Bench, Outcome, Run, avi_frames, decodable, drawn_frame
from benchmarks.faults.mjpeg import MjpegServer
from runtime.errors import UserError
from runtime.opencv import cv2
from tests.stub_model import write_stub_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "stub.onnx"
    write_stub_model(path)
    return path


@pytest.fixture(scope="module")
def bench(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with closing(Bench(tmp_path_factory.mktemp("bench"), model, None, 100)) as bench:
        yield bench


@pytest.fixture
def no_mounting(monkeypatch):
    def refuse(*arguments, **options):
        raise FileNotFoundError("mount")

    monkeypatch.setattr(disks.subprocess, "run", refuse)


def test_outcomes_of_real_runs(model, no_mounting, capsys):
    names = ["frames damaged", "empty file", "disk full", "engine of another GPU"]
    rows = measure_faults(model, names=names, frames=100)
    json.dumps(rows)
    assert [row["fault"] for row in rows] == names
    assert [(row["exit_status"], row["nothing_lost"]) for row in rows] == [
        (0, True),
        (1, True),
        (1, True),
        (1, True),
    ], [row["how"] for row in rows]
    damaged, empty, full, engine = rows
    assert damaged["tracked"] == damaged["expected"] == 100
    assert empty["files"] == [] and empty["command"].startswith("kd-run empty.avi --model ")
    assert 0 < full["tracked"] < 100 and "KiB each" in full["how"]
    assert "kd-export engine other.onnx" in engine["said"]
    assert tempfile.gettempdir() not in json.dumps(rows)
    print_faults(rows)
    shown = capsys.readouterr().out
    assert "100 of 100" in shown and "NOT" not in shown
    assert len(faults_markdown(rows).splitlines()) == 2 + len(names)


def test_a_stream_that_is_cut_for_good(bench):
    outcome = FAULTS["stream cut for good"](bench, "cut")
    assert outcome.nothing_lost, outcome.how
    assert outcome.exit_status == 1 and outcome.tracked >= (outcome.expected or 0) > 10


def test_runs_do_not_outlive_the_bench(bench, monkeypatch):
    monkeypatch.setattr(bench, "runs", [])
    run = Run(bench, "clip.avi", "left", prelude="import time; time.sleep(60)")
    bench.close()
    assert run.finish() == -signal.SIGKILL and bench.runs == [run]


def test_timestamps_that_jump(bench):
    outcome = FAULTS["timestamps jump"](bench, "jump")
    assert outcome.nothing_lost and outcome.tracked == 100


def changed(name: str, line: int, old: str, new: str):
    """Return a change to what the reference run wrote."""

    def change(run: Run) -> None:
        file = run.out / name
        lines = file.read_text().splitlines(keepends=True)
        assert old in lines[line]
        lines[line] = lines[line].replace(old, new, 1)
        file.write_text("".join(lines))

    return change


@pytest.mark.parametrize(
    "change",
    [
        changed("tracks.jsonl", 5, '"frame":5', '"frame":6'),
        changed("tracks.txt", 41, ",2,", ",3,"),
        lambda run: (run.out / "tracks.txt").write_text(""),
    ],
    ids=["jsonl", "txt", "no rows"],
)
def test_a_change_of_the_files_is_seen(bench, tmp_path, change):
    run = copied(bench.reference, tmp_path)
    assert run.equals(bench.reference)
    change(run)
    assert not run.equals(bench.reference)


def test_less_or_half_a_line_is_seen(bench, tmp_path):
    run = copied(bench.reference, tmp_path)
    file = run.out / "tracks.jsonl"
    file.write_text(file.read_text()[:-30])
    outcome = run.outcome("fault", 100, {"as asked": True})
    assert not outcome.nothing_lost and outcome.tracked == 99
    assert outcome.how.startswith("NOT the text ends with a whole line; NOT at least 100 frames")


def test_a_traceback_is_a_loss(bench, tmp_path):
    run = copied(bench.reference, tmp_path)
    run._log = tmp_path / "log"
    run._log.write_text("Traceback (most recent call last):\nKeyError: 1\n")
    outcome = run.outcome("fault", None, {})
    assert not outcome.nothing_lost and "NOT no traceback" in outcome.how


def copied(run: Run, folder: Path) -> Run:
    """Return a run as if it had written into another folder."""
    copy = Run.__new__(Run)
    vars(copy).update(vars(run), out=folder)
    for name in ("tracks.jsonl", "tracks.txt"):
        (folder / name).write_text(run.text(name))
    return copy


def test_a_loss_is_printed_with_its_checks(capsys):
    lost = Outcome("fire", "kd-run a|b", None, "", 1, None, [], False, "NOT all frames")
    row = dataclasses.asdict(lost)
    print_faults([row])
    assert "fire: NOT all frames" in capsys.readouterr().out
    assert faults_markdown([row]).splitlines()[-1] == "| fire | - | 1 as fit | NO |"


def test_camera_is_cut_and_restored():
    with MjpegServer([drawn_frame(index) for index in range(5)], 50.0) as camera:
        capture = cv2.VideoCapture(camera.url)
        assert capture.read()[1].shape == (128, 192, 3)
        camera.cut()
        sent = camera.sent
        while capture.grab():
            pass
        assert not cv2.VideoCapture(camera.url).isOpened()
        assert camera.sent == sent and camera.connections == 1
        camera.restore()
        assert cv2.VideoCapture(camera.url).read()[0] and camera.connections == 2


def test_frames_of_the_clip_are_found(bench):
    clip = bench.folder / "clip.avi"
    content = clip.read_bytes()
    places = avi_frames(content)
    assert len(places) == decodable(clip) == 100
    assert all(content[start : start + 2] == b"\xff\xd8" for start, _ in places)


def test_unknown_fault_and_short_clip(model, tmp_path):
    with pytest.raises(UserError, match="'fire' is unknown"):
        measure_faults(model, names=["fire"])
    with pytest.raises(UserError, match="at least 100"):
        measure_faults(model, frames=20)
    (tmp_path / "no.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match="kd-run does not run here: error: "):
        measure_faults(tmp_path / "no.onnx", frames=100)


def test_mounted_disk_is_given_back(tmp_path, monkeypatch):
    calls = []

    def note(command, **options):
        calls.append(command[0])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(disks.subprocess, "run", note)
    with (
        pytest.raises(KeyError),
        disks.small_disk(tmp_path / "disk", 5000) as (kind, prelude),
    ):
        assert kind == "a disk of 8 KiB" and prelude == ""
        raise KeyError
    assert calls == ["mount", "umount"]
