"""The contact sheet."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from runtime.errors import UserError
from runtime.sinks.drawing import track_colour
from train.data.cli import cli
from train.data.index import DatasetIndex, Split, write_list
from train.data.labels import Labels, label_path
from train.data.show import SheetOptions, spread, write_sheet
from train.data.tile import draw_tile

GREY = 90


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Ten flat grey pictures of two sizes; the odd ones have an object."""
    names = [f"images/train/{number:02d}.png" for number in range(10)]
    for number, name in enumerate(names):
        height = 120 if number % 2 else 60
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.full((height, 100, 3), GREY, np.uint8))
        labels = Labels.from_ltwh(np.array([[30.0, 40, 30, 60]]), (100, height), np.array([number]))
        file = tmp_path / label_path(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(labels.to_text() if number % 2 else "")
    write_list(tmp_path / "flat.train", names)
    write_list(tmp_path / "flat.val", [])
    splits = {"val": Split("flat.val", 0, 0, 0), "train": Split("flat.train", 10, 5, 5)}
    DatasetIndex(tmp_path, "flat", ("person",), 10, splits).save()
    return tmp_path


def test_an_empty_split_gives_an_empty_sheet(flat):
    assert write_sheet(flat, flat / "sheet.png", "val") == ("val", 0)
    sheet = cv2.imread(str(flat / "sheet.png"))
    assert sheet.shape[1] == 1600


def test_pictures_without_objects_stay_as_they_are():
    image = np.full((50, 100, 3), GREY, np.uint8)
    tile = draw_tile(image, Labels.empty(), 150)
    assert tile.shape == (75, 150, 3)
    assert (tile == GREY).all()


def test_a_box_is_drawn_at_its_place_in_its_colour():
    image = np.full((200, 200, 3), GREY, np.uint8)
    labels = Labels.from_ltwh(np.array([[50.0, 60, 60, 100]]), (200, 200), np.array([7]))
    tile = draw_tile(image, labels, 100)
    assert tile.shape == (100, 100, 3)
    for x, y in ((25, 50), (55, 50), (40, 80)):  # left, right and lower side at half the size
        assert tuple(tile[y, x]) == track_colour(7)
    for x, y in ((40, 60), (20, 50), (60, 50)):
        assert tuple(tile[y, x]) == (GREY,) * 3
    assert (image == GREY).all()


def test_unknown_identities_are_white_and_have_no_number():
    image = np.full((100, 100, 3), GREY, np.uint8)
    labels = Labels.from_ltwh(np.array([[20.0, 40, 30, 50]]), (100, 100), np.array([-1]))
    tile = draw_tile(image, labels, 100)
    assert tuple(tile[60, 20]) == (255, 255, 255)
    assert (tile[:38] == GREY).all()
    with_class = draw_tile(image, labels, 100, ("fish", "crab"))
    assert not (with_class[:38] == GREY).all()


def test_labels_never_cover_each_other():
    """Many boxes at one place: some labels are left out, all boxes are drawn."""
    image = np.full((100, 100, 3), GREY, np.uint8)
    boxes = np.array([[30.0 + shift, 40, 20, 30] for shift in range(8)])
    labels = Labels.from_ltwh(boxes, (100, 100), np.arange(100, 108))
    tile = draw_tile(image, labels, 100)
    assert tile[45:65].reshape(-1, 3).tolist().count(list(track_colour(107))) > 0
    filled = [
        identity
        for identity in range(100, 108)
        if (tile == track_colour(identity)).all(axis=2).sum() > 150
    ]
    assert 1 <= len(filled) < 8


def test_boxes_at_and_beyond_the_border_do_no_harm():
    boxes = np.array([[-50.0, -50, 300, 300], [95, 95, 40, 40], [0, 0, 1, 1]])
    labels = Labels.from_ltwh(boxes, (100, 100), np.array([0, 1, 2]))
    assert draw_tile(np.zeros((100, 100, 3), np.uint8), labels, 100).shape == (100, 100, 3)


def test_spread_covers_the_whole_length():
    places = spread(1000, 24, seed=3)
    assert len(places) == 24
    assert max(np.diff([0, *places, 1000])) <= 2 * 1000 / 24 + 1
    assert places == spread(1000, 24, seed=3)
    assert places != spread(1000, 24, seed=4)


def test_the_sheet_holds_every_picture(flat):
    options = SheetOptions(columns=4, width=800)
    assert write_sheet(flat, flat / "sheet.png", options=options) == ("train", 10)
    sheet = cv2.imread(str(flat / "sheet.png"))
    width = (800 - 12) // 4 - 12
    assert sheet.shape[1] == 800
    # Three rows, each as high as its tallest picture: 1.2 times as high as wide.
    assert abs(sheet.shape[0] - (40 + 3 * (round(1.2 * width) + 32))) <= 3
    covered = (sheet == GREY).all(axis=2).sum()
    assert covered > 0.8 * 10 * 0.9 * width * width
    for identity in (1, 3, 5, 7, 9):
        assert (sheet == track_colour(identity)).all(axis=2).any()
    write_sheet(flat, flat / "again.png", options=options)
    assert (flat / "again.png").read_bytes() == (flat / "sheet.png").read_bytes()


def test_unreadable_pictures_keep_their_place(flat):
    (flat / "images/train/03.png").write_text("no picture")
    (flat / "images/train/04.png").unlink()
    assert write_sheet(flat, flat / "sheet.png") == ("train", 10)


def test_frames_of_a_video(tmp_path):
    video = tmp_path / "images" / "train" / "S1.avi"
    video.parent.mkdir(parents=True)
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for number in range(8):
        writer.write(np.full((64, 96, 3), 30 * number, np.uint8))
    writer.release()
    names = ["images/train/S1.avi#2", "images/train/S1.avi#7", "images/train/S1.avi#9"]
    write_list(tmp_path / "v.train", names)
    DatasetIndex(tmp_path, "v", ("person",), 0, {"train": Split("v.train", 3, 0, 0)}).save()
    options = SheetOptions(columns=3, width=600)
    assert write_sheet(tmp_path, tmp_path / "s.png", options=options) == ("train", 3)
    sheet = cv2.imread(str(tmp_path / "s.png"))
    middles = [int(sheet[80, 12 + column * 196 + 90].mean()) for column in range(2)]
    assert middles == pytest.approx([30, 180], abs=4)


def test_wrong_wishes(flat):
    with pytest.raises(UserError, match="choose val, train"):
        write_sheet(flat, flat / "sheet.png", "test")
    with pytest.raises(UserError, match="suffix"):
        write_sheet(flat, flat / "sheet.pdf")
    (flat / label_path("images/train/01.png")).write_text("0 1 2\n")
    with pytest.raises(UserError, match="line 1"):
        write_sheet(flat, flat / "sheet.png")
    assert not list(flat.glob("*sheet*"))


def test_the_command(flat):
    out = flat / "sheet.jpg"
    result = CliRunner().invoke(
        cli, ["show", str(flat), "-o", str(out), "--pictures", "4"], standalone_mode=False
    )
    assert result.exception is None
    assert "4 pictures of train" in result.output
    assert cv2.imread(str(out)).shape[1] == 1600
