"""Runs that are killed for real: what was written is there and whole, to the last frame."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.mot import read_mot
from runtime.opencv import cv2
from tests.runtime.results import read_video
from tests.runtime.sink_killing import FRAMES

ROOT = Path(__file__).resolve().parents[2]
FINAL = {"tracks.txt", "tracks.jsonl", "overlay.webm"}


def run_until(folder: Path, moment: int) -> tuple[int, list[str], str]:
    """Return exit status, lines on standard output and text on standard error."""
    command = [sys.executable, "-m", "tests.runtime.sink_killing", str(folder), str(moment)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many moments a whole run has."""
    folder = tmp_path_factory.mktemp("whole")
    status, lines, said = run_until(folder, 0)
    assert (status, said) == (0, "") and lines[-2] == str(FRAMES)
    assert {path.name for path in folder.iterdir()} == FINAL | {"crops"}
    return int(lines[-1].split()[1])


def assert_whole(folder: Path, frames: int, killed: str = "part") -> None:
    """Prove that each file holds the frames that were handed over, or the one on its way too."""
    rows = read_mot(folder / f"tracks.{killed}.txt").frames.tolist()
    assert rows == list(range(1, len(rows) + 1)) and len(rows) - frames in (0, 1)
    text = (folder / f"tracks.{killed}.jsonl").read_text()
    assert text.endswith("\n")
    header, *lines = [json.loads(line) for line in text.splitlines()]
    assert header["version"] == 1 and [line["frame"] for line in lines] == rows[: len(lines)]
    assert len(lines) - frames in (0, 1)
    pictures, _ = read_video(folder / f"overlay.{killed}.webm")
    assert len(pictures) - frames in (0, 1)


def assert_crops_whole(folder: Path, frames: int) -> None:
    files = [file for file in folder.rglob("*.jpg") if not file.name.startswith(".")]
    assert all(cv2.imread(str(file)) is not None for file in files)
    assert bool(files) >= (frames > 0)


@pytest.mark.parametrize("part", range(4))
def test_killed_while_it_writes(tmp_path, moments, part):
    # Every frame has nine moments or more, and finishing has at most 40.
    draw = random.Random(part)
    moment = draw.randrange(20 + part * (moments - 60) // 4, 20 + (part + 1) * (moments - 60) // 4)
    status, lines, _ = run_until(tmp_path, moment)
    assert status == -signal.SIGKILL and 1 <= len(lines) < FRAMES
    assert not FINAL & {path.name for path in tmp_path.iterdir()}
    assert_whole(tmp_path, len(lines))
    assert_crops_whole(tmp_path / "crops", len(lines))

    status, _, said = run_until(tmp_path, 0)
    assert status == 0
    warnings = said.splitlines()
    assert len(warnings) == 3 and all(line.startswith("warning: an earlier") for line in warnings)
    assert_whole(tmp_path, len(lines), "killed-1")
    assert_crops_whole(tmp_path / "crops.earlier-1", len(lines))
    assert {path.name for path in tmp_path.iterdir()} > FINAL
    assert len(read_mot(tmp_path / "tracks.txt")) == FRAMES


@pytest.mark.parametrize("before", [0, 3, 7])
def test_killed_while_it_finishes(tmp_path, moments, before):
    status, lines, _ = run_until(tmp_path, moments - before)
    assert status == -signal.SIGKILL and len(lines) == FRAMES
    for stem, suffix in (("tracks", ".txt"), ("tracks", ".jsonl"), ("overlay", ".webm")):
        names = [f"{stem}.part{suffix}", f"{stem}{suffix}"]
        # Each has one of its names, never both or none.
        found = [tmp_path / name for name in names if (tmp_path / name).exists()]
        assert len(found) == 1
        if suffix == ".webm":
            assert len(read_video(found[0])[0]) == FRAMES
        else:
            assert found[0].read_text().count("\n") == FRAMES + (suffix == ".jsonl")


def test_killed_before_the_first_frame(tmp_path):
    status, lines, _ = run_until(tmp_path, 1)
    assert status == -signal.SIGKILL and lines == []
    assert not FINAL & {path.name for path in tmp_path.iterdir()}
    status, _, said = run_until(tmp_path, 0)
    assert (status, said) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == FINAL | {"crops"}
