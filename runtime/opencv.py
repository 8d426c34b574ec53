"""OpenCV, kept quiet: what it writes to standard error is not meant for our users."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# FFmpeg inside OpenCV reads these once; they must stand before the first import of cv2.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2

__all__ = ["cv2", "silenced_stderr"]


@contextmanager
def silenced_stderr() -> Iterator[None]:
    """Send file descriptor 2 nowhere for a moment.

    OpenCV's video writer prints a notice about VP8 in WebM that no log level holds back, although
    the file it writes is in order. Only for such short calls: it concerns the whole process.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
