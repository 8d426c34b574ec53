"""What a live source makes of its capture, with captures that are made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event

import numpy as np
import pytest

from runtime import UserError
from runtime.opencv import cv2
from runtime.sources import LiveSettings, live, opening
from runtime.sources.live import LiveSource
from runtime.sources.reconnect import OutageReport

LAST_RESORT_SECONDS = 60.0
QUICK = LiveSettings(first_delay=0.001, longest_delay=0.004, quiet_seconds=0)
LOST = None


def picture(value: int) -> np.ndarray:
    return np.full((4, 6, 3), value, np.uint8)


class FakeCapture:
    """Gives pictures; ``None`` is a failed read, and behind the last one all reads fail."""

    def __init__(self, pictures: Iterator[np.ndarray | None], fps: float = 12.0) -> None:
        self.pictures = iter(pictures)
        self.fps = fps
        self.released = False

    def read(self) -> tuple[bool, np.ndarray | None]:
        frame = next(self.pictures, None)
        return frame is not None, frame

    def get(self, property_id: int) -> float:
        return self.fps if property_id == cv2.CAP_PROP_FPS else -1.0

    def release(self) -> None:
        self.released = True


def connections(*captures: list[np.ndarray | None]) -> Callable[[], FakeCapture]:
    """Return a function that hands out one capture after the other, then empty ones."""
    waiting = iter(captures)
    return lambda: FakeCapture(iter(next(waiting, [])))


def test_first_frame_is_a_new_one():
    drained = Event()

    def pictures() -> Iterator[np.ndarray]:
        for value in range(200):
            if value == 100:
                drained.set()
                resume.wait(LAST_RESORT_SECONDS)
            yield picture(value)

    resume = Event()
    with LiveSource("cam", lambda: FakeCapture(pictures()), settings=QUICK) as source:
        # As while a model is loaded.
        assert drained.wait(LAST_RESORT_SECONDS)
        frames = iter(source)
        resume.set()
        assert next(frames)[0, 0, 0] >= 100


def test_packets_that_do_not_decode_are_no_outage():
    lines: list[str] = []
    stop = Event()

    def pictures() -> Iterator[np.ndarray | None]:
        yield picture(0)
        while not stop.is_set():
            yield from [LOST, LOST, picture(1)]

    with LiveSource("cam", lambda: FakeCapture(pictures()), None, QUICK, lines.append) as source:
        assert len([frame for frame, _ in zip(source, range(50), strict=False)]) == 50
        stop.set()
    assert lines == []


def test_first_connection_is_tried_a_few_times():
    calls: list[int] = []
    tries = connections([], [], [picture(1)])

    def connect() -> FakeCapture:
        calls.append(1)
        return tries()

    with LiveSource("cam", connect, settings=QUICK) as source:
        assert (len(calls), source.fps, source.size_wh) == (3, 12.0, (6, 4))
    with pytest.raises(UserError, match=r"cam gives no frames \(3 attempts\)"):
        LiveSource("cam", connect, settings=QUICK)
    assert len(calls) == 6


def test_waits_double_up_to_the_longest():
    lines: list[str] = []
    tries = connections([picture(0)], [], [], [], [], [picture(5)])
    with LiveSource("cam", tries, None, QUICK, lines.append) as source:
        assert next(iter(source))[0, 0, 0] == 5
    waits = [line.split("again in ")[1] for line in lines if "again in" in line]
    assert waits == ["0.001 s", "0.002 s", "0.004 s", "0.004 s", "0.004 s"]
    assert lines[-1] == "cam is back after 0 s"


@pytest.mark.parametrize(("steady", "second"), [(0.0, "0.001 s"), (3600.0, "0.002 s")])
def test_waits_start_anew_when_frames_flow(steady, second):
    lines: list[str] = []
    tries = connections([picture(0)], [picture(1)] * 9, [picture(2)] * 9)
    settings = LiveSettings(first_delay=0.001, quiet_seconds=0, steady_seconds=steady)
    with LiveSource("cam", tries, None, settings, lines.append) as source:
        frames = iter(source)
        assert any(frame[0, 0, 0] == 2 for frame in frames)
    waits = [line.split("again in ")[1] for line in lines if "again in" in line]
    assert waits == ["0.001 s", second]


def test_connection_that_is_replaced_is_released():
    captures: list[FakeCapture] = []

    def connect() -> FakeCapture:
        captures.append(FakeCapture(iter([picture(len(captures))])))
        return captures[-1]

    with LiveSource("cam", connect, None, QUICK, print) as source:
        frames = iter(source)
        assert [next(frames)[0, 0, 0] for _ in range(3)] == [1, 2, 3]
    assert len(captures) == 4 and all(capture.released for capture in captures)


def test_grey_frames_become_bgr():
    tries = connections([picture(7)[:, :, 0]] * 2, [picture(8)[:, :, 0]])
    with LiveSource("cam", tries, None, QUICK, print) as source:
        assert source.size_wh == (6, 4)
        assert next(iter(source)).shape == (4, 6, 3)


def test_raw_frames_are_refused():
    with pytest.raises(UserError, match=r"shape \[1, 900\], not as BGR"):
        LiveSource("cam", connections([np.zeros((1, 900), np.uint8)]), settings=QUICK)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_time_to_reconnect_must_make_sense(seconds):
    with pytest.raises(UserError, match="to reconnect cannot be"):
        LiveSettings(reconnect_seconds=seconds)


def test_few_lines_about_many_outages():
    lines: list[str] = []
    report = OutageReport("cam", lines.append, quiet_seconds=60)
    # Lost for a second in every two, for ten minutes.
    for start in range(0, 600, 2):
        report.waiting(start, start, 0.5)
        report.back(start + 1)
    assert (report.outages, report.lost_seconds) == (300, 300)
    assert len(lines) == 20
    assert lines[:4] == [
        "cam is lost (the stream broke off): trying again in 0.5 s",
        "cam is back after 1 s",
        "cam is lost (the stream broke off, outage 31): trying again in 0.5 s",
        "cam is back after 1 s",
    ]


def test_few_lines_about_a_long_outage():
    lines: list[str] = []
    report = OutageReport("cam", lines.append, quiet_seconds=60)
    for now in range(5, 86400, 30):
        report.waiting(0, now, 30)
    assert lines[0] == "cam is lost (no frame for 5 s): trying again in 30 s"
    assert lines[1] == "cam is still lost after 65 s: trying again in 30 s"
    assert 25 < len(lines) < 35


@pytest.fixture
def asked(monkeypatch) -> list[tuple[object, ...]]:
    """Record what open_source asks OpenCV for, in place of opening it."""
    calls: list[tuple[object, ...]] = []

    class Recorder(FakeCapture):
        def __init__(self) -> None:
            super().__init__(iter([picture(1)]))

        def open(self, *args: object) -> bool:
            calls.append(args)
            return True

        def set(self, property_id: int, value: float) -> bool:
            calls.append((property_id, value))
            return True

    monkeypatch.setattr(live.cv2, "VideoCapture", Recorder)
    monkeypatch.setattr(live.cv2.videoio_registry, "hasBackend", lambda _: True)
    return calls


LIMITS = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 4000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 1500]
ONE_THREAD = [*LIMITS, cv2.CAP_PROP_N_THREADS, 1]
ONE_BUFFER = (cv2.CAP_PROP_BUFFERSIZE, 1)
PIPELINE = "rtspsrc location=rtsp://u:geheim@cam/1 ! decodebin ! videoconvert ! appsink"


@pytest.mark.parametrize(
    ("spec", "name", "calls"),
    [
        ("0", "camera 0", [(0, cv2.CAP_V4L2), ONE_BUFFER]),
        ("12", "camera 12", [(12, cv2.CAP_V4L2), ONE_BUFFER]),
        ("/dev/video77", "video77", [("/dev/video77", cv2.CAP_V4L2), ONE_BUFFER]),
        ("RTSP://u:p@c/1", "RTSP://***@c/1", [("RTSP://u:p@c/1", cv2.CAP_FFMPEG, ONE_THREAD)]),
        ("udp://@:1234", "udp://@:1234", [("udp://@:1234", cv2.CAP_FFMPEG, ONE_THREAD)]),
        (PIPELINE, PIPELINE.replace("u:geheim", "***"), [(PIPELINE, cv2.CAP_GSTREAMER, LIMITS)]),
        (
            f"{PIPELINE} {'x' * 300}",
            f"{PIPELINE.replace('u:geheim', '***')} {'x' * 28}…",
            [(f"{PIPELINE} {'x' * 300}", cv2.CAP_GSTREAMER, LIMITS)],
        ),
    ],
)
def test_every_kind_goes_to_its_backend(asked, monkeypatch, tmp_path, spec, name, calls):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(live.sys, "platform", "linux")
    settings = LiveSettings(connect_seconds=4, read_seconds=1.5, reconnect_seconds=0)
    with opening.open_source(spec, fps=5, live=settings) as source:
        assert (source.name, source.fps, source.is_live) == (name, 5, True)
        with pytest.raises(UserError, match="has been lost"):
            next(iter(source))
    assert asked == calls
    assert len(source.name) <= 100


def test_pipeline_without_gstreamer(monkeypatch):
    monkeypatch.setattr(live.cv2.videoio_registry, "hasBackend", lambda _: False)
    with pytest.raises(UserError, match="apt install python3-opencv") as caught:
        opening.open_source(PIPELINE)
    assert "geheim" not in str(caught.value)


def test_files_go_before_cameras_and_pipelines(video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("0", "walk ! run.avi"):
        (tmp_path / name).write_bytes(video.read_bytes())
        with opening.open_source(name) as source:
            assert not source.is_live and source.length == 20


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rtsp://admin:ge heim@cam/1", "the rtsp URL has a space in it"),
        ("rstp://admin:geheim@cam/1", r"^rstp://\*\*\*@cam/1 begins with rstp://, which is not"),
        ("admin:geheim@cam/1", r"^source \*\*\*@cam/1 does not exist"),
        ("0001", "source 0001 does not exist"),
        ("x" * 5000, "xxx… does not exist"),
    ],
)
def test_what_is_no_source(spec, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        opening.open_source(spec)
    assert "heim" not in str(caught.value)
