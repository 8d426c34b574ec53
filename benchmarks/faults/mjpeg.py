"""A camera on the loopback address: Motion JPEG over HTTP that can be cut and restored."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from runtime.opencv import cv2
from runtime.sources.base import Frame

BOUNDARY = "frame"
CUT_SECONDS = 5.0


class MjpegServer:
    """Serves frames at a steady rate, over and over, to one viewer at a time.

    The clip goes on while nobody looks, as the world before a camera does.

    Args:
        frames: uint8 BGR ``[H, W, 3]``.
        fps: Frames per second.

    Attributes:
        sent: Frames sent to viewers so far.
        connections: How often a viewer came.
        jpegs: The frames as they are sent; may be replaced while the server runs.
    """

    def __init__(self, frames: Sequence[Frame], fps: float) -> None:
        self.sent = 0
        self.connections = 0
        self.jpegs = encode(frames)
        self._fps = fps
        self._started = time.monotonic()
        self._on = threading.Event()
        self._on.set()
        self._idle = threading.Event()
        self._idle.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """Where to look."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/camera.mjpeg"

    def cut(self) -> None:
        """End the connection and refuse others, until ``restore``."""
        self._on.clear()
        self._idle.wait(CUT_SECONDS)

    def restore(self) -> None:
        """Serve again."""
        self._on.set()

    def __enter__(self) -> MjpegServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not camera._on.is_set():
                    self.send_error(503)
                    return
                camera._idle.clear()
                try:
                    self.send_response(200)
                    kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
                    self.send_header("Content-Type", kind)
                    self.end_headers()
                    camera.connections += 1
                    # A viewer that is killed does not say good-bye.
                    with suppress(OSError):
                        self._send_frames()
                finally:
                    camera._idle.set()

            def _send_frames(self) -> None:
                self.wfile.write(f"--{BOUNDARY}\r\n".encode())
                while camera._on.is_set():
                    index = int((time.monotonic() - camera._started) * camera._fps)
                    jpeg = camera.jpegs[index % len(camera.jpegs)]
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(head.encode() + jpeg + f"\r\n--{BOUNDARY}\r\n".encode())
                    camera.sent += 1
                    following = camera._started + (index + 1) / camera._fps
                    time.sleep(max(0.0, following - time.monotonic()))

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        return Handler


def encode(frames: Sequence[Frame]) -> list[bytes]:
    """Return frames as JPEG."""
    return [bytes(cv2.imencode(".jpg", frame)[1]) for frame in frames]
