"""Faults done to a stream that ``kd-run`` tracks."""

from __future__ import annotations

import signal
import time
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.faults.bench import (
    FINAL_NAMES,
    FPS,
    INTERRUPTED,
    JUMPING_CLOCK,
    Bench,
    Outcome,
    Run,
)
from benchmarks.faults.mjpeg import MjpegServer, encode
from runtime.opencv import cv2

# Frames tracked before and after the fault.
STRETCH = 20
DAMAGED_EVERY = 10
OUTAGE_SECONDS = 2.0
GIVE_UP_SECONDS = 1.0
# How long frames may be under way.
SETTLE_SECONDS = 10.0
# Without drops, every frame that was sent must be tracked.
OPTIONS = ("--backend", "cpu", "--no-overlay", "--no-live")
IN_ORDER = "frames are numbered without a gap and their time rises"


def stream_comes_back(bench: Bench, fault: str) -> Outcome:
    """Cut a stream, restore it after a while, and end the run."""
    with MjpegServer(bench.frames, FPS) as camera:
        run = Run(bench, camera.url, "restored", OPTIONS)
        expected = _track(run, camera)
        before = len(run.lines())
        time.sleep(OUTAGE_SECONDS)
        sent = camera.sent
        camera.restore()
        run.wait_for(before + STRETCH)
        camera.cut()
        expected += camera.sent - sent
        run.wait_for(expected, SETTLE_SECONDS)
        _terminate(run)
    frames = run.frames()
    known, later = ids(frames[:before]), ids(frames[before:])
    gap = frames[before]["timestamp"] - frames[before - 1]["timestamp"] if later else 0.0
    checks = {
        "it came back and ended when told to": run.status == INTERRUPTED
        and "is back after" in run.log(),
        IN_ORDER: in_order(frames),
        "the clock went on": OUTAGE_SECONDS <= gap < OUTAGE_SECONDS + SETTLE_SECONDS,
        "ids go on counting": min(later - known, default=1 << 62) > max(known, default=0),
        FINAL_NAMES: run.files() == ["tracks.jsonl", "tracks.txt"],
    }
    return run.outcome(fault, expected, checks)


def stream_stays_away(bench: Bench, fault: str) -> Outcome:
    """Cut a stream for good, with a limit to reconnect."""
    with MjpegServer(bench.frames, FPS) as camera:
        options = (*OPTIONS, "--reconnect-seconds", f"{GIVE_UP_SECONDS:g}")
        run = Run(bench, camera.url, "gone", options)
        expected = _track(run, camera)
        run.finish()
    checks = {
        "it gave up and said so": run.status == 1 and "has been lost for" in run.said(),
        IN_ORDER: in_order(run.frames()),
        FINAL_NAMES: run.files() == ["tracks.jsonl", "tracks.txt"],
    }
    return run.outcome(fault, expected, checks)


def stream_with_damaged_frames(bench: Bench, fault: str) -> Outcome:
    """Send zeros in place of every tenth frame."""
    with MjpegServer(bench.frames, FPS) as camera:
        whole = camera.jpegs
        camera.jpegs = [
            jpeg if index % DAMAGED_EVERY else bytes(len(jpeg)) for index, jpeg in enumerate(whole)
        ]
        run = Run(bench, camera.url, "noisy", OPTIONS)
        first, sent = run.wait_for(1), camera.sent
        run.wait_for(2 * STRETCH)
        camera.cut()
        sent = camera.sent - sent
        # How many of them were whole: at worst, damaged ones come first and last.
        expected = first + sent - (sent + DAMAGED_EVERY - 1) // DAMAGED_EVERY
        run.wait_for(expected, SETTLE_SECONDS)
        _terminate(run)
    checks = {
        "it ended when told to": run.status == INTERRUPTED,
        "the connection is kept": camera.connections == 1,
        IN_ORDER: in_order(run.frames()),
        FINAL_NAMES: run.files() == ["tracks.jsonl", "tracks.txt"],
    }
    return run.outcome(fault, expected, checks)


def stream_changes_size(bench: Bench, fault: str) -> Outcome:
    """Have the frames of a stream become smaller and of another shape in the middle.

    OpenCV's FFmpeg stretches them to the first size, so kd-run does not see the change.
    """
    with MjpegServer(bench.frames, FPS) as camera:
        run = Run(bench, camera.url, "resized", (*OPTIONS, "--overlay"))
        first, sent = run.wait_for(1), camera.sent
        count = run.wait_for(STRETCH)
        height, width = bench.frames[0].shape[:2]
        size_wh = (width // 2, 3 * height // 4)
        camera.jpegs = encode(
            [np.asarray(cv2.resize(frame, size_wh), np.uint8) for frame in bench.frames]
        )
        run.wait_for(count + STRETCH)
        camera.cut()
        expected = first + camera.sent - sent
        run.wait_for(expected, SETTLE_SECONDS)
        _terminate(run)
    checks = {
        "it ended when told to": run.status == INTERRUPTED,
        IN_ORDER: in_order(run.frames()),
        FINAL_NAMES: run.files() == ["overlay.webm", "tracks.jsonl", "tracks.txt"],
    }
    return run.outcome(fault, expected, checks)


def clock_jumps_on_a_stream(bench: Bench, fault: str) -> Outcome:
    """Track a stream while the wall clock jumps by hours, to and fro."""
    start = time.monotonic()
    with MjpegServer(bench.frames, FPS) as camera:
        run = Run(bench, camera.url, "live-clock", OPTIONS, JUMPING_CLOCK)
        expected = _track(run, camera)
        run.wait_for(expected, SETTLE_SECONDS)
        _terminate(run)
    frames = run.frames()
    lasted = frames[-1]["timestamp"] if frames else 0.0
    checks = {
        "it ended when told to": run.status == INTERRUPTED,
        IN_ORDER: in_order(frames),
        "its time is the true one": 0 < lasted < time.monotonic() - start,
        FINAL_NAMES: run.files() == ["tracks.jsonl", "tracks.txt"],
    }
    return run.outcome(fault, expected, checks)


def _track(run: Run, camera: MjpegServer) -> int:
    """Have some frames tracked, cut the stream, and return how many there must be.

    What a camera sends while the model loads is thrown away, so counting begins with the first
    frame that is tracked.
    """
    first, sent = run.wait_for(1), camera.sent
    run.wait_for(STRETCH)
    camera.cut()
    expected = first + camera.sent - sent
    run.wait_for(expected, SETTLE_SECONDS)
    return expected


def _terminate(run: Run) -> None:
    run.send(signal.SIGTERM)
    run.finish()


def in_order(frames: list[dict[str, Any]]) -> bool:
    """Tell whether frames are numbered from 1 without a gap and their time rises.

    Examples:
        >>> in_order([{"frame": 1, "timestamp": 0.0}, {"frame": 2, "timestamp": 0.1}])
        True
        >>> in_order([{"frame": 1, "timestamp": 0.1}, {"frame": 2, "timestamp": 0.0}])
        False
    """
    times = [frame["timestamp"] for frame in frames]
    numbers = [frame["frame"] for frame in frames]
    rises = all(later > earlier for earlier, later in pairwise(times))
    return numbers == list(range(1, len(frames) + 1)) and rises


def ids(frames: list[dict[str, Any]]) -> set[int]:
    """Return the identities in some frames."""
    return {track["id"] for frame in frames for track in frame["tracks"]}
