"""Frames read at random are those read in order, whatever the container promises."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.opencv import cv2, silenced_stderr
from train.data.pictures import decode_picture, encode_picture
from train.data.video import FrameCache, VideoFrames

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
KINDS = {"mjpeg": ("MJPG", "avi"), "vp8": ("VP80", "webm"), "vp9": ("VP90", "webm")}
FRAMES = 90


def write_video(path: Path, fourcc: str, frames: int = FRAMES, still: bool = False) -> None:
    """A square that wanders over noise; every frame differs from every other unless still."""
    background = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    with silenced_stderr():
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), 25, (64, 48))
        assert writer.isOpened()
        for number in range(0 if still else frames):
            frame = background.copy()
            left, top = number * 7 % 50, number * 3 % 36
            frame[top : top + 12, left : left + 12] = (number, 255 - number, 90)
            writer.write(frame)
        for _ in range(frames if still else 0):
            writer.write(background)
        writer.release()


def in_order(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        whole, frame = capture.read()
        if not whole:
            return frames
        frames.append(frame)


@pytest.fixture(scope="module", params=KINDS)
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    fourcc, suffix = KINDS[request.param]
    path = tmp_path_factory.mktemp("video") / f"{request.param}.{suffix}"
    write_video(path, fourcc)
    return path


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.avi").write_bytes(b"")
    for name in ("empty.avi", "missing.avi"):
        with pytest.raises(UserError, match=name):
            VideoFrames(tmp_path / name)


def test_frames_at_random_equal_frames_in_order(video: Path) -> None:
    expected = in_order(video)
    frames = VideoFrames(video, FrameCache(0.05))
    assert len(frames) == len(expected) == FRAMES
    assert frames.size_wh == (64, 48)
    order = np.random.default_rng(1).integers(FRAMES, size=150)
    for index in [*order.tolist(), FRAMES - 1, 0, FRAMES - 1, 5, 6, 7, 4]:
        np.testing.assert_array_equal(frames.read(index + 1), expected[index], str(index))


@pytest.mark.parametrize("number", [0, -1, FRAMES + 1])
def test_frames_that_do_not_exist_are_refused(video: Path, number: int) -> None:
    with pytest.raises(UserError, match=rf"has {FRAMES} frames, frame {number} was asked for"):
        VideoFrames(video).read(number)


@pytest.mark.parametrize(
    "name", ["unlabelled/elevated-path.mp4", "PETS09-S2L1/vtest.avi", "TUD-Stadtmitte/*.mp4"]
)
def test_real_videos_at_random(name: str) -> None:
    found = sorted(DATA.glob(name))
    if not found:
        pytest.skip("no shared data")
    frames = VideoFrames(found[0], FrameCache(1))
    asked = np.random.default_rng(2).permutation(len(frames))[:12] + 1
    capture = cv2.VideoCapture(str(found[0]))
    expected = {}
    for number in range(1, int(asked.max()) + 1):
        assert capture.grab()
        if number in asked:
            expected[number] = capture.retrieve()[1]
    for number in asked.tolist():
        np.testing.assert_array_equal(frames.read(number), expected[number])


class MissesByFive:
    """A decoder whose seeks end five frames late, as those of some containers do."""

    seeks = 0

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture

    def set(self, prop: int, value: float) -> bool:
        MissesByFive.seeks += 1
        return self._capture.set(prop, value + 5)

    def __getattr__(self, name: str) -> object:
        return getattr(self._capture, name)


def test_a_seek_that_misses_is_noticed(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = in_order(video)
    frames = VideoFrames(video)
    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda *given: MissesByFive(opened(*given)))
    for index in (40, 80, 20, 89):
        np.testing.assert_array_equal(frames.read(index + 1), expected[index])
    assert MissesByFive.seeks


def test_frames_that_look_alike(tmp_path: Path) -> None:
    write_video(tmp_path / "still.avi", "MJPG", 40, still=True)
    frames = VideoFrames(tmp_path / "still.avi")
    expected = in_order(tmp_path / "still.avi")
    for index in (30, 39, 2, 20, 21):
        np.testing.assert_array_equal(frames.read(index + 1), expected[index])


def test_a_file_replaced_after_opening_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    write_video(path, "MJPG", 40)
    frames = VideoFrames(path)
    write_video(path, "MJPG", 40, still=True)
    with pytest.raises(UserError, match=r"a\.avi does not decode as it did"):
        frames.read(17)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.avi", "MJPG")
    content = (tmp_path / "whole.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(UserError, match=r"cut\.avi ended after \d+ of 90 frames"):
        VideoFrames(tmp_path / "cut.avi")


def test_the_cache_is_bounded_and_forgets_the_oldest() -> None:
    cache = FrameCache(limit_mb=30 / 1024)
    frame = np.zeros((64, 54, 3), np.uint8)  # a little over 10 kB
    for number in range(5):
        cache.keep(("v", number), frame + number)
    assert len(cache) == 2
    assert cache.find(("v", 2)) is None
    assert cache.find(("v", 3)) is not None
    cache.keep(("v", 9), frame)
    assert cache.find(("v", 4)) is None and cache.find(("v", 3)) is not None


def test_a_jpeg_cache_shows_the_same_found_or_not(video: Path) -> None:
    expected = in_order(video)[9]
    as_jpeg = decode_picture(encode_picture(expected, 80), "frame")
    filled = VideoFrames(video, FrameCache(8, quality=80), wanted={10, 11})
    bare = VideoFrames(video, FrameCache(8, quality=80))
    for frames in (filled, bare, bare):
        np.testing.assert_array_equal(frames.read(10), as_jpeg)
    assert not np.array_equal(as_jpeg, expected)


def test_wanted_frames_stop_at_the_bound(video: Path) -> None:
    cache = FrameCache(0.05)
    VideoFrames(video, cache, wanted=range(1, FRAMES + 1))
    assert 0 < len(cache) <= 0.05 * 1024 * 1024 // (64 * 48 * 3)
    assert cache.find((str(video), 1)) is not None


def read_in_child(frames: VideoFrames, number: int) -> np.ndarray:
    return np.array(frames.read(number))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_open_decoders_of_their_own(video: Path, method: str) -> None:
    expected = in_order(video)
    frames = VideoFrames(video)
    frames.read(30)  # the decoder is open when the other process begins
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        from_child = pool.submit(read_in_child, frames, 60).result(timeout=60)
    np.testing.assert_array_equal(from_child, expected[59])
    np.testing.assert_array_equal(frames.read(31), expected[30])


def hand_back(number: int) -> np.ndarray:
    return np.array(_inherited.read(number))


_inherited: VideoFrames


def test_a_fork_that_inherits_an_open_decoder(video: Path) -> None:
    global _inherited
    expected = in_order(video)
    _inherited = VideoFrames(video)
    _inherited.read(30)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        np.testing.assert_array_equal(pool.submit(hand_back, 31).result(60), expected[30])
    np.testing.assert_array_equal(_inherited.read(31), expected[30])


def test_a_pickled_video_leaves_decoder_and_cache_behind(video: Path) -> None:
    frames = VideoFrames(video, FrameCache(4), wanted=range(1, FRAMES))
    frames.read(50)
    assert len(pickle.dumps(frames)) < 64 * 48 * 3
    copy = pickle.loads(pickle.dumps(frames))
    np.testing.assert_array_equal(copy.read(50), frames.read(50))
