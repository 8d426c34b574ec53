"""A capture device or stream, read on a thread of its own."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread, current_thread
from typing import NamedTuple
from weakref import WeakSet

import numpy as np

from runtime.errors import UserError
from runtime.opencv import cv2
from runtime.sources.base import Frame
from runtime.sources.video import read_frame

# How long closing waits for a device that works; one that hangs is given back when it answers.
GRACE_SECONDS = 1.0


class Opened(NamedTuple):
    """What a new connection says about itself.

    Attributes:
        frame: The first frame, uint8 BGR ``[H, W, 3]``.
        fps: Frames per second, as the container or the device tells; may be nonsense.
        length: Number of frames, likewise.
    """

    frame: Frame
    fps: float
    length: float


class CaptureReader:
    """Reads one ``cv2.VideoCapture`` after the other.

    A call into OpenCV may block for seconds and cannot be interrupted. It is made on a thread, so
    that whoever waits for it is free as soon as somebody calls ``close``, or presses Ctrl-C. A
    frame is read when it is asked for: nothing queues up here.

    Args:
        connect: Returns a new capture, opened or not.
        read_seconds: After how long without a frame the connection counts as lost.

    Attributes:
        closed: Set by ``close``.
    """

    def __init__(self, connect: Callable[[], cv2.VideoCapture], read_seconds: float) -> None:
        self.closed = Event()
        self._connect_capture = connect
        self._read_seconds = read_seconds
        self._capture: cv2.VideoCapture | None = None
        self._drains = False
        self._calls: SimpleQueue[tuple[Callable[[], object], SimpleQueue[object]] | None]
        self._calls = SimpleQueue()
        # One per call, so that the answer to one that was interrupted is nobody else's.
        self._answers: SimpleQueue[object] = SimpleQueue()
        self._thread = Thread(target=self._work, name="kd-run source", daemon=True)
        self._thread.start()
        _readers.add(self)

    def connect(self) -> Opened | None:
        """Connect anew and read the first frame.

        Returns:
            The connection, or None when it fails, gives no frame, or the reader is closed.

        Raises:
            UserError: It gives frames that are no pictures.
        """
        return self._ask(self._connect)  # type: ignore[return-value]  # as _connect returns

    def read(self) -> Frame | None:
        """Read the next frame.

        Returns:
            The frame, or None when the connection is lost or the reader is closed.

        Raises:
            UserError: It gives frames that are no pictures.
        """
        return self._ask(self._read)  # type: ignore[return-value]  # as _read returns

    def drain(self) -> None:
        """Read and throw away frames until one is asked for, so that it is a new one."""
        self._ask(self._start_draining)

    def close(self) -> None:
        """Give the capture back and free who waits for it; may be called from any thread."""
        self.closed.set()
        self._calls.put(None)
        self._answers.put(None)
        if current_thread() is not self._thread:
            self._thread.join(GRACE_SECONDS)

    def join(self, seconds: float) -> None:
        """Wait until the thread of a closed reader is through with its last call."""
        self._thread.join(seconds)

    def _ask(self, call: Callable[[], object]) -> object:
        answers = self._answers = SimpleQueue()
        if self.closed.is_set():
            return None
        self._calls.put((call, answers))
        answer = answers.get()
        if self.closed.is_set():
            return None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _work(self) -> None:
        while not self.closed.is_set():
            if self._drains and self._calls.empty():
                # A connection that is lost meanwhile is noticed by the next who asks.
                self._drains = self._read() is not None
                continue
            asked = self._calls.get()
            if asked is None:
                break
            call, answers = asked
            self._drains = False
            try:
                answers.put(call())
            except Exception as error:
                answers.put(error)
        self._release()

    def _start_draining(self) -> None:
        self._drains = True

    def _connect(self) -> Opened | None:
        self._release()
        try:
            self._capture = self._connect_capture()
        except cv2.error:
            return None
        frame = self._read()
        if frame is None:
            return None
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        return Opened(frame, fps, self._capture.get(cv2.CAP_PROP_FRAME_COUNT))

    def _read(self) -> Frame | None:
        if self._capture is None:
            return None
        try:
            frame = read_frame(self._capture, self._read_seconds)
        except cv2.error:
            return None
        return None if frame is None else _as_bgr(frame)

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _as_bgr(frame: np.ndarray) -> Frame:
    """Return a captured picture as uint8 BGR ``[H, W, 3]``; grey cameras give one channel.

    Raises:
        UserError: It is raw data in another format.
    """
    if frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3:
        return frame
    if frame.dtype == np.uint8 and frame.ndim == 2 and frame.shape[0] > 1:
        return cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)  # type: ignore[return-value]
    raise UserError(
        f"frames come as {frame.dtype} of shape {list(frame.shape)}, not as BGR: end the pipeline "
        "with videoconvert ! video/x-raw,format=BGR ! appsink"
    )


_readers: WeakSet[CaptureReader] = WeakSet()


@atexit.register
def _close_readers() -> None:
    # Before Python 3.14, a thread that comes back from C++ into a dying interpreter aborts the
    # process. Every call ends by its own time limit, so this does not wait for long.
    readers = list(_readers)
    for reader in readers:
        reader.close()
    for reader in readers:
        reader.join(10.0)
