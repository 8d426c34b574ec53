"""Live sources against servers on this machine that are cut off and come back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread, Timer

import numpy as np
import pytest

from runtime import UserError
from runtime.opencv import cv2
from runtime.sources import FrameSource, LiveSettings, open_source
from tests.runtime.conftest import SIZE_WH, blob_frame
from tests.runtime.rtsp_server import RtspServer

ROOT = Path(__file__).resolve().parents[2]
# Ends a test that would hang; never reached otherwise.
LAST_RESORT_SECONDS = 60.0
# Attempts may take long on a busy machine, waits need not.
QUICK = LiveSettings(
    connect_seconds=20, read_seconds=20, first_delay=0.02, longest_delay=0.1, quiet_seconds=0
)
OTHER_SIZE = (320, 240)


@contextmanager
def opened(
    url: str, tell: Callable[[str], None], settings: LiveSettings = QUICK
) -> Iterator[FrameSource]:
    with open_source(url, live=settings, tell=tell) as source:
        timer = Timer(LAST_RESORT_SECONDS, source.close)
        timer.start()
        try:
            yield source
        finally:
            timer.cancel()


@pytest.fixture
def server() -> Iterator[RtspServer]:
    server = RtspServer()
    yield server
    server.stop()


def test_rtsp_stream_is_live_and_has_its_frames(server):
    lines: list[str] = []
    with opened(server.url, lines.append) as source:
        assert source.is_live and source.length is None
        assert (source.name, source.size_wh) == (server.url, SIZE_WH)
        frames = [timed for timed, _ in zip(source.timed(), range(5), strict=False)]
    times = [time for time, _ in frames]
    assert times[0] == 0 and times == sorted(times) and times[-1] > 0
    known = np.stack([blob_frame(index) for index in range(40)]).astype(int)
    for _, frame in frames:
        assert frame.dtype == np.uint8
        # JPEG is lossy: the frame is one of the known ones, not the same to the byte.
        assert np.abs(known - frame).mean(axis=(1, 2, 3)).min() < 3
    assert lines == []


@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_stream_that_is_cut_comes_back(capfd, auth):
    server = RtspServer(auth, "admin", "geheim")
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        # Several attempts have failed by then.
        if len(lines) == 3:
            server.size_wh = OTHER_SIZE
            server.start()

    with opened(server.url, tell) as source:
        timed = source.timed()
        before, _ = next(timed)
        server.stop()
        # The clock runs on, and what was under way when the stream was cut may still arrive.
        for after, frame in timed:
            assert after >= before
            before = after
            if frame.shape == (OTHER_SIZE[1], OTHER_SIZE[0], 3):
                break
        assert source.size_wh == SIZE_WH
        assert source.outages == 1 and source.lost_seconds > 0
        for _ in range(3):
            assert next(timed)[1].shape == (OTHER_SIZE[1], OTHER_SIZE[0], 3)
    server.stop()
    assert server.refused > 0 and server.played == 2
    where = f"rtsp://***@127.0.0.1:{server.port}/blobs"
    assert source.name == where
    assert lines[0] == f"{where} is lost (the stream broke off): trying again in 0.02 s"
    assert lines[1] == f"{where} is still lost after 0 s: trying again in 0.04 s"
    assert lines[2] == f"{where} is still lost after 0 s: trying again in 0.08 s"
    assert lines[-1].startswith(f"{where} is back after ")
    assert capfd.readouterr() == ("", "")


def test_size_may_change_within_a_connection(server):
    lines: list[str] = []
    with opened(server.url, lines.append) as source:
        frames = iter(source)
        assert next(frames).shape[:2] == SIZE_WH[::-1]
        server.size_wh = OTHER_SIZE
        assert any(frame.shape[:2] == OTHER_SIZE[::-1] for frame in frames)
    assert lines == []


def test_stream_that_falls_silent_is_lost(server):
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        server.silent.clear()

    with opened(server.url, tell, replace(QUICK, read_seconds=1)) as source:
        frames = iter(source)
        next(frames)
        server.silent.set()
        assert any(lines for _ in frames)
    assert " is lost (no frame for " in lines[0]


def test_outage_that_lasts_ends_the_source(server):
    lines: list[str] = []
    frames = []
    settings = replace(QUICK, reconnect_seconds=0.3)
    with (
        opened(server.url, lines.append, settings) as source,
        pytest.raises(UserError, match=r"has been lost for \d+ s: what was tracked is kept"),
    ):
        for frame in source:
            frames.append(frame)
            server.stop()
    assert frames
    # It did try: with waits of 0.02, 0.04, 0.08 and 0.1 s, or fewer that failed more slowly.
    assert "is lost" in lines[0] and source.outages == 1


def ends_when_closed(source: FrameSource, ready: Event) -> bool:
    """Iterate on another thread, close once ``ready``; return whether the iteration ends."""
    thread = Thread(target=lambda: list(source), daemon=True)
    thread.start()
    assert ready.wait(LAST_RESORT_SECONDS)
    source.close()
    thread.join(LAST_RESORT_SECONDS)
    return not thread.is_alive()


def test_closed_source_has_no_more_frames(server):
    with opened(server.url, print) as source:
        frames = iter(source)
        next(frames)
        source.close()
        assert list(frames) == list(source) == []


def test_close_ends_a_wait_for_the_next_attempt(server):
    lost = Event()
    settings = replace(QUICK, first_delay=3600, longest_delay=3600)
    with opened(server.url, lambda _: lost.set(), settings) as source:
        next(iter(source))
        server.stop()
        assert ends_when_closed(source, lost)


def test_wrong_password(capfd):
    server = RtspServer("digest", "admin", "right")
    url = server.url.replace("right", "geheim")
    with pytest.raises(UserError, match=r"rtsp://\*\*\*@127\.0\.0\.1:\d+/blobs gives no") as caught:
        open_source(url, live=QUICK)
    server.stop()
    assert server.refused >= QUICK.attempts
    assert "geheim" not in str(caught.value) and "(3 attempts)" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_process_ends_though_a_source_is_open(server):
    code = (
        "import sys; from runtime.sources import open_source\n"
        "source = open_source(sys.argv[1]); print(next(iter(source)).shape)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, server.url],
        cwd=ROOT, capture_output=True, text=True, timeout=LAST_RESORT_SECONDS, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (0, "(128, 192, 3)\n", "")


class HttpHandler(BaseHTTPRequestHandler):
    """Motion JPEG that ends after some frames, and files."""

    video = b""
    promised = 0
    streams = 0

    def do_GET(self) -> None:
        try:
            if self.path.startswith("/clip.avi"):
                self.send_response(200)
                self.send_header("Content-Length", str(self.promised))
                self.end_headers()
                self.wfile.write(self.video)
                return
            if self.path != "/cam?pwd=geheim" or type(self).streams >= 4:
                self.send_error(404)
                return
            type(self).streams += 1
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
            self.end_headers()
            for index in range(20):
                jpeg = cv2.imencode(".jpg", blob_frame(index))[1].tobytes()
                head = f"--part\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")
        except OSError:
            pass  # The client is gone.

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def http() -> Iterator[tuple[str, type[HttpHandler]]]:
    class Handler(HttpHandler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", Handler
    server.shutdown()
    server.server_close()


def test_motion_jpeg_over_http_is_connected_again(http, capfd):
    url, handler = http
    lines: list[str] = []
    frames = []
    settings = replace(QUICK, reconnect_seconds=0.3)
    with (
        opened(f"{url}/cam?pwd=geheim", lines.append, settings) as source,
        pytest.raises(UserError, match=r"/cam\?pwd=\*\*\* has been lost"),
    ):
        assert source.is_live and source.size_wh == SIZE_WH
        frames.extend(source)
    # The first connection is drained before the iteration begins; three more follow.
    assert handler.streams == 4 and source.outages == 4
    assert len(frames) >= 3 * 15
    assert sum("is back" in line for line in lines) == 3
    assert not any("geheim" in line for line in lines)
    assert capfd.readouterr() == ("", "")


def test_recording_over_http_ends(http, video):
    url, handler = http
    handler.video = video.read_bytes()
    handler.promised = len(handler.video)
    with opened(f"{url}/clip.avi?token=geheim", print) as source:
        assert not source.is_live and source.name == f"{url}/clip.avi?token=***"
        assert (source.fps, source.length, source.size_wh) == (10.0, 20, SIZE_WH)
        assert [round(time, 3) for time, _ in source.timed()] == [i / 10 for i in range(20)]
        assert len(list(source)) == 20


def test_recording_over_http_that_breaks_off(http, video):
    url, handler = http
    handler.promised = video.stat().st_size
    handler.video = video.read_bytes()[: handler.promised // 2]
    frames = []
    with (
        opened(f"{url}/clip.avi", print) as source,
        pytest.raises(UserError, match=r"clip\.avi ended after \d+ of 20 frames: the connection"),
    ):
        frames.extend(source)
    # Nothing that came is lost: extend keeps what it had taken.
    assert 0 < len(frames) < 18
