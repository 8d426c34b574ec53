"""What the gate measures, and when it lets a graph pass."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from export.parity import (
    THRESHOLDS,
    ParityResult,
    Reference,
    compare,
    figures_of,
    identity_agreement,
    match,
)
from runtime.engines import Engine
from runtime.model_info import ModelInfo
from runtime.tracking.config import TrackerConfig
from runtime.types import Detections

SCALE = np.ones(4)
UNIT = np.eye(4, dtype=np.float32)  # as many embeddings
PERFECT = {
    "matched": 1.0,
    "box_error_px": 0.0,
    "box_error_px_median": 0.0,
    "score_error": 0.0,
    "embedding_cosine_median": 1.0,
    "embedding_cosine_worst": 1.0,
    "identity_agreement": 1.0,
}
CONFIG = TrackerConfig()


def found(count: int, shift: float = 0.0, score: float = 0.9) -> Detections:
    """Boxes far apart, each with an embedding of its own, and a last row that is noise."""
    left = np.append(50.0 * np.arange(count), 220.0) + shift
    boxes = np.stack([left, left * 0 + 10, left + 20, left * 0 + 60], axis=1)
    scores = np.append(np.full(count, score), 0.01)
    return Detections(boxes, scores, UNIT[: count + 1])


def verdict(**changes: float) -> ParityResult:
    return ParityResult("fp32", 4, 5, PERFECT | changes, THRESHOLDS["fp32"], "x")


class Answers(Engine):
    """An engine that says what it is told to, frame after frame."""

    provider = "none"

    def __init__(self, answers: list[Detections], **info: object) -> None:
        self.info = ModelInfo("m", (256, 64), 4, 4, 4, ("a",), **info)  # type: ignore[arg-type]
        self.answers = iter(answers)

    def run(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        answer = next(self.answers)
        return {
            "boxes": answer.boxes_xyxy[None],
            "scores": answer.scores[None],
            "classes": answer.classes[None],
            "embeddings": answer.embeddings[None],
        }


def test_nothing_found_on_either_side() -> None:
    empty = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 4), np.float32))
    part = match(empty, empty, SCALE, 0.05, 0.9)
    assert (part.wanted, part.found) == (0, 0)
    figures = figures_of([part])
    assert figures["matched"] == 0 and math.isnan(figures["box_error_px"])
    assert not ParityResult("fp32", 1, 0, figures, THRESHOLDS["fp32"], "x")
    assert identity_agreement([(empty, empty)], CONFIG) == 1


def test_a_perfect_result_has_no_severity() -> None:
    result = verdict()
    assert result and result.severity == 0 and result.strain == 0 and not result.failures


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        ({"box_error_px": 0.1}, 2.0),
        ({"score_error": 5e-4}, 0.5),
        ({"embedding_cosine_worst": 0.9998}, 2.0),
        # Longer than 1.
        ({"embedding_cosine_median": 1.00002}, 2.0),
        ({"matched": 0.999}, math.inf),
        ({"score_error": math.nan}, math.inf),
    ],
)
def test_severity_tells_how_far_from_the_limit(change: dict[str, float], severity: float) -> None:
    result = verdict(**change)
    assert result.severity == pytest.approx(severity, rel=1e-6)
    assert bool(result) is (severity <= 1)
    assert (next(iter(change)) in " ".join(result.failures)) is (severity > 1)


def test_errors_are_in_pixels_of_the_input() -> None:
    part = match(found(2), found(2, shift=0.5), np.full(4, 3.0), 0.05, 0.9)
    assert part.box_errors == pytest.approx([1.5, 1.5])
    assert part.cosines == pytest.approx([1, 1]) and (part.wanted, part.found) == (4, 4)


def test_a_box_that_only_one_side_has_is_missed_in_both_directions() -> None:
    more, less = found(3), found(2)
    for pair in ((more, less), (less, more)):
        part = match(*pair, SCALE, 0.05, 0.9)
        assert (part.wanted, part.found) == (5, 4)


def test_other_classes_and_low_scores_do_not_count() -> None:
    other = dataclasses.replace(found(2), classes=np.ones(3, np.int64))
    assert match(found(2), other, SCALE, 0.05, 0.9).found == 0
    low = found(2, score=0.04)
    low.scores[0] = 0.9
    part = match(low, low, SCALE, 0.05, 0.9)
    assert (part.wanted, part.found) == (2, 2)


def test_identities_agree_whatever_their_numbers() -> None:
    first = [found(2) for _ in range(6)]
    # The other side sees a third object before all others: its numbers are shifted by one.
    early = Detections([[150.0, 10, 170, 60]], [0.9], UNIT[3:])
    empty = found(0)
    pairs = [(empty, early), *((one, one) for one in first)]
    tracked = 10  # a new track is shown from its second frame on
    assert identity_agreement(pairs, CONFIG) == pytest.approx(2 * tracked / (2 * tracked + 1))


def test_a_side_that_tracks_nothing_agrees_in_nothing() -> None:
    assert identity_agreement([(found(1), found(0))] * 3, CONFIG) == 0


def test_a_box_that_one_side_misses_is_a_disagreement() -> None:
    frames = [found(1) for _ in range(8)]
    # The other side misses it once.
    empty = found(0)
    broken = [(one, one if index != 4 else empty) for index, one in enumerate(frames)]
    assert identity_agreement(broken, CONFIG) == pytest.approx(2 * 7 / 15)


def reference(count: int, tied: bool = False) -> Reference:
    frame = np.zeros((64, 256, 3), np.uint8)
    return Reference([frame] * count, [found(3)] * count, [tied] * count, "frames")


def test_a_graph_that_finds_the_same_passes() -> None:
    result = compare(reference(4), Answers([found(3)] * 4))
    assert result and (result.frames, result.detections) == (4, 12)
    assert result.summary()["passed"] is True


def test_a_frame_with_a_tie_is_left_out_only_where_it_differs() -> None:
    answers = [found(3), found(2), found(3), found(3)]
    assert not compare(reference(4), Answers(answers))
    assert compare(reference(4, tied=True), Answers(answers)).frames == 3


def test_lower_precision_has_limits_of_its_own() -> None:
    moved = [found(3, shift=0.05)] * 4
    assert not compare(reference(4), Answers(moved))
    assert compare(reference(4), Answers(moved, precision="fp16"))
    assert not compare(reference(4), Answers(moved), THRESHOLDS["fp32"])
    assert compare(reference(4), Answers(moved), THRESHOLDS["int8"])
    for name, loose in vars(THRESHOLDS["int8"]).items():
        strict = vars(THRESHOLDS["fp32"])[name]
        assert (loose >= strict) if "_px" in name or name.endswith("_error") else (loose <= strict)
