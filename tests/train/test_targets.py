"""Targets against a plain reference, object by object and cell by cell."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from train.data.labels import Labels
from train.data.sample import Sample
from train.data.targets import Targets, gaussian_radius, make_targets

# One set of labels with the targets that FairMOT's own JointDataset makes of it (three classes,
# tiny and huge boxes, centres beyond the border); heatmaps as sums over rows and columns.
RECORDED = Path(__file__).parent / "recorded_targets.json"

SIZE_WH = (96, 64)
STRIDE = 4


def sample_of(boxes_xyxy: list[list[float]], ids: list[int] | None = None) -> Sample:
    count = len(boxes_xyxy)
    return Sample(
        np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.uint8),
        np.array(boxes_xyxy, np.float32).reshape(-1, 4),
        np.zeros(count, np.int64),
        np.array(ids if ids is not None else [-1] * count, np.int64),
    )


def slow_heatmap(sample: Sample) -> np.ndarray:
    """CenterNet's heatmap by its definition, without a window or a maximum in place."""
    width, height = SIZE_WH[0] // STRIDE, SIZE_WH[1] // STRIDE
    heatmap = np.zeros((height, width))
    for left, top, right, bottom in sample.boxes_xyxy / STRIDE:
        centre_x = int(min(max((left + right) / 2, 0), width - 1))
        centre_y = int(min(max((top + bottom) / 2, 0), height - 1))
        radius = int(gaussian_radius(math.ceil(right - left), math.ceil(bottom - top)))
        sigma = (2 * radius + 1) / 6
        for y in range(height):
            for x in range(width):
                if abs(x - centre_x) <= radius and abs(y - centre_y) <= radius:
                    squared = (x - centre_x) ** 2 + (y - centre_y) ** 2
                    heatmap[y, x] = max(heatmap[y, x], math.exp(-squared / (2 * sigma**2)))
    return heatmap


def test_no_objects_give_empty_targets() -> None:
    targets = make_targets(sample_of([]), SIZE_WH, STRIDE, num_classes=2, max_objects=5)
    assert targets.heatmap.shape == (2, 16, 24)
    assert not targets.heatmap.any() and not targets.mask.any()
    assert (targets.ids == -1).all()


@pytest.mark.parametrize("seed", range(5))
def test_heatmap_equals_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.uniform([-5, -5], [SIZE_WH[0] + 5, SIZE_WH[1] + 5], (8, 2))
    sizes = rng.uniform(3, 60, (8, 2))
    sample = sample_of(np.hstack([centres - sizes / 2, centres + sizes / 2]).tolist())
    targets = make_targets(sample, SIZE_WH, STRIDE, num_classes=1, max_objects=16)
    np.testing.assert_allclose(targets.heatmap[0], slow_heatmap(sample), atol=1e-6)


def test_a_box_comes_back_from_its_targets() -> None:
    box = [10.0, 7.0, 31.0, 58.0]
    targets = make_targets(sample_of([box], [3]), SIZE_WH, STRIDE, 1, 4)
    width = SIZE_WH[0] // STRIDE
    centre = np.array([targets.cells[0] % width, targets.cells[0] // width]) + targets.offsets[0]
    left, top, right, bottom = targets.sizes_ltrb[0]
    decoded = [centre[0] - left, centre[1] - top, centre[0] + right, centre[1] + bottom]
    np.testing.assert_allclose(np.array(decoded) * STRIDE, box, atol=1e-4)
    assert targets.ids[0] == 3
    assert targets.heatmap[0].flat[targets.cells[0]] == 1


def test_the_limit_keeps_the_largest_objects() -> None:
    sample = sample_of([[0, 0, 4, 4], [8, 8, 40, 60], [50, 8, 60, 20]], [0, 1, 2])
    targets = make_targets(sample, SIZE_WH, STRIDE, 1, max_objects=2)
    assert targets.ids.tolist() == [1, 2]
    assert targets.mask.all()


def test_the_limit_keeps_the_order_of_the_others() -> None:
    boxes = [[0, 0, 20, 20], [0, 0, 4, 4], [8, 8, 40, 60], [50, 8, 60, 20]]
    targets = make_targets(sample_of(boxes, [0, 1, 2, 3]), SIZE_WH, STRIDE, 1, max_objects=3)
    assert targets.ids.tolist() == [0, 2, 3]


def test_boxes_of_no_size_are_left_out() -> None:
    boxes = [[8, 8, 8, 30], [30, 30, 20, 40], [8, 8, 40, 60]]
    targets = make_targets(sample_of(boxes, [0, 1, 2]), SIZE_WH, STRIDE, 1, max_objects=3)
    assert targets.ids.tolist() == [2, -1, -1]
    assert targets.mask.tolist() == [True, False, False]


def slow_targets(
    sample: Sample, size_wh: tuple[int, int], stride: int, classes: int, places: int
) -> Targets:
    """FairMOT's targets, one object after another and cell by cell; at most ``places`` objects."""
    width, height = size_wh[0] // stride, size_wh[1] // stride
    heatmap = np.zeros((classes, height, width))
    rows = []
    for box, label, identity in zip(sample.boxes_xyxy, sample.classes, sample.ids, strict=True):
        left, top, right, bottom = (float(side) / stride for side in box)
        x = min(max((left + right) / 2, 0), width - 1)
        y = min(max((top + bottom) / 2, 0), height - 1)
        column, row = math.floor(x), math.floor(y)
        radius = int(slow_radius(math.ceil(right - left), math.ceil(bottom - top)))
        for v in range(max(0, row - radius), min(height, row + radius + 1)):
            for u in range(max(0, column - radius), min(width, column + radius + 1)):
                distance = math.hypot(u - column, v - row) / ((2 * radius + 1) / 6)
                heatmap[label, v, u] = max(heatmap[label, v, u], math.exp(-(distance**2) / 2))
        sizes = (x - left, y - top, right - x, bottom - y)
        rows.append((row * width + column, sizes, (x - column, y - row), identity))
    unused = places - len(rows)
    return Targets(
        heatmap.astype(np.float32),
        np.array([row[0] for row in rows] + [0] * unused, np.int64),
        np.array([row[1] for row in rows] + [(0, 0, 0, 0)] * unused, np.float32),
        np.array([row[2] for row in rows] + [(0, 0)] * unused, np.float32),
        np.array([row[3] for row in rows] + [-1] * unused, np.int64),
        np.arange(places) < len(rows),
        np.full(places, -1, np.int64),
    )


def slow_radius(width: int, height: int) -> float:
    """The least of CornerNet's three bounds at IoU 0.7, with the published code's division by 2."""
    both, area, overlap = width + height, width * height, 0.7
    one = both + math.sqrt(both**2 - 4 * area * (1 - overlap) / (1 + overlap))
    two = 2 * both + math.sqrt(4 * both**2 - 16 * (1 - overlap) * area)
    three = -2 * overlap * both + math.sqrt(
        4 * overlap**2 * both**2 + 16 * overlap * (1 - overlap) * area
    )
    return min(one, two, three) / 2


def assert_equal_targets(found: Targets, expected: Targets) -> None:
    np.testing.assert_array_equal(found.mask, expected.mask)
    np.testing.assert_array_equal(found.cells, expected.cells)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_allclose(found.heatmap, expected.heatmap, atol=1e-6)
    np.testing.assert_allclose(found.sizes_ltrb, expected.sizes_ltrb, atol=1e-5)
    np.testing.assert_allclose(found.offsets, expected.offsets, atol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_targets_equal_the_slow_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 14))
    centres = rng.uniform([-9, -9], [SIZE_WH[0] + 9, SIZE_WH[1] + 9], (count, 2))
    sizes = np.exp(rng.uniform(np.log(0.5), np.log(120), (count, 2)))
    sample = sample_of(np.hstack([centres - sizes / 2, centres + sizes / 2]).tolist())
    sample.classes = rng.integers(0, 3, count)
    sample.ids = rng.integers(-1, 30, count)
    found = make_targets(sample, SIZE_WH, STRIDE, 3, 16)
    assert_equal_targets(found, slow_targets(sample, SIZE_WH, STRIDE, 3, 16))


def test_targets_equal_those_recorded_from_fairmot() -> None:
    record = json.loads(RECORDED.read_text())
    size_wh, rows = tuple(record["size_wh"]), np.array(record["labels"])
    classes, ids = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    boxes = Labels(classes, ids, rows[:, 2:]).boxes_xyxy(size_wh)
    sample = Sample(np.zeros((size_wh[1], size_wh[0], 3), np.uint8), boxes, classes, ids)
    found = make_targets(
        sample, size_wh, record["stride"], record["classes"], record["max_objects"]
    )
    used = np.array(record["mask"], bool)
    assert used.sum() == len(rows) and set(classes) == {0, 1, 2}
    np.testing.assert_array_equal(found.mask, used)
    np.testing.assert_array_equal(found.cells, record["cells"])
    np.testing.assert_array_equal(found.ids[used], np.array(record["ids"])[used])
    np.testing.assert_allclose(found.sizes_ltrb, record["sizes_ltrb"], atol=1e-5)
    np.testing.assert_allclose(found.offsets, record["offsets"], atol=1e-5)
    np.testing.assert_allclose(found.heatmap.sum(2), record["heatmap_row_sums"], atol=1e-5)
    np.testing.assert_allclose(found.heatmap.sum(1), record["heatmap_column_sums"], atol=1e-5)
