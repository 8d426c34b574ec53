"""Results of frames without a model behind them, and videos read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtime import Tracks
from runtime.opencv import cv2
from runtime.sources.base import FrameSource
from runtime.types import Detections, FrameResult

SIZE_WH = (160, 120)
ONE = Tracks([3], [[20, 30, 60, 100]], [0.8], [0])


def result(
    index: int,
    tracks: Tracks | None = None,
    size_wh: tuple[int, int] = SIZE_WH,
    fps: float = 10.0,
    brightness: int = 60,
) -> FrameResult:
    """Return the result of an even grey frame, by default with one track."""
    frame = np.full((size_wh[1], size_wh[0], 3), brightness, np.uint8)
    tracks = ONE if tracks is None else tracks
    return FrameResult(index, index / fps, frame, Detections.empty(), tracks, source="grey")


class GreySource(FrameSource):
    """Only says what the sinks ask a source for."""

    name = "grey"
    fps = 10.0
    size_wh = SIZE_WH
    length = None

    def __iter__(self):
        return iter(())


def read_video(path: Path) -> tuple[list[np.ndarray], list[float]]:
    """Return all frames of a video and their times in milliseconds."""
    capture = cv2.VideoCapture(str(path))
    frames, times = [], []
    while (read := capture.read())[0]:
        frames.append(read[1])
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    return frames, times


class FillingDisk:
    """Stands in for ``os.pwrite`` on a disk with ``room`` bytes left."""

    def __init__(self, write, room: int) -> None:
        self._write, self.room = write, room

    def __call__(self, handle: int, content: bytes, position: int) -> int:
        if content and not self.room:
            raise OSError(28, "No space left on device")
        written = self._write(handle, content[: self.room], position)
        self.room -= written
        return written
