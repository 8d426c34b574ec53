"""A window that shows the tracks while they come."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from types import TracebackType

from runtime.errors import UserError
from runtime.opencv import cv2, silenced_stderr
from runtime.sinks.base import Sink, StopRequested
from runtime.sinks.drawing import Painter
from runtime.types import FrameResult

ESCAPE = 27
STOP_KEYS = {ESCAPE, ord("q"), ord("Q")}
ADVICE = "write the overlay instead"


class WindowSink(Sink):
    """Shows the frames with their tracks; q, Esc or closing the window ends the run.

    Args:
        title: Title of the window.
        painter: Draws the frames.

    Raises:
        UserError: On entering the block: there is no display, or OpenCV cannot open windows.
    """

    def __init__(self, title: str, painter: Painter) -> None:
        self._title = title
        self._painter = painter

    def __enter__(self) -> WindowSink:
        displays = ("DISPLAY", "WAYLAND_DISPLAY")
        # Qt ends the whole process where it finds no display.
        if sys.platform == "linux" and not any(os.environ.get(name) for name in displays):
            raise UserError(f"cannot open a window (no display here): {ADVICE}")
        try:
            with silenced_stderr():
                cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        except cv2.error as error:
            raise UserError(
                f"cannot open a window (this OpenCV has none): {ADVICE}, or replace "
                "opencv-python-headless by opencv-python"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(cv2.error):
            # The user may have closed it.
            cv2.destroyWindow(self._title)

    def write(self, result: FrameResult) -> None:
        """Show the next frame.

        Raises:
            StopRequested: The user pressed q or Esc, or closed the window.
        """
        cv2.imshow(self._title, self._painter.paint(result))
        key = cv2.waitKey(1) & 0xFF
        closed = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
        if key in STOP_KEYS or closed:
            raise StopRequested
