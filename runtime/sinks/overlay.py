"""A video of the frames with their tracks, for browsers and players."""

from __future__ import annotations

import os

from runtime.sinks.base import FileSink
from runtime.sinks.drawing import Painter, letterbox
from runtime.sinks.webm import Vp8Encoder, WebmMuxer
from runtime.types import FrameResult


class OverlayWriter(FileSink):
    """Writes a ``.webm`` video of the frames with their tracks.

    Each frame stands at its own time, so a live source that drops frames plays at its real pace.
    A frame of another size is fitted into the video's, with black bars where the shapes differ.

    Args:
        path: The video file.
        fps: Frames per second.
        size_wh: Size of the video in pixels; an odd size loses its last row or column.
        painter: Draws the frames; by default boxes, ids and trails.

    Raises:
        UserError: OpenCV cannot encode the video here.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float,
        size_wh: tuple[int, int],
        painter: Painter | None = None,
    ) -> None:
        super().__init__(path)
        self._fps = fps
        self._size_wh = size_wh
        self._painter = painter or Painter(fps)
        self._encoder: Vp8Encoder | None = None
        self._muxer: WebmMuxer | None = None

    def write(self, result: FrameResult) -> None:
        """Draw and append the next frame.

        Raises:
            UserError: The disk is full; the frames before are kept and play.
        """
        assert self._encoder is not None and self._muxer is not None
        picture = letterbox(self._painter.paint(result), self._size_wh)
        self._muxer.write(self._encoder.encode(picture), result.timestamp)

    def _open(self) -> None:
        self._encoder = Vp8Encoder(self._fps, self._size_wh)
        try:
            self._muxer = WebmMuxer(self.file, self._fps, self._encoder.size_wh)
        except BaseException:
            self._encoder.close()
            raise

    def _finish(self) -> None:
        assert self._encoder is not None and self._muxer is not None
        self._encoder.close()
        self._muxer.finish()
