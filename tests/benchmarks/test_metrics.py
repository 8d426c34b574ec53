"""The metrics: the empty case, cases worked out by hand, bad input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.metrics import (
    average_classes,
    combine_classes,
    evaluate,
    iou_ltwh,
    sequence_from_boxes,
    sequence_from_frames,
)
from benchmarks.metrics.assignment import assign_candidates, assign_max
from benchmarks.metrics.similarity import share_inside_ltwh


def test_no_frames_at_all():
    scores = evaluate(sequence_from_frames([], [], [])).to_dict()
    assert scores["frames"] == scores["ids"] == scores["FP"] == scores["FN"] == 0
    assert scores["MOTA"] == scores["IDF1"] == scores["HOTA"] == 0


def test_no_results():
    data = sequence_from_frames([[1, 2], [1]], [[], []], [np.zeros((2, 0)), np.zeros((1, 0))])
    scores = evaluate(data).to_dict()
    assert (scores["FN"], scores["FP"], scores["ML"], scores["MOTA"]) == (3, 0, 2, 0)


def test_results_without_ground_truth():
    scores = evaluate(sequence_from_frames([[], []], [[4], [4]], [[], []])).to_dict()
    assert (scores["FN"], scores["FP"], scores["ids"], scores["tracker_ids"]) == (0, 2, 0, 1)


def test_perfect_results():
    eye = np.eye(2)
    scores = evaluate(sequence_from_frames([[1, 2]] * 5, [[8, 9]] * 5, [eye] * 5)).to_dict()
    for key in ("MOTA", "MOTP", "IDF1", "HOTA", "DetA", "AssA", "LocA", "recall", "precision"):
        assert scores[key] == 1.0, key
    assert (scores["MT"], scores["IDSW"], scores["Frag"]) == (2, 0, 0)


def test_swapped_identities_cost_association_and_not_detection():
    swapped = [[8, 9], [8, 9], [9, 8], [9, 8]]
    scores = evaluate(sequence_from_frames([[1, 2]] * 4, swapped, [np.eye(2)] * 4)).to_dict()
    assert scores["IDSW"] == 2
    assert scores["MOTA"] == pytest.approx(1 - 2 / 8)
    assert scores["IDF1"] == pytest.approx(0.5)
    assert scores["DetA"] == 1.0
    # Each object shares 2 of 4 + 4 - 2 boxes with either track.
    assert scores["AssA"] == pytest.approx(1 / 3)


def test_a_pair_is_kept_although_another_track_is_closer():
    similarity = [[[0.6, 0.0]], [[0.6, 0.9]]]
    scores = evaluate(sequence_from_frames([[1], [1]], [[5, 6], [5, 6]], similarity)).to_dict()
    assert scores["IDSW"] == 0
    assert scores["MOTP"] == pytest.approx(0.6)


def test_an_interruption_counts_as_fragment_and_a_return_by_another_as_switch():
    tracks = [[5], [6], [9]]
    similarity = [[[0.9]], [[0.1]], [[0.9]]]
    scores = evaluate(sequence_from_frames([[1]] * 3, tracks, similarity)).to_dict()
    assert (scores["Frag"], scores["IDSW"], scores["PT"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("gt", "tracks", "similarity", "message"),
    [
        ([[1, 1]], [[2]], [np.zeros((2, 1))], "ground truth, frame 1"),
        ([[1]], [[2, 2]], [np.zeros((1, 2))], "results, frame 1"),
        ([[1]], [[2, 3]], [np.zeros((2, 1))], "expected \\[1, 2\\]"),
        ([[1]], [], [np.zeros((1, 1))], "0 of results"),
    ],
)
def test_arrays_that_do_not_agree(gt, tracks, similarity, message):
    with pytest.raises(ValueError, match=message):
        sequence_from_frames(gt, tracks, similarity)


def test_boxes_are_grouped_by_frame():
    frames = np.array([3, 1, 3])
    boxes = np.array([[0, 0, 4, 4], [9, 9, 4, 4], [20, 0, 4, 4.0]])
    data = sequence_from_boxes(frames, np.array([1, 1, 2]), boxes, frames[:2], frames[:2], boxes, 4)
    assert [len(ids) for ids in data.gt_ids] == [1, 0, 2, 0]
    assert data.similarities[2].tolist() == [[1.0], [0.0]]
    with pytest.raises(ValueError, match="the sequence has 1 to 2"):
        sequence_from_boxes(frames, frames, boxes, frames, frames, boxes, 2)


def test_iou_of_nothing():
    assert iou_ltwh(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)
    assert share_inside_ltwh(np.zeros((2, 4)), np.zeros((0, 4))).shape == (2, 0)


def test_a_box_without_area_is_in_no_region():
    boxes = np.array([[5, 5, 0, 9], [5, 5, 4, 4], [-2, 0, 8, 8.0]])
    shares = share_inside_ltwh(boxes, np.array([[0, 0, 90, 90.0]]))
    assert shares[:, 0].tolist() == [0, 1, 0.75]


def test_classes_weigh_by_boxes_or_alike():
    many = evaluate(sequence_from_frames([[1, 2, 3]] * 2, [[5, 6, 7]] * 2, [np.eye(3)] * 2))
    missed = evaluate(sequence_from_frames([[1], []], [[], []], [[], []]))
    # A class that is not there costs its false positives and has a MOTA of 0.
    absent = evaluate(sequence_from_frames([[], []], [[5], [6]], [[], []]))
    together = combine_classes([many, missed, absent]).to_dict()
    average = average_classes([many, missed, absent])
    assert together["MOTA"] == pytest.approx((6 - 2) / 7)
    assert average["MOTA"] == pytest.approx(1 / 3)
    for figures in (together, average):
        assert (figures["TP"], figures["FN"], figures["FP"], figures["frames"]) == (6, 1, 2, 2)
    with pytest.raises(ValueError, match="no scores"):
        average_classes([])


shapes = st.tuples(st.integers(0, 4), st.integers(0, 5))
# Most boxes of a frame do not touch.
values = st.one_of(st.just(0.0), st.floats(0, 2))
matrices = shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=values))


@settings(max_examples=150, deadline=None)
@given(matrices)
def test_assignment_is_the_best_of_all(scores):
    rows, columns = assign_max(scores)
    assert len(rows) == min(scores.shape)
    assert len(set(rows)) == len(rows)
    assert len(set(columns)) == len(columns)
    flat = scores if scores.shape[0] <= scores.shape[1] else scores.T
    best = max(
        sum(flat[range(len(order)), order])
        for order in map(list, itertools.permutations(range(flat.shape[1]), flat.shape[0]))
    )
    assert scores[rows, columns].sum() == pytest.approx(best)
    rows, columns = np.nonzero(scores)
    chosen = assign_candidates(rows, columns, scores[rows, columns])
    assert chosen.tolist() == sorted(chosen)
    assert len(set(rows[chosen])) == len(set(columns[chosen])) == len(chosen)
    assert scores[rows[chosen], columns[chosen]].sum() == pytest.approx(best)
