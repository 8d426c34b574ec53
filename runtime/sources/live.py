"""Cameras, network streams and GStreamer pipelines: frames that come at their own pace."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

from runtime.console import warn
from runtime.errors import UserError
from runtime.opencv import cv2
from runtime.sources.base import Frame, FrameSource
from runtime.sources.reader import CaptureReader, Opened
from runtime.sources.reconnect import Backoff, LiveSettings, OutageReport
from runtime.sources.video import plausible_fps


class LiveSource(FrameSource):
    """Frames of a camera or a stream.

    Each frame is taken when it is asked for; between opening and the first iteration, frames are
    thrown away, so that the first one is not as old as the model took to load. Iterating again
    goes on with what comes then.

    A lost connection is made again, see ``LiveSettings``. ``timed`` tells when a frame came, by a
    monotonic clock that starts with the first frame and runs on through outages. Frames may change
    their size, for instance after an outage; ``size_wh`` stays that of the first.

    ``close`` ends the iteration at once, also from another thread and while the source is lost; a
    closed live source gives no more frames and must be opened anew.

    Args:
        name: What the source is called in messages, without credentials.
        connect: Returns a new capture, opened or not. It is called on another thread.
        fps: Frames per second; what the source says when not given.
        settings: How to connect.
        tell: Takes lines about outages, without an end of line; they are warnings by default.

    Attributes:
        told_length: The number of frames the container tells, which recordings do; at most 0
            otherwise.

    Raises:
        UserError: The source gives no frame after ``settings.attempts`` attempts.
    """

    is_live = True

    def __init__(
        self,
        name: str,
        connect: Callable[[], cv2.VideoCapture],
        fps: float | None = None,
        settings: LiveSettings | None = None,
        tell: Callable[[str], None] = warn,
    ) -> None:
        self.name = name
        self.length = None
        self._settings = settings or LiveSettings()
        self._report = OutageReport(name, tell, self._settings.quiet_seconds)
        self._backoff = Backoff(self._settings.first_delay, self._settings.longest_delay)
        self._started: float | None = None
        self._steady_at = 0.0
        self._reader = CaptureReader(connect, self._settings.read_seconds)
        try:
            opened = self._connect_first()
        except BaseException:
            self.close()
            raise
        self.size_wh = (opened.frame.shape[1], opened.frame.shape[0])
        self.fps = fps or plausible_fps(opened.fps)
        self.told_length = opened.length
        self._reader.drain()

    @property
    def outages(self) -> int:
        """How often the source was lost."""
        return self._report.outages

    @property
    def lost_seconds(self) -> float:
        """How long the outages lasted that are over, all together."""
        return self._report.lost_seconds

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames until the source is closed.

        Raises:
            UserError: It has been lost for longer than ``reconnect_seconds``.
        """
        for _, frame in self.timed():
            yield frame

    def timed(self) -> Iterator[tuple[float, Frame]]:
        """Yield each frame with the seconds since the first one came.

        Raises:
            UserError: The source has been lost for longer than ``reconnect_seconds``.
        """
        while (frame := self._next()) is not None:
            now = time.monotonic()
            if self._started is None:
                self._started = now
            yield now - self._started, frame

    def close(self) -> None:
        """End the iteration and give the device or the connection back."""
        self._reader.close()

    def _connect_first(self) -> Opened:
        attempts = self._settings.attempts
        for attempt in range(attempts):
            if attempt > 0:
                self._reader.closed.wait(self._backoff.next())
            opened = self._reader.connect()
            if opened is not None:
                self._backoff.reset()
                return opened
        raise UserError(
            f"{self.name} gives no frames ({attempts} attempts): check the address, the user and "
            "the password, and that it is switched on and not in use"
        )

    def _next(self) -> Frame | None:
        """Return the next frame, after an outage if need be, or None once closed."""
        asked = time.monotonic()
        frame = self._reader.read()
        if frame is None:
            return self._reconnect(asked)
        if asked >= self._steady_at:
            self._backoff.reset()
        return frame

    def _reconnect(self, since: float) -> Frame | None:
        """Try until frames come again; ``since`` is when the outage began."""
        limit = self._settings.reconnect_seconds
        while not self._reader.closed.is_set():
            now = time.monotonic()
            delay = self._backoff.next()
            if limit is not None:
                left = limit - (now - since)
                if left <= 0:
                    raise UserError(
                        f"{self.name} has been lost for {now - since:.0f} s: what was tracked is "
                        "kept, check the source and start again"
                    )
                delay = min(delay, left)
            self._report.waiting(since, now, delay)
            if self._reader.closed.wait(delay):
                break
            opened = self._reader.connect()
            if opened is not None:
                now = time.monotonic()
                self._report.back(now)
                self._steady_at = now + self._settings.steady_seconds
                return opened.frame
        return None


def url_capture(url: str, settings: LiveSettings) -> cv2.VideoCapture:
    """Connect to a stream by FFmpeg, which takes RTSP over TCP unless told otherwise."""
    capture = cv2.VideoCapture()
    threads = [cv2.CAP_PROP_N_THREADS, settings.decode_threads]
    capture.open(url, cv2.CAP_FFMPEG, [*_time_limits(settings), *threads])
    return capture


def camera_capture(device: int | str) -> cv2.VideoCapture:
    """Open a camera by its number or, on Linux, by its device file."""
    capture = cv2.VideoCapture()
    capture.open(device, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
    # Frames that wait in the driver are old ones. Backends that cannot do this say so and go on.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture


def pipeline_capture(pipeline: str, settings: LiveSettings) -> cv2.VideoCapture:
    """Start a GStreamer pipeline, which must end in an ``appsink``."""
    capture = cv2.VideoCapture()
    # The system's OpenCV may be older than ours; before 4.7, time limits are an error to it.
    limits = (cv2.getVersionMajor(), cv2.getVersionMinor()) >= (4, 7)
    capture.open(pipeline, cv2.CAP_GSTREAMER, _time_limits(settings) if limits else [])
    return capture


def require_gstreamer() -> None:
    """Prove that this OpenCV can run pipelines.

    Raises:
        UserError: It cannot.
    """
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise UserError(
            "this OpenCV is built without GStreamer, as every one from pip: uninstall it and take "
            "the system's (on a Jetson: apt install python3-opencv), or give the URL itself"
        )


def _time_limits(settings: LiveSettings) -> list[int]:
    return [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        max(1, round(settings.connect_seconds * 1000)),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        max(1, round(settings.read_seconds * 1000)),
    ]
