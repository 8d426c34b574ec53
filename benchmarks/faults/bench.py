"""Where faults are done to ``kd-run``: a folder with a clip, runs in it, and what they leave."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import runtime
from runtime.errors import UserError
from runtime.files import existing_file
from runtime.opencv import cv2
from runtime.sources import open_source
from runtime.sources.base import Frame

MODEL, CLIP = "model.onnx", "clip.avi"
FPS = 10.0
DRAWN_WH = (192, 128)
TEXTS = ("tracks.jsonl", "tracks.txt")
LONGEST_RUN = 300.0
POLL_SECONDS = 0.01
# A run is in the middle when it has tracked so many frames.
MIDDLE = 25
INTERRUPTED = 130
# Every look at the wall clock is hours off, now ahead and now behind.
JUMPING_CLOCK = """
import itertools, time
real, jumps = time.time, itertools.cycle((0, 3 * 3600, -5 * 3600))
time.time = lambda: real() + next(jumps)
"""
AS_UNDISTURBED = "its frames are byte for byte those of an undisturbed run"
FINAL_NAMES = "files have their final names"


@dataclass(frozen=True)
class Outcome:
    """What a fault led to.

    Attributes:
        fault: What was done.
        command: What was run; files by name alone.
        exit_status: Of the process; negative for a signal, None without a process or where it had
            to be stopped.
        said: Its last line on standard error beside the progress bar.
        tracked: Number of frames written.
        expected: How many that should have been; None for as many as fit.
        files: Names of the files it left.
        nothing_lost: Whether all checks were passed.
        how: The checks; those that failed begin with NOT.
    """

    fault: str
    command: str
    exit_status: int | None
    said: str
    tracked: int
    expected: int | None
    files: list[str]
    nothing_lost: bool
    how: str

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as plain values by name."""
        return asdict(self)


class Bench:
    """A folder with a model, a clip, and what an undisturbed run makes of it.

    Args:
        folder: An empty folder.
        model: Exported ``.onnx`` file.
        footage: Video whose first frames are the clip; when not given, two bright discs are drawn.
        frames: Length of the clip.

    Attributes:
        folder: The folder; processes work in it.
        frames: The frames of the clip, uint8 BGR ``[H, W, 3]``.
        reference: The undisturbed run.
        runs: All that were started.

    Raises:
        UserError: Model or footage cannot be used.
    """

    def __init__(self, folder: Path, model: Path, footage: Path | None, frames: int) -> None:
        self.folder = folder
        self.runs: list[Run] = []
        shutil.copyfile(existing_file(model, "model"), folder / MODEL)
        if footage is None:
            self.frames = [drawn_frame(index) for index in range(frames)]
        else:
            with open_source(footage) as source:
                self.frames = list(islice(iter(source), frames))
        if len(self.frames) < 4 * MIDDLE:
            raise UserError(f"{len(self.frames)} frames are too few: give at least {4 * MIDDLE}")
        write_clip(folder / CLIP, self.frames)
        self.reference = Run(self, CLIP, "reference")
        if self.reference.finish() != 0:
            raise UserError(f"kd-run does not run here: {self.reference.said()}")

    def close(self) -> None:
        """End the runs that still go on, as they do where a fault is not done to its end."""
        for run in self.runs:
            run.stop()


class Run:
    """A ``kd-run`` in a process of its own, on the CPU and without overlay unless told otherwise.

    Args:
        bench: Where it works.
        source: Name of a file there, or a URL.
        out: Name of its output folder.
        options: Further options.
        prelude: Python that goes before it in its process.
        model: Name of the model file.
    """

    def __init__(
        self,
        bench: Bench,
        source: str,
        out: str,
        options: Sequence[str] = ("--backend", "cpu", "--no-overlay"),
        prelude: str = "",
        model: str = MODEL,
    ) -> None:
        self.out = bench.folder / out
        self.status: int | None = None
        self._log = bench.folder / f"{out}.log"
        arguments = [source, "--model", model, "--out", out, *options]
        self.command = shlex.join(["kd-run", *arguments])
        program = f"{prelude}\nfrom runtime.cli import main\nmain()\n"
        root = str(Path(runtime.__file__).resolve().parents[1])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments],
                cwd=bench.folder,
                # Lines are not to be folded.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "1000"},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        bench.runs.append(self)

    def wait_for(self, frames: int, seconds: float = 60.0) -> int:
        """Wait until so many frames are written, or the run ends; return how many are."""
        end = time.monotonic() + seconds
        while (count := len(self.lines())) < frames:
            if self._process.poll() is not None or time.monotonic() > end:
                return len(self.lines())
            time.sleep(POLL_SECONDS)
        return count

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def finish(self, seconds: float = LONGEST_RUN) -> int | None:
        """Wait for the end and return the exit status; None where it had to be stopped."""
        try:
            self.status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
        return self.status

    def stop(self) -> None:
        """End the process if it still runs."""
        self._process.kill()
        self._process.wait()

    def log(self) -> str:
        """Return what it wrote on standard error."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def said(self) -> str:
        """Return the last line on standard error beside the progress bar."""
        lines = [line.strip() for line in self.log().replace("\r", "\n").splitlines()]
        return next((line for line in reversed(lines) if line and "━" not in line), "")

    def text(self, name: str) -> str:
        """Return what stands in a text file, under its final or its partial name."""
        file = self.out / name
        for path in (file, file.with_name(f"{file.stem}.part{file.suffix}")):
            if path.is_file():
                return path.read_text(encoding="utf-8")
        return ""

    def lines(self) -> list[str]:
        """Return the lines of frames in ``tracks.jsonl``, whole ones alone."""
        return self.text("tracks.jsonl").rpartition("\n")[0].splitlines()[1:]

    def frames(self) -> list[dict[str, Any]]:
        """Return the content of ``lines``."""
        return [json.loads(line) for line in self.lines()]

    def equals(self, reference: Run, but_last: int = 0) -> bool:
        """Tell whether its frames are, byte for byte, the first ones of another run.

        ``tracks.txt`` may be a frame ahead of ``tracks.jsonl``, since it is written first.

        Args:
            reference: The other run.
            but_last: Number of frames at its end that may differ.
        """
        lines = self.lines()
        count = len(lines) - but_last
        rows, others = rows_by_frame(self), rows_by_frame(reference)
        ahead = max(rows, default=0) - len(lines)
        numbers = range(1, count + (2 if ahead == 1 and not but_last else 1))
        return (
            lines[:count] == reference.lines()[:count]
            and ahead <= 1
            and all(rows.get(number) == others.get(number) for number in numbers)
        )

    def files(self) -> list[str]:
        """Return the names of the files it left."""
        return sorted(path.name for path in self.out.iterdir()) if self.out.is_dir() else []

    def outcome(self, fault: str, expected: int | None, checks: Mapping[str, bool]) -> Outcome:
        """Sum up, once the run is finished.

        Args:
            fault: What was done to it.
            expected: Number of frames.
            checks: What was looked at, and whether it was so.
        """
        tracked = len(self.lines())
        checks = {
            **checks,
            "no traceback": "Traceback" not in self.log(),
            "the text ends with a whole line": all(
                self.text(name)[-1:] in ("", "\n") for name in TEXTS
            ),
        }
        if expected:
            checks[f"at least {expected} frames"] = tracked >= expected
        return Outcome(
            fault,
            self.command,
            self.status,
            self.said(),
            tracked,
            expected,
            self.files(),
            all(checks.values()),
            describe(checks),
        )


def describe(checks: Mapping[str, bool]) -> str:
    """Join checks; those that failed come first.

    Examples:
        >>> describe({"final names": True, "whole lines": False})
        'NOT whole lines; final names'
    """
    failed = [f"NOT {text}" for text, passed in checks.items() if not passed]
    return "; ".join([*failed, *(text for text, passed in checks.items() if passed)])


def rows_by_frame(run: Run) -> dict[int, list[str]]:
    """Return the rows of ``tracks.txt`` by the number of their frame, whole rows alone."""
    rows: dict[int, list[str]] = {}
    for line in run.text("tracks.txt").rpartition("\n")[0].splitlines():
        rows.setdefault(int(line.split(",", 1)[0]), []).append(line)
    return rows


def drawn_frame(index: int) -> Frame:
    """Return a dark frame with two bright discs that walk to and fro."""
    frame = np.full((DRAWN_WH[1], DRAWN_WH[0], 3), 30, np.uint8)
    walked = abs(index % 80 - 40)
    cv2.circle(frame, (60 - walked, 40), 14, (255, 255, 225), cv2.FILLED)
    cv2.circle(frame, (120 + walked, 90), 14, (225, 255, 255), cv2.FILLED)
    return frame


def write_clip(path: Path, frames: Sequence[Frame]) -> None:
    """Write frames as a Motion JPEG video.

    Raises:
        UserError: OpenCV cannot.
    """
    size_wh = (frames[0].shape[1], frames[0].shape[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, size_wh)
    if not writer.isOpened():
        raise UserError("OpenCV cannot write Motion JPEG here: install opencv-python-headless")
    for frame in frames:
        writer.write(frame)
    writer.release()


def decodable(path: Path) -> int:
    """Return how many frames OpenCV reads from the start of a video, 0 where there is none."""
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.grab():
        count += 1
    capture.release()
    return count


def avi_frames(content: bytes | bytearray) -> list[tuple[int, int]]:
    """Return where the frames of an AVI with a single stream begin and end, in bytes."""
    found = []
    position = content.find(b"movi") + 4
    while content[position + 2 : position + 4] == b"dc":
        size = int.from_bytes(content[position + 4 : position + 8], "little")
        found.append((position + 8, position + 8 + size))
        position += 8 + size + size % 2
    return found
