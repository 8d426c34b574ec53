"""Sinks: text, drawing, many sinks as one, the window."""

from __future__ import annotations

import numpy as np
import pytest

from runtime import Tracks, UserError
from runtime.counting import Counter, Line, Zone
from runtime.mot import read_mot
from runtime.opencv import cv2
from runtime.sinks import (
    MotWriter,
    Painter,
    Sink,
    Sinks,
    StopRequested,
    Trails,
    WindowSink,
    draw_tracks,
    open_sinks,
)
from runtime.sinks.drawing import draw_counts, letterbox, track_colour
from tests.runtime.results import ONE, GreySource, read_video, result


def test_no_tracks_give_an_empty_file(tmp_path):
    with MotWriter(tmp_path / "t.txt") as writer:
        writer.write(result(0, Tracks()))
    assert (tmp_path / "t.txt").read_text() == ""


def test_rows_can_be_read_back(tmp_path):
    with MotWriter(tmp_path / "t.txt") as writer:
        writer.write(result(0))
        writer.write(result(1, Tracks()))
        writer.write_tracks(3, ONE)
    rows = read_mot(tmp_path / "t.txt")
    assert rows.frames.tolist() == [1, 3] and rows.ids.tolist() == [3, 3]
    np.testing.assert_allclose(rows.boxes_ltwh, [[20, 30, 40, 70]] * 2)


def test_a_model_of_several_classes_writes_them_as_ground_truth_does(tmp_path):
    with MotWriter(tmp_path / "t.txt", with_class=True) as writer:
        writer.write_tracks(1, Tracks([3, 4], [[20, 30, 60, 100]] * 2, [0.8, 0.7], [0, 5]))
    assert read_mot(tmp_path / "t.txt").classes.tolist() == [1, 6]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), UserError("the video is cut"), StopRequested()]
)
def test_what_was_tracked_is_kept_when_the_source_ends_early(tmp_path, error):
    path = tmp_path / "t.txt"
    with pytest.raises(type(error)), MotWriter(path) as writer:
        writer.write(result(0))
        assert not path.exists()
        raise error
    assert path.read_text().startswith("1,3,")
    assert list(tmp_path.iterdir()) == [path]


def test_an_early_end_before_the_first_frame_replaces_nothing(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("old")
    with pytest.raises(UserError), MotWriter(path):
        raise UserError("no frames")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_fault_leaves_what_stood_there_before_and_loses_nothing(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), MotWriter(path) as writer:
        writer.write(result(0))
        raise RuntimeError
    assert path.read_text() == "old"
    assert len(read_mot(tmp_path / "t.part.txt")) == 1


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


def counted(tracks: Tracks, size_wh=(160, 120)) -> Counter:
    lines = [Line("door", (20, 60), (140, 60)), Line("edge", (155, 0), (155, 119))]
    zones = [Zone("yard", ((-50, 80), (60, 80), (60, 300)))]
    counter = Counter(lines, zones, ["person"], size_wh=size_wh)
    counter.update(tracks, 0.0)
    return counter


def test_counts_are_drawn_and_stay_within_the_picture():
    picture = np.zeros((120, 160, 3), np.uint8)
    draw_counts(picture, counted(ONE))
    assert (picture[60, 30:60] > 30).any(axis=1).all()
    # A pixel of the zone is tinted, its mirror image is not.
    assert picture[90, 20].any() and not picture[30, 20].any()
    large = np.zeros((240, 320, 3), np.uint8)
    draw_counts(large, counted(ONE))
    assert (large[120, 60:120] > 30).any(axis=1).all()


def test_one_picture_serves_all_sinks_of_a_frame():
    painter = Painter(10.0, counter=counted(ONE))
    first = result(0)
    assert painter.paint(first) is painter.paint(first)
    assert (first.frame == 60).all()
    # Trails start anew in a frame of another size.
    moved = Tracks([3], [[220, 30, 260, 100]], [0.8], [0])
    alone = Painter(10.0, counter=counted(ONE)).paint(result(1, moved, (320, 120)))
    np.testing.assert_array_equal(painter.paint(result(1, moved, (320, 120))), alone)


def test_letterbox_keeps_the_shape():
    picture = np.full((50, 100, 3), 200, np.uint8)
    assert letterbox(picture, (100, 50)) is picture
    fitted = letterbox(picture, (200, 200))
    assert (fitted[50:150] == 200).all() and not fitted[:50].any() and not fitted[150:].any()
    assert letterbox(picture, (10, 1)).shape == (1, 10, 3)


class Recorder(Sink):
    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.seen = []

    def write(self, result):
        self.seen.append(self.counter.tally.lines["door"].inward)


def test_sinks_see_the_tally_of_their_frame():
    counter = Counter([Line("door", (0, 60), (160, 60))], [], ["person"], size_wh=(160, 120))
    recorder = Recorder(counter)
    with Sinks([recorder], counter) as sinks:
        for index, y in enumerate((30, 50, 90, 100)):
            # Half of the frames come at twice the size.
            factor = 1 + index % 2
            tracks = Tracks([1], factor * np.array([[20, y - 20, 30, y]]), [0.9], [0])
            sinks.write(result(index, tracks, (160 * factor, 120 * factor)))
    assert recorder.seen == [{}, {}, {"person": 1}, {"person": 1}]


def test_all_sinks_by_name(tmp_path):
    counter = counted(Tracks())
    names = ["overlay", "mot", "crops", "jsonl", "mot"]
    with open_sinks(
        tmp_path, names, source=GreySource(), classes=["person"], counter=counter
    ) as sinks:
        for index in range(3):
            sinks.write(result(index))
    assert [path.name for path in sinks.paths] == [
        *("tracks.txt", "tracks.jsonl", "overlay.webm", "crops")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in sinks.paths
    )
    assert len(read_mot(tmp_path / "tracks.txt")) == 3
    assert len(read_video(tmp_path / "overlay.webm")[0]) == 3
    assert counter.tally.zones["yard"].present == 1


def test_unknown_sink_is_one_line(tmp_path):
    with pytest.raises(UserError, match="'xml' is unknown: choose from mot, jsonl"):
        open_sinks(tmp_path, ["mot", "xml"], source=GreySource(), classes=[])


def test_sinks_open_together_or_not_at_all(tmp_path):
    (tmp_path / "tracks.txt").write_text("old")
    (tmp_path / "crops").write_text("a file, not a folder")
    sinks = open_sinks(tmp_path, ["mot", "crops"], source=GreySource(), classes=[])
    with pytest.raises(UserError, match="crops"), sinks:
        pass
    assert (tmp_path / "tracks.txt").read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["crops", "tracks.txt"]


class FakeScreen:
    """What of OpenCV draws windows."""

    def __init__(self, monkeypatch, keys=(), closes_at=99) -> None:
        monkeypatch.setenv("DISPLAY", ":0")
        self.shown = []
        self.keys = list(keys)
        visible = lambda *_: 1.0 if len(self.shown) < closes_at else 0.0  # noqa: E731
        monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
        monkeypatch.setattr(cv2, "destroyWindow", lambda *_: None)
        monkeypatch.setattr(cv2, "imshow", lambda title, picture: self.shown.append(picture))
        monkeypatch.setattr(cv2, "waitKey", lambda _: self.keys.pop(0) if self.keys else -1)
        monkeypatch.setattr(cv2, "getWindowProperty", visible)


@pytest.mark.parametrize("how", [{"keys": [-1, ord("q")]}, {"keys": [32, 27]}, {"closes_at": 2}])
def test_q_escape_and_closing_the_window_end_the_run(monkeypatch, tmp_path, how):
    screen = FakeScreen(monkeypatch, **how)
    sinks = [MotWriter(tmp_path / "t.txt"), WindowSink("grey", Painter(10.0))]
    frames = []
    with pytest.raises(StopRequested), Sinks(sinks) as both:
        for index in range(5):
            frames.append(index)
            both.write(result(index))
    assert len(screen.shown) == len(frames) == 2
    assert read_mot(tmp_path / "t.txt").frames.tolist() == [1, 2]


def test_no_display_is_one_line(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"no display here.*overlay"), WindowSink("x", Painter(9.0)):
        pass


def test_opencv_without_windows_is_one_line(monkeypatch):
    def headless(*_):
        raise cv2.error("The function is not implemented.\nRebuild the library")

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", headless)
    with (
        pytest.raises(UserError, match="replace opencv-python-headless by opencv-python") as caught,
        WindowSink("x", Painter(9.0)),
    ):
        pass
    assert "\n" not in str(caught.value)
