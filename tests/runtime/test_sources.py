"""Sources: what they yield, and one clear line for what they cannot."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from runtime import UserError
from runtime.mot import SequenceInfo, write_sequence_info
from runtime.opencv import cv2
from runtime.sources import open_source
from tests.runtime.conftest import SIZE_WH, blob_frame, write_images, write_video

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def sequence(folder: Path, length: int, image_dir: str = "img1") -> Path:
    folder.mkdir(exist_ok=True)
    write_sequence_info(folder, SequenceInfo("walk", 7.0, length, SIZE_WH, image_dir))
    return folder


def test_empty_folder(tmp_path):
    with pytest.raises(UserError, match="holds no images"):
        open_source(tmp_path)


def test_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match="holds no images"):
        open_source(tmp_path)


def test_missing_path(tmp_path):
    with pytest.raises(UserError, match=r"gone\.mp4 does not exist"):
        open_source(tmp_path / "gone.mp4")


@pytest.mark.parametrize(
    "content", [b"", b"just text\n" * 900, b"\0\1\2" * 3000], ids=["empty", "text", "binary"]
)
@pytest.mark.parametrize("name", ["clip.mp4", "clip.txt"])
def test_file_that_is_no_video(tmp_path, capfd, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{re.escape(name)} is not a video"):
        open_source(path)
    assert capfd.readouterr().err == ""


def test_single_image(tmp_path):
    write_images(tmp_path, 1)
    with pytest.raises(UserError, match="single image"):
        open_source(tmp_path / "frame0.png")


@pytest.mark.parametrize("fps", [0.0, -5.0, float("nan")])
def test_wrong_frame_rate(video, fps):
    with pytest.raises(UserError, match="frame rate"):
        open_source(video, fps)


def test_video_can_be_iterated_again(video):
    with open_source(video) as source:
        assert (source.name, source.fps, source.size_wh) == ("blobs", 10.0, SIZE_WH)
        assert source.length == 20
        first, second = list(source), list(source)
    assert len(first) == len(second) == 20
    for index, frame in enumerate(first):
        assert frame.dtype == np.uint8 and frame.shape == (SIZE_WH[1], SIZE_WH[0], 3)
        # Motion JPEG is lossy: the frame is the right one, not the same to the byte.
        assert np.abs(frame.astype(int) - blob_frame(index)).mean() < 3
        np.testing.assert_array_equal(frame, second[index])


def test_given_frame_rate_wins(video):
    assert open_source(video, fps=12.5).fps == 12.5


def test_cut_video_yields_what_decodes_and_then_tells(cut_video):
    frames = []
    with pytest.raises(UserError, match=r"cut\.avi ended after (\d+) of 20 frames") as caught:
        for frame in open_source(cut_video):
            frames.append(frame)
    assert 0 < len(frames) < 18
    assert f"after {len(frames)} of" in str(caught.value)


@pytest.mark.parametrize("codec", ["MJPG", "mp4v"])
@pytest.mark.parametrize(("share", "fewest"), [(0.02, 95), (0.3, 60)])
def test_frames_behind_a_damage_are_used(tmp_path, capfd, codec, share, fewest):
    path = tmp_path / ("clip.avi" if codec == "MJPG" else "clip.mp4")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10.0, SIZE_WH)
    for index in range(100):
        # The last frames can be told from those before the damage.
        writer.write(blob_frame(index) if index < 90 else np.full_like(blob_frame(0), 250))
    writer.release()
    content = bytearray(path.read_bytes())
    start, size = len(content) // 2, int(share * len(content))
    content[start : start + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(content)
    frames = []
    try:
        for frame in open_source(path):
            frames.append(frame)
    except UserError as error:
        assert "ended after" in str(error) and share > 0.02
    assert fewest <= len(frames) <= 100
    assert frames[-1].mean() > 240
    captured = capfd.readouterr()
    # FFmpeg says nothing of its own, and we at most one thing.
    told = captured.err.splitlines()
    assert not captured.out and len(told) <= 1
    assert all(line.startswith("warning: clip has ") for line in told)


def test_video_without_frames(tmp_path):
    path = tmp_path / "empty.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, SIZE_WH)
    writer.release()
    with pytest.raises(UserError, match=r"empty\.avi is not a video"):
        open_source(path)


def test_damaged_frames_do_not_end_a_video(tmp_path, capfd):
    path = write_video(tmp_path / "clip.avi")
    whole = list(open_source(path))
    content = bytearray(path.read_bytes())
    position = content.find(b"movi") + 4
    for index in range(20):
        size = int.from_bytes(content[position + 4 : position + 8], "little")
        if index in (7, 8, 9, 15):
            content[position + 8 : position + 8 + size] = bytes(size)
        position += 8 + size + size % 2
    path.write_bytes(content)
    frames = list(open_source(path))
    stand_ins = {7: 6, 8: 6, 9: 6, 15: 14}
    assert len(frames) == 20
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame, whole[stand_ins.get(index, index)])
    assert not np.shares_memory(frames[6], frames[7])
    assert "clip has 4 damaged frames among the first 20" in capfd.readouterr().err


def test_header_off_by_two_is_tolerated(video):
    source = open_source(video)
    source.length = 22
    assert len(list(source)) == 20
    source.length = 23
    with pytest.raises(UserError, match="20 of 23"):
        list(source)


def test_images_come_in_natural_order(tmp_path):
    source = open_source(write_images(tmp_path / "walk", 12))
    assert (source.name, source.fps, source.length) == ("walk", 30.0, 12)
    for index, frame in enumerate(source):
        np.testing.assert_array_equal(frame, blob_frame(index))


def test_pattern_of_images(tmp_path, monkeypatch):
    write_images(tmp_path / "walk", 12)
    (tmp_path / "walk" / "frame1.txt").write_text("no image")
    source = open_source(str(tmp_path / "walk" / "frame1*"), fps=5)
    assert (source.name, source.fps, source.length) == ("walk", 5, 3)
    for index, frame in zip((1, 10, 11), source, strict=True):
        np.testing.assert_array_equal(frame, blob_frame(index))
    monkeypatch.chdir(tmp_path / "walk")
    assert open_source("*.png").name == "walk"
    assert open_source("../**/*[0-4].png").length == 7


def test_pattern_that_matches_no_image(tmp_path):
    (tmp_path / "a.txt").write_text("no image")
    with pytest.raises(UserError, match=r"no image is named like .*\*: check the pattern"):
        open_source(str(tmp_path / "*"))


def test_file_whose_name_looks_like_a_pattern(video, tmp_path):
    path = tmp_path / "walk[1]?.avi"
    path.write_bytes(video.read_bytes())
    assert open_source(str(path)).length == 20


def test_unreadable_image_is_named(tmp_path):
    write_images(tmp_path, 3)
    (tmp_path / "frame1.png").write_bytes(b"not a png")
    source = iter(open_source(tmp_path))
    next(source)
    with pytest.raises(UserError, match=r"frame1\.png cannot be read"):
        next(source)


def test_image_of_another_size_is_named(tmp_path):
    write_images(tmp_path, 2)
    cv2.imwrite(str(tmp_path / "frame2.png"), np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(UserError, match=r"frame2\.png is 10x10"):
        list(open_source(tmp_path))


def test_sequence_of_images_takes_name_and_rate_from_its_description(tmp_path):
    folder = sequence(tmp_path / "s", 3)
    write_images(folder / "img1", 3)
    with open_source(folder) as source:
        assert (source.name, source.fps, source.length) == ("walk", 7.0, 3)
    assert open_source(folder, fps=14).fps == 14


def test_sequence_of_a_video(tmp_path):
    folder = sequence(tmp_path / "s", 5)
    write_video(folder / "anything.avi", 5)
    with open_source(folder) as source:
        assert (source.name, source.fps, len(list(source))) == ("walk", 7.0, 5)


def test_sequence_with_missing_images(tmp_path):
    folder = sequence(tmp_path / "s", 5)
    write_images(folder / "img1", 3)
    with pytest.raises(UserError, match=r"holds 3 images, seqinfo\.ini promises 5"):
        open_source(folder)


@pytest.mark.parametrize("videos", [0, 2])
def test_sequence_without_a_clear_video(tmp_path, videos):
    folder = sequence(tmp_path / "s", 5)
    for number in range(videos):
        write_video(folder / f"{number}.avi", 2)
    with pytest.raises(UserError, match=rf"found {videos}"):
        open_source(folder)


@pytest.mark.parametrize(
    ("path", "fps", "length"),
    [
        ("PETS09-S2L1", 7.0, 795),
        ("TUD-Stadtmitte", 25.0, 179),
        ("unlabelled/elevated-path.mp4", 10.0, 501),
    ],
)
def test_real_videos_are_whole(path, fps, length):
    if not (SHARED / path).exists():
        pytest.skip("shared data is not here")
    with open_source(SHARED / path) as source:
        assert (source.fps, source.length) == (fps, length)
        assert sum(1 for _ in source) == length
