"""Sinks: whole files under their names, whatever happens."""

from __future__ import annotations

import numpy as np
import pytest

from runtime import Tracks, UserError
from runtime.mot import read_mot
from runtime.opencv import cv2
from runtime.sinks import MotWriter, OverlayWriter, Trails, draw_tracks
from runtime.sinks.drawing import track_colour

ONE = Tracks([3], [[20, 30, 60, 100]], [0.8], [0])


def test_no_tracks_give_an_empty_file(tmp_path):
    with MotWriter(tmp_path / "t.txt") as writer:
        writer.write(1, Tracks())
    assert (tmp_path / "t.txt").read_text() == ""


def test_rows_can_be_read_back(tmp_path):
    with MotWriter(tmp_path / "t.txt") as writer:
        writer.write(1, ONE)
        writer.write(2, Tracks())
        writer.write(3, ONE)
    rows = read_mot(tmp_path / "t.txt")
    assert rows.frames.tolist() == [1, 3] and rows.ids.tolist() == [3, 3]
    np.testing.assert_allclose(rows.boxes_ltwh, [[20, 30, 40, 70]] * 2)


def test_a_model_of_several_classes_writes_them_as_ground_truth_does(tmp_path):
    with MotWriter(tmp_path / "t.txt", with_class=True) as writer:
        writer.write(1, Tracks([3, 4], [[20, 30, 60, 100]] * 2, [0.8, 0.7], [0, 5]))
    assert read_mot(tmp_path / "t.txt").classes.tolist() == [1, 6]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UserError("the video is cut")])
def test_what_was_tracked_is_kept_when_the_source_ends_early(tmp_path, error):
    path = tmp_path / "t.txt"
    with pytest.raises(type(error)), MotWriter(path) as writer:
        writer.write(1, ONE)
        assert not path.exists()
        raise error
    assert path.read_text().startswith("1,3,")
    assert list(tmp_path.iterdir()) == [path]


def test_a_fault_leaves_what_stood_there_before(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), MotWriter(path) as writer:
        writer.write(1, ONE)
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_missing_directory_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*t\.txt"), MotWriter(tmp_path / "x/t.txt"):
        pass


def test_drawing_nothing_changes_nothing():
    frame = np.full((60, 80, 3), 90, np.uint8)
    picture = draw_tracks(frame, Tracks())
    np.testing.assert_array_equal(picture, frame)
    assert picture is not frame


def test_box_and_label_have_the_colour_of_the_identity():
    frame = np.zeros((200, 200, 3), np.uint8)
    picture = draw_tracks(frame, ONE)
    colour = track_colour(3)
    # Anti-aliasing spreads a little of the line over its neighbours.
    np.testing.assert_allclose(picture[[65, 100], [20, 40]], [colour] * 2, atol=30)
    assert (picture[65, 40] == 0).all() and (frame == 0).all()
    assert (picture[:30] == colour).all(axis=2).sum() > 50


def test_boxes_beyond_the_border_are_drawn():
    frame = np.zeros((50, 50, 3), np.uint8)
    beyond = Tracks([1, 2], [[-30, -30, 20, 20], [40, 40, 900, 900]], [0.5] * 2, [0, 5])
    assert draw_tracks(frame, beyond, ("person", "car")).any()


def test_neighbouring_identities_look_different():
    colours = np.array([track_colour(i) for i in range(1, 30)])
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 100


def test_trails_follow_the_feet_and_end():
    trails = Trails(3)
    for x in range(5):
        trails.add(Tracks([1], [[x, 0, x + 10, 20]], [0.9], [0]))
    np.testing.assert_allclose(trails.lines()[1], [[7, 20], [8, 20], [9, 20]])
    for _ in range(3):
        trails.add(Tracks())
    assert trails.lines() == {}


def test_overlay_plays(tmp_path, capfd):
    path = tmp_path / "overlay.webm"
    frame = np.full((120, 160, 3), 60, np.uint8)
    with OverlayWriter(path, 10.0, (160, 120)) as writer:
        for _ in range(7):
            writer.write(frame, ONE)
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert len(frames) == 7 and frames[0].shape == frame.shape
    assert np.abs(frames[3].astype(int) - 60).max() > 60
    assert list(tmp_path.iterdir()) == [path]
    assert capfd.readouterr().err == ""


def test_encoder_that_does_not_open_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2.VideoWriter, "isOpened", lambda self: False, raising=False)
    with (
        pytest.raises(UserError, match="use --no-overlay"),
        OverlayWriter(tmp_path / "o.webm", 10.0, (160, 120)),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
