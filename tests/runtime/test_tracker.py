"""The fast tracker, by itself and against the plain reference."""

from __future__ import annotations

import numpy as np
import pytest

from runtime import Detections, Tracker, TrackerConfig, UserError
from tests.runtime.reference_tracker import ReferenceTracker
from tests.runtime.scenes import crowded_scene

LEFT, RIGHT = [10, 10, 30, 60], [200, 10, 220, 60]
RED, BLUE = [1.0, 0.0], [0.0, 1.0]


def seen(*boxes, scores=None, embeddings=None, classes=None):
    scores = [0.9] * len(boxes) if scores is None else scores
    return Detections(np.array(boxes, np.float32), np.array(scores), embeddings, classes)


def test_no_detections_give_no_tracks():
    tracker = Tracker()
    for _ in range(3):
        assert len(tracker.update(Detections.empty())) == 0


def test_empty_first_frame_does_not_fix_the_kind_of_model():
    tracker = Tracker()
    tracker.update(Detections.empty())
    tracker.update(seen(LEFT, embeddings=[RED]))
    assert len(tracker.update(seen(LEFT, embeddings=[RED]))) == 1


def test_first_frame_confirms_at_once_and_later_frames_need_two_matches():
    tracker = Tracker()
    assert tracker.update(seen(LEFT)).ids.tolist() == [1]
    assert tracker.update(seen(LEFT, RIGHT)).ids.tolist() == [1]
    assert tracker.update(seen(LEFT, RIGHT)).ids.tolist() == [1, 2]


def test_reset_counts_from_one_again():
    tracker = Tracker()
    tracker.update(seen(LEFT, RIGHT))
    tracker.reset()
    assert tracker.update(seen(RIGHT)).ids.tolist() == [1]


def test_low_scores_continue_a_track_but_never_start_one():
    tracker = Tracker()
    tracker.update(seen(LEFT))
    assert tracker.update(seen(LEFT, RIGHT, scores=[0.3, 0.3])).ids.tolist() == [1]
    fairmot = Tracker("fairmot")
    fairmot.update(seen(LEFT))
    assert len(fairmot.update(seen(LEFT, scores=[0.3]))) == 0


def test_low_score_match_leaves_the_embedding_alone():
    tracker = Tracker(embedding_momentum=0.0)
    tracker.update(seen(LEFT, embeddings=[RED]))
    tracker.update(seen(LEFT, scores=[0.3], embeddings=[BLUE]))
    # Too far for an overlap, near enough for the gate: only the appearance can link it.
    moved = seen([24, 10, 44, 60], embeddings=[RED])
    assert tracker.update(moved).ids.tolist() == [1]


@pytest.mark.parametrize("fps", [7.0, 25.0, 30.0])
@pytest.mark.parametrize("late", [False, True])
def test_lost_track_comes_back_within_lost_seconds_at_any_frame_rate(fps, late):
    tracker = Tracker(fps=fps, lost_seconds=1.0)
    tracker.update(seen(LEFT))
    assert tracker.max_lost_frames == int(fps)
    for _ in range(tracker.max_lost_frames + late):
        assert len(tracker.update(Detections.empty())) == 0
    back = tracker.update(seen(LEFT))
    assert back.ids.tolist() == ([] if late else [1])


def test_objects_of_different_classes_are_never_linked():
    tracker = Tracker()
    tracker.update(seen(LEFT, classes=[0]))
    assert len(tracker.update(seen(LEFT, classes=[1]))) == 0
    other = tracker.update(seen(LEFT, classes=[1]))
    assert other.ids.tolist() == [2] and other.classes.tolist() == [1]


def test_embeddings_tell_apart_two_people_who_change_places():
    near = [22, 10, 42, 60]
    tracker = Tracker()
    tracker.update(seen(LEFT, near, embeddings=[RED, BLUE]))
    swapped = tracker.update(seen(LEFT, near, embeddings=[BLUE, RED]))
    boxes = dict(zip(swapped.ids.tolist(), swapped.boxes_xyxy[:, 0].tolist(), strict=True))
    assert boxes[1] > boxes[2]


@pytest.mark.parametrize("lost_one_is_older", [True, False])
def test_of_two_tracks_on_one_box_the_longer_one_stays(lost_one_is_older):
    limits = {"iou_distance": 0.0, "unconfirmed_iou_distance": 1.0, "duplicate_iou_distance": 0.15}
    tracker = Tracker(low_score_stage=False, **limits)
    beside = [22, 10, 42, 60]
    first, second = (LEFT, beside) if lost_one_is_older else (beside, LEFT)
    for _ in range(12):
        tracker.update(seen(first, embeddings=[RED]))
    for _ in range(2):
        tracker.update(seen(first, second, embeddings=[RED, BLUE]))
    # The track at LEFT is lost while the other one, told by its looks, steps onto its place.
    mover = BLUE if lost_one_is_older else RED
    for left in (18, 14, 11):
        tracks = tracker.update(seen([left, 10, left + 20, 60], embeddings=[mover]))
        if not len(tracks):
            break
    assert lost_one_is_older == (len(tracks) == 0)
    again = RED if lost_one_is_older else BLUE
    assert tracker.update(seen(LEFT, embeddings=[again])).ids.tolist() == (
        [1] if lost_one_is_older else []
    )


def test_boxes_without_area_or_with_nan_are_ignored():
    tracker = Tracker()
    tracks = tracker.update(seen([10, 10, 10, 60], [5, np.nan, 9, 9], [9, 9, 5, 5], LEFT))
    assert tracks.ids.tolist() == [1]
    np.testing.assert_allclose(tracks.boxes_xyxy, [LEFT], atol=1e-4)


def test_changing_the_kind_of_embedding_is_refused():
    tracker = Tracker()
    tracker.update(seen(LEFT, embeddings=[RED]))
    with pytest.raises(ValueError, match="length 0 after embeddings of length 2"):
        tracker.update(seen(LEFT))


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_frame_rate_must_be_positive(fps):
    with pytest.raises(UserError, match="frame rate"):
        Tracker(fps=fps)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"speed": 1}, "setting 'speed' is unknown: choose among high_threshold"),
        ({"iou_distance": 1.5}, "iou_distance is 1.5: give a value from 0 to 1"),
        ({"lost_seconds": -1}, "from 0 up"),
        ({"lost_seconds": float("nan")}, "lost_seconds is nan"),
        ({"low_score_stage": 2.0}, "give true or false"),
        ({"motion_gate": True}, "give a number"),
    ],
)
def test_wrong_settings_are_named(overrides, message):
    with pytest.raises(UserError, match=message):
        TrackerConfig().replace(**overrides)


def test_unknown_preset_lists_the_known_ones():
    with pytest.raises(UserError, match="default, fairmot"):
        Tracker("deep")


def test_model_settings_hold_unless_a_preset_is_named():
    settings = {"high_threshold": 0.6}
    assert TrackerConfig.for_model(settings).high_threshold == 0.6
    assert TrackerConfig.for_model(settings, "fairmot") == TrackerConfig.preset("fairmot")


@pytest.mark.parametrize("preset", ["fairmot", "default"])
@pytest.mark.parametrize("embedding_dim", [16, None])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_plain_reference_on_crowded_scenes(preset, embedding_dim, seed):
    config = TrackerConfig.preset(preset)
    fps = [30.0, 10.0][seed % 2]
    fast, plain = Tracker(config=config, fps=fps), ReferenceTracker(config, fps)
    renamed: dict[int, int] = {}
    shown = 0
    for detections in crowded_scene(seed, embedding_dim=embedding_dim, classes=1 + seed % 3):
        tracks, expected = fast.update(detections), plain.update(detections)
        assert len(tracks) == len(expected)
        shown += len(tracks)
        order = np.argsort(tracks.boxes_xyxy[:, 0], kind="stable")
        expected.sort(key=lambda pair: pair[1][0])
        for row, (reference_id, box) in zip(order, expected, strict=True):
            np.testing.assert_allclose(tracks.boxes_xyxy[row], box, atol=1e-3)
            assert renamed.setdefault(reference_id, int(tracks.ids[row])) == tracks.ids[row]
    assert len(set(renamed.values())) == len(renamed)
    # A scene without lost and found tracks would prove little.
    assert shown > 250 and len(renamed) > 14
