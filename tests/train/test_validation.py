"""Detection figures on cases small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from train.validation import match_greedily, summarise, tracker_settings

BOX = [10.0, 10.0, 30.0, 50.0]


def boxes(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_nothing_detected_or_nothing_labelled() -> None:
    none = summarise(np.zeros(0, np.float32), np.zeros(0, bool), 4, 2)
    assert (none.average_precision, none.best_f1, none.threshold) == (0, 0, 1)
    classes = np.zeros(0, np.int64)
    assert match_greedily(boxes(), classes, boxes(BOX), np.zeros(1, np.int64)).tolist() == []
    assert match_greedily(boxes(BOX), np.zeros(1, np.int64), boxes(), classes).tolist() == [False]


def test_a_second_detection_of_the_same_object_is_wrong() -> None:
    found = boxes(BOX, BOX, [60, 60, 70, 70])
    hits = match_greedily(found, np.zeros(3, np.int64), boxes(BOX), np.zeros(1, np.int64))
    assert hits.tolist() == [True, False, False]


def test_another_class_never_matches() -> None:
    hits = match_greedily(boxes(BOX), np.ones(1, np.int64), boxes(BOX), np.zeros(1, np.int64))
    assert hits.tolist() == [False]


def test_figures_counted_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    correct = np.array([True, False, True, False])
    figures = summarise(scores, correct, objects=2, pictures=1)
    # Precision is 1 up to half of the objects and 2/3 up to all of them.
    assert figures.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert figures.best_f1 == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    assert figures.threshold == pytest.approx(0.7)


def test_tracker_thresholds_stay_in_order_and_in_range() -> None:
    for threshold in (0.0, 0.25, 0.9, 1.0):
        settings = tracker_settings(threshold)
        assert (
            0
            < settings["low_threshold"]
            < settings["high_threshold"]
            < settings["new_track_threshold"]
            <= 1
        )
