"""The tracker against what the original FairMOT tracker did; see ``tests/runtime/parity``."""

from __future__ import annotations

import numpy as np
import pytest

from runtime import Tracker, TrackerConfig, Tracks
from tests.runtime.parity import first_difference, load_recorded, recorded_names
from tests.runtime.reference_tracker import ReferenceTracker


@pytest.mark.parametrize("name", recorded_names())
def test_fairmot_preset_decides_as_the_original_did(name):
    recorded = load_recorded(name)
    tracker = Tracker("fairmot", fps=recorded.fps)
    found = [tracker.update(detections) for detections in recorded.detections]
    assert first_difference(recorded.tracks, found) is None


@pytest.mark.parametrize("name", ["crowd_16", "small", "occluded_30", "occluded_10"])
def test_plain_reference_decides_as_the_original_did(name):
    recorded = load_recorded(name)
    tracker = ReferenceTracker(TrackerConfig.preset("fairmot"), recorded.fps)
    found = [tracker.update(detections) for detections in recorded.detections]
    assert first_difference(recorded.tracks, [as_tracks(pairs) for pairs in found]) is None


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("small", "inclusive_boxes"),
        ("occluded_30", "revive_expired"),
        ("occluded_10", "revive_expired"),
    ],
)
def test_record_tells_whether_a_quirk_of_the_original_is_there(name, setting):
    recorded = load_recorded(name)
    tracker = Tracker("fairmot", fps=recorded.fps, **{setting: False})
    found = [tracker.update(detections) for detections in recorded.detections]
    assert first_difference(recorded.tracks, found) is not None


def test_every_scene_loses_and_finds_tracks():
    for name in recorded_names():
        frames = load_recorded(name).tracks
        shown = [set(tracks.ids.tolist()) for tracks in frames]
        everybody = set.union(*shown)
        spans = {i: [n for n, ids in enumerate(shown) if i in ids] for i in everybody}
        interrupted = [i for i, span in spans.items() if span[-1] - span[0] >= len(span)]
        assert len(interrupted) >= 10, name


@pytest.mark.parametrize(
    ("ids", "boxes", "found"),
    [
        ([[4], [4]], [[0], [1]], None),
        ([[4], [4]], [[0], [1.01]], "frame 2: no track is where 1 is"),
        ([[4], [5]], [[0], [1]], "frame 2: no track is where 1 is"),
        ([[4], []], [[0], []], "frame 2: 1 tracks expected, 0 found"),
    ],
)
def test_comparison_allows_a_renaming_and_nothing_else(ids, boxes, found):
    def frames(all_ids, all_lefts):
        return [
            Tracks(i, [[left, 0, 9, 9] for left in lefts], np.ones(len(i)), np.zeros(len(i)))
            for i, lefts in zip(all_ids, all_lefts, strict=True)
        ]

    difference = first_difference(frames([[1], [1]], [[0], [1]]), frames(ids, boxes))
    assert difference is None if found is None else difference.startswith(found)


def test_comparison_wants_two_ids_for_two_tracks():
    one_after_the_other = [Tracks([i], [[0, 0, 9, 9]], [1], [0]) for i in (1, 2)]
    same_id = [Tracks([7], [[0, 0, 9, 9]], [1], [0]) for _ in range(2)]
    assert first_difference(one_after_the_other, same_id).startswith("frame 2")


def as_tracks(pairs):
    ids, boxes = [track_id for track_id, _ in pairs], [box for _, box in pairs]
    return Tracks(ids, boxes, np.zeros(len(ids)), np.zeros(len(ids)))
