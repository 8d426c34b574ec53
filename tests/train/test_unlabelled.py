"""Pictures of the user's own cameras: videos and images without labels."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import UserError
from train.data.pictures import JoinedSource, PictureSource, decode_picture, encode_picture
from train.data.prepared import VIDEO_QUALITY
from train.data.sample import Sample
from train.data.sources import MotSource
from train.data.unlabelled import WithoutLabels, open_unlabelled

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FRAMES = 12


def shade_of(sample: Sample) -> int:
    """Every test picture is of one shade, its number times ten."""
    return round(float(sample.image.mean()) / 10)


def shades(source: PictureSource) -> list[int]:
    return [shade_of(source[index]) for index in range(len(source))]


def write_video(path: Path, first: int = 1, frames: int = FRAMES) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    assert writer.isOpened()
    for number in range(first, first + frames):
        writer.write(np.full((48, 64, 3), 10 * number, np.uint8))
    writer.release()


def write_images(folder: Path, count: int = FRAMES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):  # no leading zeros: 10 must come after 9
        cv2.imwrite(str(folder / f"{number}.png"), np.full((48, 64, 3), 10 * number, np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One video, a folder of two, a folder of images and a sequence."""
    root = tmp_path_factory.mktemp("camera")
    write_video(root / "one.avi")
    (root / "two").mkdir()
    write_video(root / "two" / "c10.avi", first=13)
    write_video(root / "two" / "c9.avi")
    (root / "two" / "._c9.avi").write_bytes(b"left by another system")
    (root / "two" / "notes.txt").write_text("not a picture")
    write_images(root / "images")
    write_images(root / "sequence" / "img1")
    return root


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "sequence" / "img1").mkdir(parents=True)
    with pytest.raises(UserError, match=r"missing\.mp4 does not exist"):
        open_unlabelled(tmp_path / "missing.mp4")
    for name in ("empty", "sequence"):
        with pytest.raises(UserError, match=f"{name} holds neither videos nor images"):
            open_unlabelled(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"just words\n" * 50])
def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "text.mp4").write_bytes(content)
    for path in (tmp_path / "text.mp4", tmp_path):
        with pytest.raises(UserError, match=r"text\.mp4 is not a video") as caught:
            open_unlabelled(path)
        assert "\n" not in str(caught.value)


def test_one_image_and_mixed_folders_are_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="is a single image"):
        open_unlabelled(folder / "images" / "1.png")
    write_images(tmp_path, 2)
    write_video(tmp_path / "a.avi")
    with pytest.raises(UserError, match="holds 2 images and 1 videos"):
        open_unlabelled(tmp_path)


@pytest.mark.parametrize("name", ["one.avi", "two", "images", "sequence"])
def test_pictures_have_no_labels(folder: Path, name: str) -> None:
    source = open_unlabelled(folder / name)
    assert source.name == name
    assert not source.labelled
    assert (source.num_ids, source.num_classes) == (0, 1)
    sample = source[3]
    assert not sample.labelled
    assert sample.image.shape == (48, 64, 3) and sample.image.dtype == np.uint8
    assert sample.boxes_xyxy.shape == (0, 4) and sample.boxes_xyxy.dtype == np.float32
    assert len(sample.classes) == len(sample.ids) == 0
    assert sample.classes.dtype == sample.ids.dtype == np.int64


@pytest.mark.parametrize("name", ["one.avi", "images", "sequence"])
def test_which_frames(folder: Path, name: str) -> None:
    path = folder / name
    assert shades(open_unlabelled(path)) == list(range(1, 13))
    assert shades(open_unlabelled(path, frames=[(3, 5)])) == [3, 4, 5]
    assert shades(open_unlabelled(path, frames=[(3, 12)], every=4)) == [3, 7, 11]
    assert shades(open_unlabelled(path, frames=[(11, 500)])) == [11, 12]
    assert shades(open_unlabelled(path, every=50)) == [1]
    assert shades(open_unlabelled(path, frames=[(1, 3), (6, 9), (11, 99)])) == [
        1,
        2,
        3,
        *range(6, 10),
        11,
        12,
    ]
    assert shades(open_unlabelled(path, frames=[(1, 3), (6, 9), (11, 99)], every=2)) == [
        1,
        3,
        7,
        9,
        12,
    ]
    assert shades(open_unlabelled(path, frames=[(1, 2), (40, 50)])) == [1, 2]


@pytest.mark.parametrize("name", ["one.avi", "two", "images", "sequence"])
def test_ranges_that_hold_nothing(folder: Path, name: str) -> None:
    with pytest.raises(UserError, match="has 12 frames, the range begins at 13"):
        open_unlabelled(folder / name, frames=[(13, 20)])
    with pytest.raises(UserError, match="frames 5 to 3"):
        open_unlabelled(folder / name, frames=[(5, 3)])


def test_a_folder_of_videos_is_joined_in_the_order_of_numbers(folder: Path) -> None:
    source = open_unlabelled(folder / "two")
    assert isinstance(source, JoinedSource)
    assert shades(source) == [*range(1, 13), *range(13, 25)]
    # A range holds for each of the videos.
    assert shades(open_unlabelled(folder / "two", frames=[(2, 3)])) == [2, 3, 14, 15]


def test_images_are_read_when_drawn(tmp_path: Path) -> None:
    write_images(tmp_path, 3)
    source = open_unlabelled(tmp_path)
    (tmp_path / "2.png").write_bytes(b"damaged since")
    assert shade_of(source[2]) == 3
    with pytest.raises(UserError, match=r"2\.png is not a readable image"):
        source[1]


def test_frames_look_the_same_whatever_was_cached(folder: Path) -> None:
    # What a teacher saw is found again by the picture's pixels.
    roomy, tight = (
        open_unlabelled(folder / "one.avi", video_cache_mb=limit) for limit in (8, 0.0001)
    )
    raw = np.full((48, 64, 3), 50, np.uint8)
    expected = decode_picture(encode_picture(raw, VIDEO_QUALITY), "frame")
    assert np.abs(roomy[4].image.astype(int) - expected).max() <= 3
    for index in (4, 0, 11, 4):
        np.testing.assert_array_equal(roomy[index].image, tight[index].image)


def test_sources_travel_to_other_processes(folder: Path) -> None:
    for name in ("one.avi", "two", "images"):
        source = open_unlabelled(folder / name)
        copy = pickle.loads(pickle.dumps(source))
        assert shades(copy) == shades(source)


def test_labels_can_be_hidden(tiny_sequence: Path) -> None:
    source = MotSource(tiny_sequence)
    hidden = WithoutLabels(source)
    assert len(hidden) == len(source) == 12
    assert (hidden.name, hidden.num_ids, hidden.labelled) == (source.name, 0, False)
    sample = hidden[5]
    assert sample.boxes_xyxy.shape == (0, 4)
    assert len(sample.classes) == len(sample.ids) == len(sample.rows) == 0
    assert not sample.labelled
    np.testing.assert_array_equal(sample.image, source[5].image)
    assert len(source[5].boxes_xyxy) == 3


def test_real_data() -> None:
    if not (DATA / "unlabelled").is_dir():
        pytest.skip("no shared data")
    # The folder holds one video; so does that of a labelled sequence.
    source = open_unlabelled(DATA / "unlabelled", frames=[(1, 501)], every=100, video_cache_mb=8)
    assert len(source) == 6
    assert source[5].image.shape == (480, 640, 3)
