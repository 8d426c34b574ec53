"""Boxes must follow the pixels they enclose."""

from __future__ import annotations

import numpy as np
import pytest

from train.config import AugmentConfig
from train.data.augment import compose, jitter_colour
from train.data.sample import Sample

GEOMETRY_ONLY = AugmentConfig(colour=0, blur=0, grey=0)


def red_box_sample(box: tuple[int, int, int, int], size_wh: tuple[int, int] = (160, 120)) -> Sample:
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2], 2] = 255
    return Sample(
        image,
        np.array([box], np.float32),
        np.zeros(1, np.int64),
        np.array([7]),
    )


def test_a_picture_without_objects_stays_without() -> None:
    empty = Sample(
        np.zeros((50, 70, 3), np.uint8),
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
    )
    result = compose([empty], (96, 64), AugmentConfig(), np.random.default_rng(0))
    assert result.image.shape == (64, 96, 3)
    assert result.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [1, 2, 4])
def test_boxes_follow_the_pixels(seed: int, count: int) -> None:
    samples = [red_box_sample((60, 40, 90, 80)) for _ in range(count)]
    result = compose(samples, (192, 128), GEOMETRY_ONLY, np.random.default_rng(seed))
    for left, top, right, bottom in result.boxes_xyxy:
        # Inside the canvas and away from the edges of its cell a box is all red, and just outside
        # of it nothing is; a pixel of slack is the interpolation's.
        if left < 2 or top < 2 or right > 190 or bottom > 126:
            continue
        if (count > 1 and left < 96 < right) or (count > 2 and top < 64 < bottom):
            continue
        inner = result.image[int(top) + 2 : int(bottom) - 1, int(left) + 2 : int(right) - 1, 2]
        assert inner.mean() > 250
        row = result.image[int((top + bottom) / 2), :, 2]
        assert row[max(0, int(left) - 2)] < 130 or count > 1
        assert row[min(191, int(right) + 2)] < 130 or count > 1


def test_objects_whose_centre_left_are_dropped_and_others_keep_their_extent() -> None:
    config = GEOMETRY_ONLY.model_copy(
        update={"scale": (1.0, 1.0), "aspect": 1.0, "translate": 0.0, "flip": 0.0}
    )
    image = np.zeros((64, 96, 3), np.uint8)
    sample = Sample(
        image,
        np.array([[-20, 10, 30, 60], [-40, 10, 20, 60]], np.float32),
        np.zeros(2, np.int64),
        np.array([0, 1]),
    )
    result = compose([sample], (96, 64), config, np.random.default_rng(0))
    assert result.ids.tolist() == [0]
    np.testing.assert_allclose(result.boxes_xyxy[0], [-20, 10, 30, 60], atol=1e-4)


def test_colour_jitter_of_strength_zero_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    result = jitter_colour(image, GEOMETRY_ONLY, np.random.default_rng(1))
    np.testing.assert_array_equal(result, image)


def test_the_same_seed_gives_the_same_picture() -> None:
    sample = red_box_sample((10, 10, 50, 90))
    first, second = (
        compose([sample, sample], (96, 64), AugmentConfig(), np.random.default_rng(5))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.boxes_xyxy, second.boxes_xyxy)
