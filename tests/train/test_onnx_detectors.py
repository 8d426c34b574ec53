"""ONNX detectors on tiny files, against plain loops."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from runtime.errors import UserError
from tests.train.tiny_onnx import (
    CELLS,
    HEIGHT,
    STRIDES,
    WIDTH,
    answering,
    picture,
    raw_yolox,
    save,
    yolox,
)
from train.teachers.config import DetectorConfig
from train.teachers.onnx import OnnxDetector
from train.teachers.onnx.detector import fit_geometry, fit_picture, suppress


def iou(a: Any, b: Any) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def test_a_detector_may_find_no_boxes_at_all(tmp_path: Path) -> None:
    path = answering(tmp_path / "d.onnx", b=np.zeros((0, 4), "f4"), s=np.zeros(0, "f4"))
    boxes, scores, classes = OnnxDetector(DetectorConfig(path=path, output="boxes"))(picture())
    assert boxes.shape == (0, 4) and len(scores) == len(classes) == 0


@pytest.mark.parametrize(
    ("fit", "scale_xy", "shift_xy"),
    [
        # 128 x 96 into 64 x 32: a third, 43 x 32, all 21 columns of padding on the right.
        ("top_left", (43 / 128, 1 / 3), (0, 0)),
        ("centre", (43 / 128, 1 / 3), (10, 0)),
        ("stretch", (1 / 2, 1 / 3), (0, 0)),
    ],
)
def test_yolox_is_decoded_as_by_a_plain_loop(
    tmp_path: Path, fit: str, scale_xy: tuple[float, float], shift_xy: tuple[int, int]
) -> None:
    raw, wanted, expected = raw_yolox(), [2, 0], []
    cell = 0
    for stride in STRIDES:
        for row in range(HEIGHT // stride):
            for column in range(WIDTH // stride):
                dx, dy, log_w, log_h, objectness, *per_class = raw[0, cell].tolist()
                score, label = max((objectness * per_class[c], k) for k, c in enumerate(wanted))
                if score >= 0.2:
                    x, y = (dx + column) * stride, (dy + row) * stride
                    w, h = math.exp(log_w) * stride, math.exp(log_h) * stride
                    box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
                    expected.append((score, label, box))
                cell += 1
    expected.sort(key=lambda found: -found[0])
    config = yolox(tmp_path / "d.onnx", score_threshold=0.2, nms_iou=1, classes=wanted, fit=fit)
    boxes, scores, classes = OnnxDetector(config, threads=1)(picture())
    assert 5 < len(expected) < CELLS and boxes.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(scores, [score for score, _, _ in expected], rtol=1e-5)
    assert classes.tolist() == [label for _, label, _ in expected]
    in_picture = (np.array([box for _, _, box in expected]) - shift_xy * 2) / (scale_xy * 2)
    np.testing.assert_allclose(boxes, in_picture, rtol=1e-4, atol=1e-3)


def test_a_box_without_measure_is_dropped(tmp_path: Path) -> None:
    raw = np.zeros((1, CELLS, 6), np.float32)
    raw[0, :3, 4:] = [[0.9, 1], [0.8, 1], [0.7, 1]]
    raw[0, 0, 2], raw[0, 1, 3] = 200, -200  # infinitely wide; no height
    _, scores, _ = OnnxDetector(yolox(tmp_path / "d.onnx", raw))(picture())
    np.testing.assert_allclose(scores, [0.7], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_suppression_is_that_of_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    starts = rng.uniform(-30, 40, (60, 2))
    boxes = np.concatenate([starts, starts + rng.uniform(5, 40, (60, 2))], 1).astype(np.float32)
    scores, classes = rng.random(60).astype(np.float32), rng.integers(0, 3, 60)
    expected: list[int] = []
    for row in np.argsort(-scores).tolist():
        rivals = [other for other in expected if classes[other] == classes[row]]
        if all(iou(boxes[row], boxes[other]) <= 0.4 for other in rivals):
            expected.append(row)
    assert 0 < len(expected) < 60
    assert suppress(boxes, scores, classes, 0.4).tolist() == expected
    assert len(suppress(boxes, scores, classes, 1)) == 60


def test_classes_beyond_the_border_do_not_suppress_one_another() -> None:
    boxes = np.array([[90, 90, 120, 120], [-31, -31, -1, -1]], np.float32)
    assert suppress(boxes, np.array([0.9, 0.8]), np.array([0, 1]), 0.3).tolist() == [0, 1]


CORNERS = np.array([[4, 2, 20, 30], [30, 4, 40, 28], [-6, 0, 8, 20], [0, 0, 64, 32]], np.float32)
SCORES = np.array([0.5, 0.9, 0.7, 0], np.float32)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("unit", ["pixel", "share"])
@pytest.mark.parametrize("box_format", ["xyxy", "xywh", "cxcywh"])
def test_boxes_come_in_all_formats(
    tmp_path: Path, box_format: str, unit: str, batched: bool
) -> None:
    boxes = CORNERS.copy()
    if box_format != "xyxy":
        boxes[:, 2:] -= boxes[:, :2]
    if box_format == "cxcywh":
        boxes[:, :2] += boxes[:, 2:] / 2
    if unit == "share":
        boxes /= [WIDTH, HEIGHT, WIDTH, HEIGHT]
    outputs = {"a": boxes, "b": SCORES}
    if batched:
        outputs = {name: values[None] for name, values in outputs.items()}
    path = answering(tmp_path / "d.onnx", **outputs)
    config = DetectorConfig(path=path, output="boxes", box_format=box_format, box_unit=unit)
    found, scores, classes = OnnxDetector(config)(picture((128, 64)))
    np.testing.assert_allclose(found, CORNERS[[1, 2, 0]] * 2, atol=1e-4)
    np.testing.assert_allclose(scores, [0.9, 0.7, 0.5])
    assert classes.tolist() == [0, 0, 0]


@pytest.mark.parametrize("number", [np.int64, np.int32, np.float32])
def test_labels_choose_the_classes_that_teach(tmp_path: Path, number: type) -> None:
    labels = np.array([7, 3, 2, 7], number)
    path = answering(tmp_path / "d.onnx", a=CORNERS, b=SCORES, c=labels)
    config = DetectorConfig(path=path, output="boxes", labels="c", classes=[2, 7])
    found, scores, classes = OnnxDetector(config)(picture((64, 32)))
    np.testing.assert_allclose(found, CORNERS[[2, 0]], atol=1e-4)
    assert classes.tolist() == [0, 1] and scores.tolist() == SCORES[[2, 0]].tolist()


def test_scores_may_come_per_class(tmp_path: Path) -> None:
    scores = np.array([[0.1, 0.9, 0.4], [0.8, 0.6, 0.7], [0, 1, 0], [0.2, 0, 0]], np.float32)
    path = answering(tmp_path / "d.onnx", a=CORNERS[None], b=scores[None])
    config = DetectorConfig(path=path, output="boxes", classes=[2, 0])
    found, best, classes = OnnxDetector(config)(picture((64, 32)))
    np.testing.assert_allclose(found, CORNERS[[1, 0, 3]], atol=1e-4)
    assert classes.tolist() == [1, 0, 1]
    np.testing.assert_allclose(best, [0.8, 0.4, 0.2])


@pytest.mark.parametrize(
    ("size_wh", "fit", "rows", "columns"),
    [
        ((96, 96), "top_left", (0, 32), (0, 32)),
        ((96, 96), "centre", (0, 32), (16, 48)),
        ((96, 96), "stretch", (0, 32), (0, 64)),
        ((128, 32), "top_left", (0, 16), (0, 64)),
        ((128, 32), "centre", (8, 24), (0, 64)),
        ((128, 32), "stretch", (0, 32), (0, 64)),
    ],
)
def test_padding_is_where_the_fit_says(
    size_wh: tuple[int, int], fit: str, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    geometry = fit_geometry(size_wh, (WIDTH, HEIGHT), fit)
    expected = np.full((HEIGHT, WIDTH, 3), 99, np.uint8)
    expected[slice(*rows), slice(*columns)] = 9
    fitted = np.full((HEIGHT, WIDTH, 3), 99, np.uint8)
    fit_picture(np.full((*size_wh[::-1], 3), 9, np.uint8), geometry, fitted)
    np.testing.assert_array_equal(fitted, expected)
    corners = [columns[0], rows[0], columns[1], rows[1]]
    np.testing.assert_allclose(geometry.to_frame([corners]), [[0, 0, *size_wh]], atol=1e-4)


def test_a_detector_is_shown_the_padding(tmp_path: Path) -> None:
    """The fake detector scores the mean of what it sees: half 0.8, half 0.2."""
    nodes = [
        helper.make_node("ReduceMean", ["x0"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "one"], ["scores"]),
        helper.make_node("Identity", ["b"], ["boxes"]),
    ]
    constants = {"b": CORNERS[:1], "one": np.array([1])}
    shape: list[int | str] = [1, 3, HEIGHT, WIDTH]
    path = save(tmp_path / "d.onnx", nodes, shape, constants, ["boxes", "scores"])
    config = DetectorConfig(path=path, output="boxes", pad=200, scale=1 / 250)
    _, scores, _ = OnnxDetector(config)(np.full((96, 96, 3), 50, np.uint8))
    np.testing.assert_allclose(scores, [0.5], rtol=1e-4)


DETECTOR_FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "rank": ({"out": np.zeros((CELLS, 6), "f4")}, {}, "set detector.output"),
    "no classes": ({"out": np.zeros((1, CELLS, 5), "f4")}, {}, "set detector.output"),
    "cells": ({"out": np.zeros((1, 41, 6), "f4")}, {}, "41 cells.*64x32 make 40.*strides"),
    "class": ({"out": np.zeros((1, CELLS, 6), "f4")}, {"classes": [1]}, "0..0, 1 is wanted"),
    "logits": ({"out": np.full((1, CELLS, 6), 3, "f4")}, {}, "score of 9 is not in 0..1"),
    "nan": ({"out": np.full((1, CELLS, 6), np.nan, "f4")}, {}, "output out .*not finite"),
    "two outputs": ({"a": CORNERS, "b": SCORES}, {}, "2 outputs.*detector.output"),
    "no boxes": ({"b": SCORES}, {"output": "boxes"}, r"0 that could.*detector.boxes.*b \[4\]"),
    "no such boxes": (
        {"a": CORNERS, "b": SCORES},
        {"output": "boxes", "boxes": "z"},
        "no output z: set detector.boxes",
    ),
    "not boxes": (
        {"a": CORNERS, "b": SCORES},
        {"output": "boxes", "boxes": "b"},
        r"output b is \[4\], boxes are \[K, 4\]",
    ),
    "which scores": (
        {"a": CORNERS, "b": SCORES, "c": SCORES},
        {"output": "boxes"},
        "2 that could hold its scores: set detector.scores",
    ),
    "not scores": (
        {"a": CORNERS, "b": SCORES[:3]},
        {"output": "boxes", "scores": "b"},
        r"output b is \[3\], scores are",
    ),
    "labels not named": (
        {"a": CORNERS, "b": SCORES, "c": np.zeros(4, np.int64)},
        {"output": "boxes"},
        "output c looks like class indices.*detector.labels",
    ),
    "no such labels": (
        {"a": CORNERS, "b": SCORES},
        {"output": "boxes", "labels": "z"},
        "no output z: set detector.labels",
    ),
    "labels of others": (
        {"a": CORNERS, "b": SCORES, "c": np.zeros(3, np.int64)},
        {"output": "boxes", "labels": "c"},
        r"output c is \[3\], labels are \[K\]",
    ),
    "labels and classes": (
        {"a": CORNERS, "b": np.zeros((4, 2), "f4"), "c": np.zeros(4, np.int64)},
        {"output": "boxes", "labels": "c"},
        "2 scores per box.*remove detector.labels",
    ),
    "no labels": (
        {"a": CORNERS, "b": SCORES},
        {"output": "boxes", "classes": [2]},
        "0..0, 2 is wanted.*detector.classes",
    ),
}


@pytest.mark.parametrize("fault", DETECTOR_FAULTS)
def test_a_detector_that_is_not_as_configured_is_told_in_a_line(tmp_path: Path, fault: str) -> None:
    outputs, settings, message = DETECTOR_FAULTS[fault]
    path = answering(tmp_path / "d.onnx", **outputs)
    with pytest.raises(UserError, match=message) as caught:
        OnnxDetector(DetectorConfig(path=path, strides=STRIDES, **settings))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_detector_for_several_pictures_is_refused(tmp_path: Path) -> None:
    path = answering(tmp_path / "d.onnx", [2, 3, HEIGHT, WIDTH], out=raw_yolox())
    with pytest.raises(UserError, match="2 pictures at a time"):
        OnnxDetector(DetectorConfig(path=path))
