"""The overlay video: it plays, in the right size and time, up to the last frame written."""

from __future__ import annotations

import os

import numpy as np
import pytest

from runtime import Tracks, UserError
from runtime.opencv import cv2
from runtime.sinks import OverlayWriter, growing, webm
from runtime.sources import open_source
from tests.runtime.results import FillingDisk, read_video, result


def write(path, results, fps=10.0, size_wh=(160, 120)):
    with OverlayWriter(path, fps, size_wh) as writer:
        for one in results:
            writer.write(one)


def test_without_frames_it_is_a_header(tmp_path, capfd):
    write(tmp_path / "o.webm", [])
    assert 0 < (tmp_path / "o.webm").stat().st_size < 1000
    assert capfd.readouterr().err == ""


def test_overlay_plays(tmp_path, capfd):
    path = tmp_path / "overlay.webm"
    write(path, map(result, range(7)))
    frames, times = read_video(path)
    assert len(frames) == 7 and frames[0].shape == (120, 160, 3)
    assert np.abs(frames[3].astype(int) - 60).max() > 60
    np.testing.assert_allclose(times, np.arange(7) * 100)
    assert list(tmp_path.iterdir()) == [path]
    assert capfd.readouterr().err == ""


def test_it_is_a_source_again(tmp_path):
    write(tmp_path / "o.webm", (result(index, fps=29.97) for index in range(40)), fps=29.97)
    source = open_source(tmp_path / "o.webm")
    assert source.length == 40 and source.fps == pytest.approx(29.97, abs=0.01)
    assert len(list(source)) == 40


def test_it_can_be_sought_in(tmp_path):
    levels = [40 + 3 * index for index in range(60)]
    write(tmp_path / "o.webm", (result(at, brightness=level) for at, level in enumerate(levels)))
    frames, _ = read_video(tmp_path / "o.webm")
    capture = cv2.VideoCapture(str(tmp_path / "o.webm"))
    for index in (50, 7, 31):
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        np.testing.assert_array_equal(capture.read()[1], frames[index])


def elements(content: bytes, start: int, end: int) -> list[tuple[int, int, bytes]]:
    """Return identifier, position and content of the Matroska elements that fill a range."""
    found = []
    at = start
    while at < end:
        width = 9 - content[at].bit_length()
        assert content[at + width] == 1, "a size of eight bytes"
        size = int.from_bytes(content[at + width + 1 : at + width + 8], "big")
        body = at + width + 8
        found.append((int.from_bytes(content[at : at + width], "big"), at, body, body + size))
        at = body + size
    assert at == end
    return [(identifier, at, content[body:end]) for identifier, at, body, end in found]


def test_the_finished_container_is_consistent(tmp_path):
    write(tmp_path / "o.webm", (result(index, fps=2.0) for index in range(80)), fps=2.0)
    content = (tmp_path / "o.webm").read_bytes()
    _, (identifier, _, segment) = elements(content, 0, len(content))
    assert identifier == webm.SEGMENT
    inner = elements(segment, 0, len(segment))
    places = {at: identifier for identifier, at, _ in inner}
    clusters = [one for one in inner if one[0] == webm.CLUSTER]
    blocks = [block for _, _, body in clusters for block in elements(body, 0, len(body))]
    assert sum(identifier == 0xA3 for identifier, _, _ in blocks) == 80
    ((_, _, seek),) = elements(inner[0][2], 0, len(inner[0][2]))
    position = elements(seek, 0, len(seek))[1][2]
    assert places[int.from_bytes(position, "big")] == webm.CUES
    cues = inner[-1][2]
    points = [elements(body, 0, len(body)) for _, _, body in elements(cues, 0, len(cues))]
    assert len(points) > 4
    for (_, _, time), (_, _, where) in points:
        cluster = int.from_bytes(elements(where, 0, len(where))[1][2], "big")
        assert places[cluster] == webm.CLUSTER
        body = next(body for _, at, body in clusters if at == cluster)
        assert elements(body, 0, len(body))[0][2] == time


def test_a_pause_of_the_source_stays_a_pause(tmp_path):
    results = [result(index) for index in range(6)]
    for one in results[3:]:
        one.timestamp += 100.0
    # A clock that stands still must not stop the video.
    results[5].timestamp = results[4].timestamp
    write(tmp_path / "o.webm", results)
    frames, times = read_video(tmp_path / "o.webm")
    assert len(frames) == 6
    np.testing.assert_allclose(times, [0, 100, 200, 100_300, 100_400, 100_401])


def test_frames_of_another_size_are_fitted_in(tmp_path):
    nobody = Tracks()
    sizes = [(160, 120), (160, 60), (320, 240), (61, 121)]
    write(
        tmp_path / "o.webm",
        (result(index, nobody, size, brightness=200) for index, size in enumerate(sizes)),
    )
    frames, _ = read_video(tmp_path / "o.webm")
    assert [frame.shape for frame in frames] == [(120, 160, 3)] * 4
    assert frames[1][60, 80].min() > 180 and frames[1][10].max() < 30
    assert frames[2].min() > 180


def test_an_odd_size_loses_a_row_and_a_column(tmp_path):
    write(
        tmp_path / "o.webm", (result(i, size_wh=(161, 121)) for i in range(2)), size_wh=(161, 121)
    )
    assert read_video(tmp_path / "o.webm")[0][1].shape == (120, 160, 3)


def test_a_frame_may_be_larger_than_a_pipe_holds(tmp_path):
    noise = result(0, Tracks(), (640, 480))
    noise.frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    write(tmp_path / "o.webm", [noise], size_wh=(640, 480))
    assert (tmp_path / "o.webm").stat().st_size > 1 << 16
    assert len(read_video(tmp_path / "o.webm")[0]) == 1


def test_a_full_disk_leaves_the_frames_before(tmp_path, monkeypatch):
    path = tmp_path / "o.webm"
    room = 6000
    with (
        pytest.raises(UserError, match=r"cannot write .*o\.webm \(No space"),
        OverlayWriter(path, 10.0, (160, 120)) as writer,
    ):
        monkeypatch.setattr(growing.os, "pwrite", FillingDisk(os.pwrite, room))
        for index in range(200):
            count = index
            writer.write(result(index, brightness=40 + index % 9 * 20))
    assert 0 < count < 199 and path.stat().st_size <= room + 1000
    assert len(read_video(path)[0]) == count
    assert list(tmp_path.iterdir()) == [path]


def test_an_encoder_that_does_not_open_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2.VideoWriter, "isOpened", lambda self: False, raising=False)
    with pytest.raises(UserError, match="use --no-overlay"):
        write(tmp_path / "o.webm", [])
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_gives_nothing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(webm, "ENCODER_SECONDS", 0.05)
    monkeypatch.setattr(cv2.VideoWriter, "write", lambda self, frame: None, raising=False)
    with pytest.raises(UserError, match="encoder stopped"):
        write(tmp_path / "o.webm", [result(0)])
