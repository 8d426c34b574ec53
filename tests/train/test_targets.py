"""Targets against a plain reference, object by object and cell by cell."""

from __future__ import annotations

import math

import numpy as np
import pytest

from train.data.sample import Sample
from train.data.targets import gaussian_radius, make_targets

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
