"""What the tracker makes of unsound detections, of time, and of a moving camera."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from runtime import Detections, Tracker, Tracks, UserError
from runtime.opencv import cv2
from runtime.tracking.measurements import Measurements

LEFT, RIGHT = [10, 10, 30, 60], [200, 10, 220, 60]
RED, BLUE = [1.0, 0.0], [0.0, 1.0]
NAN, INF = np.nan, np.inf


def seen(*boxes, scores=None, embeddings=None):
    scores = [0.9] * len(boxes) if scores is None else scores
    return Detections(np.array(boxes, np.float32), np.array(scores), embeddings)


def test_of_nothing_nothing_is_of_use():
    found = Measurements.of(Detections.empty(8), 0.1)
    assert len(found) == 0 and found.embeddings.shape == (0, 8)


@pytest.mark.parametrize(
    ("box", "score"),
    [
        ([NAN, 0, 9, 9], 0.9),
        ([0, 0, INF, 9], 0.9),
        ([-INF, 0, 9, 9], 0.9),
        ([9, 0, 0, 9], 0.9),
        ([0, 9, 9, 0], 0.9),
        ([0, 0, 0, 9], 0.9),
        ([0, 0, 9, 9], NAN),
        ([0, 0, 9, 9], INF),
        ([0, 0, 9, 9], 0.1),
    ],
)
def test_an_unsound_detection_is_left_out_and_its_neighbours_stay(box, score):
    found = Measurements.of(
        seen(LEFT, box, RIGHT, scores=[0.8, score, 0.7], embeddings=[RED, RED, BLUE]), 0.1
    )
    assert found.boxes_xyxy.tolist() == [LEFT, RIGHT]
    assert found.scores.tolist() == pytest.approx([0.8, 0.7])
    assert found.embeddings.tolist() == [RED, BLUE]


def test_embeddings_get_length_one_and_those_without_direction_zero():
    odd = [[3.0, 4.0], [0.0, 0.0], [NAN, 1.0], [INF, 0.0], [1e30, 1e30], [1.0, 0.0]]
    found = Measurements.of(seen(*[LEFT] * 6, embeddings=odd), 0.1)
    expected = [[0.6, 0.8], [0, 0], [0, 0], [0, 0], [0, 0], [1, 0]]
    np.testing.assert_allclose(found.embeddings, expected, atol=1e-6)


def test_a_lost_embedding_leaves_overlap_to_continue_the_track_and_nothing_behind():
    tracker = Tracker()
    tracker.update(seen(LEFT, embeddings=[RED]))
    assert tracker.update(seen(LEFT, embeddings=[[NAN, NAN]])).ids.tolist() == [1]
    assert tracker._table.embeddings.tolist() == [RED]
    # Too far for an overlap: the appearance is still there to link it.
    assert tracker.update(seen([24, 10, 44, 60], embeddings=[RED])).ids.tolist() == [1]


def test_unsound_detections_never_reach_the_output():
    tracker = Tracker()
    random = np.random.default_rng(0)
    for _ in range(30):
        boxes = random.uniform(-50, 500, (20, 4)).astype(np.float32)
        boxes[random.random((20, 4)) < 0.1] = random.choice([NAN, INF, -INF, 0])
        embeddings = random.normal(size=(20, 2))
        embeddings[random.random((20, 2)) < 0.1] = NAN
        tracks = tracker.update(seen(*boxes, embeddings=embeddings))
        assert np.isfinite(tracks.boxes_xyxy).all() and np.isfinite(tracks.velocities_xy).all()
    assert np.isfinite(tracker._table.embeddings).all()


def test_velocity_is_in_pixels_per_second():
    tracker = Tracker(fps=10)
    for index in range(40):
        tracks = tracker.update(seen([10 + 4 * index, 10, 30 + 4 * index, 60]))
    np.testing.assert_allclose(tracks.velocities_xy, [[40, 0]], atol=0.5)


def test_frames_left_out_count_as_time():
    tracker, other = Tracker(fps=10), Tracker(fps=10)
    for index in range(60):
        found = seen([10 + 4 * index, 10, 30 + 4 * index, 60])
        every = tracker.update(found, timestamp=index / 10)
        if index % 3 == 0:
            third = other.update(found, timestamp=index / 10)
    assert every.ids.tolist() == third.ids.tolist() == [1]
    np.testing.assert_allclose(third.velocities_xy, every.velocities_xy, atol=1)


@pytest.mark.parametrize("gap", [0.9, 1.1, 1.3, 60.0])
def test_a_track_is_given_up_by_the_clock(gap):
    tracker = Tracker(fps=10, lost_seconds=1)
    tracker.update(seen(LEFT), timestamp=0)
    tracker.update(Detections.empty(), timestamp=gap - 0.1)
    back = tracker.update(seen(LEFT), timestamp=gap)
    assert back.ids.tolist() == ([1] if gap < 1.2 else [])


@pytest.mark.parametrize("odd", [-5.0, 0.0, NAN, INF])
def test_a_clock_that_stands_or_runs_back_counts_as_one_frame(odd):
    tracker = Tracker(fps=10)
    tracker.update(seen(LEFT), timestamp=0.0)
    assert tracker.update(seen(LEFT), timestamp=odd).ids.tolist() == [1]
    assert tracker._frame == 2


def moving_camera():
    """Yield frames of a camera that pans to and fro, and where a still person is in them."""
    random = np.random.default_rng(0)
    scene = cv2.resize(
        random.integers(0, 255, (60, 200, 3), np.uint8), (2000, 600), interpolation=cv2.INTER_CUBIC
    )
    for index in range(24):
        left = 600 + [0, 60, 140, 60][index % 4]
        yield (
            np.ascontiguousarray(scene[:, left : left + 640]),
            [900 - left, 200, 930 - left, 290],
        )


def test_a_still_object_keeps_its_identity_while_the_camera_moves():
    shown = {}
    for camera_motion in (True, False):
        tracker = Tracker(camera_motion=camera_motion)
        ids = [tracker.update(seen(box), frame).ids.tolist() for frame, box in moving_camera()]
        shown[camera_motion] = ids.count([1])
    assert shown[True] == 24 and shown[False] < 12


@pytest.mark.parametrize("camera_motion", [False, True])
def test_identities_survive_a_change_of_size(camera_motion):
    tracker = Tracker(camera_motion=camera_motion)
    small, large = np.zeros((240, 320, 3), np.uint8), np.zeros((480, 640, 3), np.uint8)
    for index in range(8):
        box = np.array([10 + 2 * index, 10, 30 + 2 * index, 60])
        picture, scale = (small, 1) if index % 4 < 2 else (large, 2)
        tracks = tracker.update(seen(scale * box), picture)
        assert tracks.ids.tolist() == [1]
    np.testing.assert_allclose(tracks.boxes_xyxy[0], 2 * box, atol=2)


def test_without_a_picture_or_texture_camera_motion_changes_nothing():
    plain, other = Tracker(), Tracker(camera_motion=True)
    for index in range(10):
        found = seen([10 + index, 10, 30 + index, 60])
        grey = np.full((120, 160, 3), 90, np.uint8) if index % 2 else None
        expected, tracks = plain.update(found), other.update(found, grey)
        np.testing.assert_array_equal(tracks.boxes_xyxy, expected.boxes_xyxy)


def test_tracks_become_detections_of_supervision(monkeypatch):
    made = types.SimpleNamespace(Detections=lambda **columns: columns)
    monkeypatch.setitem(sys.modules, "supervision", made)
    columns = Tracks([7], [LEFT], [0.5], [2]).to_supervision()
    assert columns["tracker_id"].tolist() == [7] and columns["class_id"].tolist() == [2]
    assert columns["xyxy"].tolist() == [LEFT] and columns["confidence"].tolist() == [0.5]
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match="pip install --no-deps supervision"):
        Tracks().to_supervision()


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="1 ids with 1, 2, 1, 1"):
        Tracks([7], [LEFT], [0.5, 0.6], [2])
