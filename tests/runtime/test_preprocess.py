"""Letterboxing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import UserError
from runtime.opencv import cv2
from runtime.preprocess import (
    CameraFrames,
    Letterboxer,
    letterbox,
    letterbox_geometry,
    resize_steps,
)

sides = st.tuples(st.integers(1, 4000), st.integers(1, 4000))


def test_no_boxes():
    geometry = letterbox_geometry((100, 50), (96, 64))
    assert geometry.to_frame(np.zeros((0, 4))).shape == (0, 4)
    assert geometry.to_input([]).shape == (0, 4)


@pytest.mark.parametrize("size", [(0, 10), (10, 0)])
def test_empty_frames_are_refused(size):
    with pytest.raises(ValueError, match="positive"):
        letterbox_geometry(size, (96, 64))


@given(frame=sides, network=sides)
def test_the_frame_fits_and_is_centred(frame, network):
    geometry = letterbox_geometry(frame, network)
    right = network[0] - geometry.left - geometry.resized_wh[0]
    below = network[1] - geometry.top - geometry.resized_wh[1]
    assert 0 <= right - geometry.left <= 1
    assert 0 <= below - geometry.top <= 1
    assert min(right + geometry.left, below + geometry.top) == 0
    assert min(geometry.resized_wh) >= 1


@given(frame=sides, network=sides)
def test_boxes_come_back(frame, network):
    geometry = letterbox_geometry(frame, network)
    boxes = np.array([[0, 0, *frame], [-3, 2, 7, 9]], np.float32)
    inside = geometry.to_input(boxes)
    left, top = geometry.left, geometry.top
    width, height = geometry.resized_wh
    np.testing.assert_allclose(inside[0], [left, top, left + width, top + height], rtol=1e-5)
    # Half a thousandth of a pixel of input, seen from the frame.
    tolerance = 5e-4 / min(geometry.scale_xy) + 1e-2
    np.testing.assert_allclose(geometry.to_frame(inside), boxes, atol=tolerance)


@pytest.mark.parametrize(
    ("frame", "left", "top", "resized"),
    [
        ((1920, 1080), 3, 0, (1081, 608)),
        ((640, 480), 138, 0, (811, 608)),
        ((1088, 608), 0, 0, (1088, 608)),
        ((100, 1000), 513, 0, (61, 608)),
    ],
)
def test_fairmot_rounding(frame, left, top, resized):
    geometry = letterbox_geometry(frame, (1088, 608))
    assert (geometry.left, geometry.top, geometry.resized_wh) == (left, top, resized)


def test_buffer_equals_the_pure_function_when_frame_sizes_change():
    random = np.random.default_rng(0)
    letterboxer = Letterboxer((96, 64))
    out = np.empty((64, 96, 3), np.uint8)
    address = letterboxer.buffer.ctypes.data
    for width, height in [(200, 50), (200, 50), (50, 200), (96, 64), (30, 20)]:
        frame = random.integers(0, 256, (height, width, 3), np.uint8)
        before = frame.copy()
        assert letterboxer(frame) == letterbox(frame, out)
        np.testing.assert_array_equal(letterboxer.buffer[0], out)
        np.testing.assert_array_equal(frame, before)
    assert letterboxer.buffer.ctypes.data == address


def test_picture_inside_and_grey_outside():
    out = np.empty((64, 96, 3), np.uint8)
    geometry = letterbox(np.full((10, 30, 3), 200, np.uint8), out)
    inside = np.zeros((64, 96), bool)
    width, height = geometry.resized_wh
    inside[geometry.top : geometry.top + height, geometry.left : geometry.left + width] = True
    assert (out[inside] == 200).all() and (out[~inside] == 127).all()
    assert inside.sum() == 96 * 32


def test_shrinking_averages():
    checks = np.indices((128, 192)).sum(0) % 2 * 200
    frame = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    out = np.empty((64, 96, 3), np.uint8)
    letterbox(frame, out)
    assert (out == 100).all()


@pytest.mark.parametrize(
    ("size", "target", "steps"),
    [
        ((96, 64), (96, 64), []),
        ((768, 576), (427, 320), [((427, 320), "linear")]),
        ((48, 32), (96, 64), [((96, 64), "linear")]),
        ((192, 128), (96, 64), [((96, 64), "area")]),
        (
            (3840, 2160),
            (569, 320),
            [((1920, 1080), "area"), ((960, 540), "area"), ((569, 320), "linear")],
        ),
        ((1366, 767), (569, 320), [((569, 320), "area")]),
        ((1280, 722), (300, 169), [((640, 361), "area"), ((300, 169), "area")]),
    ],
)
def test_frames_are_halved_as_long_as_that_can_be(size, target, steps):
    assert list(resize_steps(size, target)) == steps


@pytest.mark.parametrize("size_wh", [(1920, 1080), (768, 576), (1366, 767), (640, 480)])
def test_what_is_resized_is_near_the_average_over_the_area(size_wh):
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (size_wh[1] // 8, size_wh[0] // 8, 3), np.uint8)
    frame = cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC)
    out = np.empty((320, 576, 3), np.uint8)
    where = letterbox(frame, out)
    width, height = where.resized_wh
    inside = out[where.top : where.top + height, where.left : where.left + width]
    averaged = cv2.resize(frame, where.resized_wh, interpolation=cv2.INTER_AREA)
    assert np.abs(inside.astype(int) - averaged).mean() < 5


@pytest.mark.parametrize(
    "frame", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))]
)
def test_wrong_pictures_are_refused(frame):
    with pytest.raises(ValueError, match="expected uint8"):
        letterbox(frame, np.empty((64, 96, 3), np.uint8))


def test_frames_for_the_graph_stay_where_they_are():
    frames = CameraFrames((30, 20))
    assert frames.buffer.shape == (1, 20, 30, 3)
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    geometry = frames(frame)
    assert np.shares_memory(frames.buffer, frame)
    boxes = np.array([[0, 0, 30, 20], [-3.3, 2.1, 7.7, 9.9]], np.float32)
    np.testing.assert_array_equal(geometry.to_frame(boxes), boxes)


@pytest.mark.parametrize("turned", [lambda f: f[:, ::-1], lambda f: f[::2], lambda f: f[..., ::-1]])
def test_scattered_frames_for_the_graph_are_gathered(turned):
    whole = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    frame = turned(whole)
    frames = CameraFrames((frame.shape[1], frame.shape[0]))
    frames(frame)
    assert frames.buffer.flags.c_contiguous
    np.testing.assert_array_equal(frames.buffer[0], frame)


def test_a_frame_of_another_size_than_the_graphs_is_refused():
    frames = CameraFrames((30, 20))
    with pytest.raises(UserError, match=r"20x30 .* 30x20 only: .* --frame-size 20x30"):
        frames(np.zeros((30, 20, 3), np.uint8))
    with pytest.raises(ValueError, match="expected uint8"):
        frames(np.zeros((20, 30), np.uint8))
