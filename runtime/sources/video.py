"""A video file, decoded by OpenCV."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import UserError
from runtime.files import existing_file
from runtime.opencv import cv2
from runtime.sources.base import DEFAULT_FPS, Frame, FrameSource

# Containers round or estimate their number of frames; only a larger gap means a cut file.
TOLERATED_FRAMES = 2
TOLERATED_SHARE = 0.01


class VideoSource(FrameSource):
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
        self._capture: cv2.VideoCapture | None = None
        capture = self._open()
        try:
            # The first frame proves that the video decodes, and has the size after rotation.
            whole, frame = capture.read()
            if not whole:
                raise self._not_a_video()
            self.size_wh = (frame.shape[1], frame.shape[0])
            self.fps = fps or _plausible_fps(capture.get(cv2.CAP_PROP_FPS))
            self.length = _plausible_length(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        finally:
            capture.release()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames that decode.

        Raises:
            UserError: After the last of them, when the container promised noticeably more.
        """
        self.close()
        capture = self._capture = self._open()
        count = 0
        while True:
            whole, frame = capture.read()
            if not whole:
                break
            count += 1
            yield frame  # type: ignore[misc]  # VideoCapture gives uint8 BGR
        capture.release()
        self._capture = None
        if self.length is not None:
            tolerated = max(TOLERATED_FRAMES, math.ceil(TOLERATED_SHARE * self.length))
            if self.length - count > tolerated:
                raise UserError(
                    f"{self.path} ended after {count} of {self.length} frames: the file is cut "
                    "short or damaged, copy it again"
                )

    def close(self) -> None:
        """Release the decoder."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _open(self) -> cv2.VideoCapture:
        # FFmpeg draws plain text as a picture of a terminal, so text must not get that far.
        if _is_text(self.path):
            raise self._not_a_video()
        capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            raise self._not_a_video()
        return capture

    def _not_a_video(self) -> UserError:
        return UserError(
            f"{self.path} is not a video that can be decoded (damaged, cut short or another kind "
            "of file): give a video file or a folder of images"
        )


def _is_text(path: Path) -> bool:
    with path.open("rb") as handle:
        head = handle.read(4096)
    return b"\0" not in head


def _plausible_fps(value: float) -> float:
    """Return the container's frame rate, or 30 Hz where it holds none that can be true."""
    return value if math.isfinite(value) and 0 < value <= 1000 else DEFAULT_FPS


def _plausible_length(value: float) -> int | None:
    """Return the container's number of frames, or None where it does not tell.

    Examples:
        >>> _plausible_length(795.0), _plausible_length(-1.0), _plausible_length(-9.2e18)
        (795, None, None)
    """
    return int(value) if math.isfinite(value) and 0 < value < 2**31 else None
