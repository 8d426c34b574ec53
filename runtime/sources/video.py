"""Recorded videos, decoded by OpenCV."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

from runtime.console import warn
from runtime.errors import UserError
from runtime.files import existing_file
from runtime.opencv import cv2
from runtime.sources.base import DEFAULT_FPS, Frame, FrameSource

# Containers round or estimate their number of frames; only a larger gap means a cut file.
TOLERATED_FRAMES = 2
TOLERATED_SHARE = 0.01
# In a row; at the end of a file, this many take some milliseconds.
FAILED_READS = 1000


def read_frame(capture: cv2.VideoCapture, seconds: float = 1.0) -> Frame | None:
    """Read the next frame that decodes.

    Args:
        capture: An opened capture.
        seconds: No attempt begins later than this.

    Returns:
        The frame as OpenCV gives it, which is uint8 BGR ``[H, W, 3]`` from FFmpeg; None at the end.
    """
    return read_on(capture, seconds)[1]


def read_on(capture: cv2.VideoCapture, seconds: float = 1.0) -> tuple[int, Frame | None]:
    """Read like ``read_frame``, and tell how many attempts failed before.

    OpenCV reports every packet that FFmpeg cannot decode in the way it reports the end. What
    follows may be in order, so failures count as the end only when there are many of them or when
    they take long.
    """
    deadline = time.monotonic() + seconds
    failures = 0
    while failures < FAILED_READS:
        whole, frame = capture.read()
        if whole:
            return failures, frame  # type: ignore[return-value]
        failures += 1
        if time.monotonic() >= deadline:
            break
    return failures, None


class Recording(FrameSource):
    """Frames that have an end: what video files and remote recordings share.

    The last whole frame stands in for each damaged one behind it, so that all others keep their
    number and time.
    """

    _capture: cv2.VideoCapture | None = None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, and warn at the end where some were damaged.

        Raises:
            UserError: After the last that decodes, when the container promised noticeably more.
        """
        self.close()
        capture = self._capture = self._open()
        count = stood_in = 0
        before: Frame | None = None
        try:
            while True:
                failures, frame = read_on(capture)
                if frame is None:
                    break
                if before is not None:
                    for _ in range(self._missing(count, failures)):
                        count, stood_in = count + 1, stood_in + 1
                        yield before.copy()
                count += 1
                before = frame
                yield frame
        finally:
            if stood_in:
                warn(
                    f"{self.name} has {stood_in} damaged frames among the first {count}: the last "
                    "whole frame stands in for each, copy the video again if that is too many"
                )
        capture.release()
        self._capture = None
        if self.length is not None:
            tolerated = max(TOLERATED_FRAMES, math.ceil(TOLERATED_SHARE * self.length))
            if self.length - count > tolerated:
                raise self._cut_short(count)

    def close(self) -> None:
        """Release the decoder."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _missing(self, count: int, failures: int) -> int:
        """Return how many frames were lost with as many packets, behind ``count`` frames."""
        # Some codecs give a frame in several packets: never more than the container promised.
        most = failures if self.length is None else max(self.length - count - 1, 0)
        return min(failures, most)

    @abstractmethod
    def _open(self) -> cv2.VideoCapture:
        """Return an opened capture before its first frame."""

    @abstractmethod
    def _cut_short(self, count: int) -> UserError:
        """Return what to say when only ``count`` frames came."""


class VideoSource(Recording):
    """The frames of a video file.

    Args:
        path: The file.
        name: Name of the sequence; the file's stem when not given.
        fps: Frames per second; the container's when not given.

    Raises:
        UserError: The file does not exist or holds no video that can be decoded.
    """

    def __init__(self, path: Path, name: str | None = None, fps: float | None = None) -> None:
        self.path = existing_file(path, "video")
        self.name = name or self.path.stem
        capture = self._open()
        try:
            # The first frame proves that the video decodes, and has the size after rotation.
            frame = read_frame(capture)
            if frame is None:
                raise self._not_a_video()
            self.size_wh = (frame.shape[1], frame.shape[0])
            self.fps = fps or plausible_fps(capture.get(cv2.CAP_PROP_FPS))
            self.length = plausible_length(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        finally:
            capture.release()

    def _open(self) -> cv2.VideoCapture:
        # FFmpeg draws plain text as a picture of a terminal, so text must not get that far.
        if _is_text(self.path):
            raise self._not_a_video()
        capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            raise self._not_a_video()
        return capture

    def _cut_short(self, count: int) -> UserError:
        return UserError(
            f"{self.path} ended after {count} of {self.length} frames: the file is cut short or "
            "damaged, copy it again"
        )

    def _not_a_video(self) -> UserError:
        return UserError(
            f"{self.path} is not a video that can be decoded (damaged, cut short or another kind "
            "of file): give a video file or a folder of images"
        )


class RemoteRecording(Recording):
    """A recording that comes through a connection; it has been opened before, as a live source.

    Args:
        name: Name of the sequence, without credentials.
        connect: Returns a new capture, opened or not.
        fps: Frames per second.
        size_wh: Width and height of the frames in pixels.
        length: Number of frames that the container tells.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], cv2.VideoCapture],
        fps: float,
        size_wh: tuple[int, int],
        length: int,
    ) -> None:
        self.name = name
        self.fps = fps
        self.size_wh = size_wh
        self.length = length
        self._connect = connect

    def _open(self) -> cv2.VideoCapture:
        capture = self._connect()
        if not capture.isOpened():
            raise UserError(f"{self.name} cannot be reached any more: check it and start again")
        return capture

    def _cut_short(self, count: int) -> UserError:
        return UserError(
            f"{self.name} ended after {count} of {self.length} frames: the connection broke or the "
            "recording is damaged, fetch the file and give that"
        )


def _is_text(path: Path) -> bool:
    with path.open("rb") as handle:
        head = handle.read(4096)
    return b"\0" not in head


def plausible_fps(value: float) -> float:
    """Return the frame rate that a container or a device tells, or 30 Hz where none can be true.

    Examples:
        >>> plausible_fps(25.0), plausible_fps(90000.0), plausible_fps(0.0)
        (25.0, 30.0, 30.0)
    """
    return value if math.isfinite(value) and 0 < value <= 1000 else DEFAULT_FPS


def plausible_length(value: float) -> int | None:
    """Return the container's number of frames, or None where it does not tell.

    Examples:
        >>> plausible_length(795.0), plausible_length(-1.0), plausible_length(-9.2e18)
        (795, None, None)
    """
    return int(value) if math.isfinite(value) and 0 < value < 2**31 else None
