"""Boxes must follow the pixels they enclose."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.preprocess import letterbox
from train.data.augment import compose, jitter_colour
from train.data.config import AugmentConfig, FairMOTAugmentConfig
from train.data.fairmot_style import (
    affine_matrix,
    jitter_hsv,
    letterboxed,
    mixup,
    mosaic,
    warp_boxes,
)
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


FAIRMOT = FairMOTAugmentConfig(style="fairmot")
STILL = FairMOTAugmentConfig(
    style="fairmot", hsv=0, degrees=0, translate=0, scale=(1, 1), shear=0, flip=0
)


def empty_sample(size_wh: tuple[int, int] = (70, 50)) -> Sample:
    image = np.full((size_wh[1], size_wh[0], 3), 200, np.uint8)
    none = np.zeros(0, np.int64)
    return Sample(image, np.zeros((0, 4), np.float32), none, none)


@pytest.mark.parametrize("count", [1, 4])
def test_fairmot_style_of_pictures_without_objects(count: int) -> None:
    result = letterboxed([empty_sample()] * count, (96, 64), FAIRMOT, np.random.default_rng(0))
    assert result.image.shape == (64, 96, 3)
    assert result.boxes_xyxy.shape == (0, 4)


def test_fairmot_style_of_no_strength_is_the_letterbox_of_the_runtime() -> None:
    sample = red_box_sample((60, 40, 90, 80), (160, 90))
    result = letterboxed([sample], (96, 64), STILL, np.random.default_rng(0))
    expected = np.empty((64, 96, 3), np.uint8)
    geometry = letterbox(sample.image, expected)
    np.testing.assert_array_equal(result.image, expected)
    assert result.image[0, 0].tolist() == [127, 127, 127]
    np.testing.assert_allclose(result.boxes_xyxy, geometry.to_input(sample.boxes_xyxy), atol=1e-4)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("flip", [0, 1])
def test_boxes_follow_the_pixels_in_fairmot_style(seed: int, flip: int) -> None:
    config = FAIRMOT.model_copy(update={"hsv": 0, "flip": flip})
    sample = red_box_sample((60, 30, 90, 80))
    result = letterboxed([sample], (192, 128), config, np.random.default_rng(seed))
    # The brightest place of the red channel is the box; grey is the border, black the picture.
    red = (result.image[..., 2].astype(int) - result.image[..., 0]) > 128
    ys, xs = np.nonzero(red)
    (box,) = result.boxes_xyxy
    # A turned rectangle lies within its box but for the reduction, and fills most of it.
    np.testing.assert_allclose(box, [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=2.5)


def test_affine_equals_figures_recorded_from_fairmot() -> None:
    matrix = affine_matrix((192, 128), 4.0, 0.745, (-7.68, 13.44), (-1.6, 0.8))
    expected = [[0.744637, 0.03121, 12.674359], [-0.041591, 0.743911, 35.055707]]
    np.testing.assert_allclose(matrix, expected, atol=1e-6)
    boxes = np.array([[40, 30, 80, 100], [-12, 50, 30, 90], [150, 100, 200, 140]], np.float32)
    recorded = [
        [43.4156, 54.0785, 75.3468, 107.7504],
        [5.319, 71.0227, 37.8025, 102.4876],
        [127.5143, 101.148, 165.9476, 132.9452],
    ]
    np.testing.assert_allclose(warp_boxes(boxes, matrix, 4.0), recorded, atol=1e-4)


def test_fairmot_style_drops_what_the_warp_lost() -> None:
    sample = empty_sample((192, 128))
    sample.boxes_xyxy = np.array(
        [
            [40, 30, 80, 100],  # stays
            [-60, 30, 40, 100],  # its centre is outside
            [-30, 30, 40, 100],  # reaches out, and keeps its extent
            [20, 20, 24, 60],  # not wider than min_box
            [20, 20, 25, 90],  # a needle
        ],
        np.float32,
    )
    sample.ids, sample.classes = np.arange(5), np.zeros(5, np.int64)
    result = letterboxed([sample], (192, 128), STILL, np.random.default_rng(0))
    assert result.ids.tolist() == [0, 2]
    np.testing.assert_allclose(result.boxes_xyxy[1], [-30, 30, 40, 100], atol=1e-3)


@pytest.mark.parametrize("seed", range(10))
def test_a_mosaic_shows_four_pictures_where_their_boxes_are(seed: int) -> None:
    size = (96, 64)
    samples = []
    for identity in range(4):
        sample = red_box_sample((0, 0, 96, 64), size)
        sample.image = np.full((64, 96, 3), 50 * (identity + 1), np.uint8)
        grid = [[x, y, x + 8, y + 8] for x in range(0, 96, 8) for y in range(0, 64, 8)]
        sample.boxes_xyxy = np.array(grid, np.float32)
        sample.ids = np.full(len(grid), identity)
        sample.classes = np.zeros(len(grid), np.int64)
        samples.append(sample)
    result = mosaic(samples, size, np.random.default_rng(seed))
    assert {int(value) for value in np.unique(result.image)} == {50, 100, 150, 200}
    centres = ((result.boxes_xyxy[:, :2] + result.boxes_xyxy[:, 2:]) / 2).astype(int)
    shown = result.image[centres[:, 1], centres[:, 0], 0]
    np.testing.assert_array_equal(shown, 50 * (result.ids + 1))
    np.testing.assert_allclose(np.diff(result.boxes_xyxy[:, ::2]), 8)


def test_mixup_keeps_the_objects_of_both() -> None:
    first, second = red_box_sample((10, 10, 50, 90)), empty_sample((160, 120))
    result = mixup(first, second, np.random.default_rng(0))
    assert result.ids.tolist() == [7]
    blue = result.image[..., 0]
    assert blue.min() > 200 * 0.3 and blue.max() < 200 * 0.7


def test_hsv_jitter_leaves_the_hue_and_the_border() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    np.testing.assert_array_equal(jitter_hsv(image, 0, np.random.default_rng(0)), image)
    grey = np.full((20, 30, 3), 100, np.uint8)
    levels = {int(jitter_hsv(grey, 0.5, np.random.default_rng(s))[0, 0, 0]) for s in range(40)}
    assert min(levels) < 60 and 140 < max(levels) <= 150
    strong = FAIRMOT.model_copy(update={"degrees": 0, "translate": 0, "scale": (1, 1), "shear": 0})
    result = letterboxed([empty_sample((96, 32))], (96, 64), strong, np.random.default_rng(3))
    assert (result.image[:16] == 127).all() and (result.image[48:] == 127).all()
    assert not (result.image[16:48] == 200).all()


def test_stretched_photographs_are_letterboxed_in_their_true_shape() -> None:
    sample = red_box_sample((0, 0, 60, 60), (60, 60))
    sample.pixel_aspect = 1.5
    result = letterboxed([sample], (96, 64), STILL, np.random.default_rng(0))
    np.testing.assert_allclose(result.boxes_xyxy, [[0, 0, 96, 64]], atol=1e-3)
