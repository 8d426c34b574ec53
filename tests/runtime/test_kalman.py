"""The block-wise filter against the textbook's dense one."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.tracking import kalman

H = np.eye(4, 8)


def dense(covariances):
    result = np.zeros((len(covariances), 8, 8))
    for i in range(4):
        result[:, i, i] = covariances[:, 0, i]
        result[:, i, i + 4] = result[:, i + 4, i] = covariances[:, 1, i]
        result[:, i + 4, i + 4] = covariances[:, 2, i]
    return result


def noise(heights, weight, aspect):
    result = np.zeros((len(heights), 4, 4))
    for i in range(4):
        result[:, i, i] = aspect**2 if i == 2 else (heights * weight) ** 2
    return result


def test_no_tracks():
    means, covariances = kalman.initiate(np.zeros((0, 4)))
    means, covariances = kalman.predict(means, covariances)
    means, covariances = kalman.update(means, covariances, np.zeros((0, 4)))
    assert means.shape == (0, 8) and covariances.shape == (0, 3, 4)
    assert kalman.squared_distance(*kalman.project(means, covariances), np.ones((0, 4))).size == 0
    assert kalman.warp(means, covariances, np.eye(2, 3))[0].shape == (0, 8)
    assert kalman.xyah_to_xyxy(means).shape == (0, 4)


@pytest.mark.parametrize("time", [1.0, 30 / 7])
def test_equals_the_dense_filter_over_many_steps(time):
    move = np.eye(8) + time * np.eye(8, k=4)
    random = np.random.default_rng(1)
    boxes = random.uniform([0, 0, 0.3, 30], [500, 500, 0.6, 150], (7, 4))
    means, covariances = kalman.initiate(boxes)
    mean, covariance = means.copy(), dense(covariances)
    for _ in range(20):
        process = np.zeros((7, 8, 8))
        process[:, :4, :4] = noise(mean[:, 3], 1 / 20, 1e-2)
        process[:, 4:, 4:] = noise(mean[:, 3], 1 / 160, 1e-5)
        mean, covariance = mean @ move.T, move @ covariance @ move.T + time * process
        means, covariances = kalman.predict(means, covariances, time)
        np.testing.assert_allclose(dense(covariances), covariance, rtol=1e-9, atol=1e-12)

        boxes = boxes + random.normal(0, [3, 3, 0.01, 2], boxes.shape)
        expected = mean @ H.T
        spread = H @ covariance @ H.T + noise(mean[:, 3], 1 / 20, 1e-1)
        difference = boxes - expected
        squared = np.einsum("ni,nij,nj->n", difference, np.linalg.inv(spread), difference)
        projected = kalman.project(means, covariances)
        np.testing.assert_allclose(kalman.squared_distance(*projected, boxes), squared)

        gain = covariance @ H.T @ np.linalg.inv(spread)
        mean = mean + np.einsum("nij,nj->ni", gain, boxes - expected)
        covariance = covariance - gain @ spread @ gain.transpose(0, 2, 1)
        means, covariances = kalman.update(means, covariances, boxes)
        np.testing.assert_allclose(means, mean, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(dense(covariances), covariance, rtol=1e-7, atol=1e-12)


def test_learns_a_constant_velocity():
    box = np.array([[100.0, 100.0, 0.4, 80.0]])
    means, covariances = kalman.initiate(box)
    step = np.array([4.0, -2.0, 0.0, 0.0])
    for _ in range(40):
        box = box + step
        means, covariances = kalman.update(*kalman.predict(means, covariances), box)
    np.testing.assert_allclose(means[0, 4:6], [4, -2], atol=0.05)


def test_boxes_survive_the_round_trip():
    boxes = np.array([[10.0, 20.0, 30.0, 80.0], [-5.0, -5.0, 5.0, 0.0]])
    np.testing.assert_allclose(kalman.xyah_to_xyxy(kalman.xyxy_to_xyah(boxes)), boxes)


def test_a_moving_camera_moves_states_as_the_dense_filter_would():
    random = np.random.default_rng(2)
    means, covariances = kalman.initiate(
        random.uniform([0, 0, 0.3, 30], [500, 500, 0.6, 150], (5, 4))
    )
    for _ in range(3):
        boxes = means[:, :4] + random.normal(0, [3, 3, 0.01, 2], (5, 4))
        means, covariances = kalman.update(*kalman.predict(means, covariances), boxes)
    angle, scale = 0.2, 1.1
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.column_stack([turn, [7.0, -3.0]])
    whole = np.diag([1.0, 1.0, 1.0, scale] * 2)
    whole[:2, :2] = whole[4:6, 4:6] = turn
    moved, spread = kalman.warp(means, covariances, matrix)
    np.testing.assert_allclose(moved, means @ whole.T + [7, -3, 0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(dense(spread), whole @ dense(covariances) @ whole.T, atol=1e-9)
