"""Distances and the assignment."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from runtime.tracking.association import assign, embedding_distance, fuse_motion, iou_distance


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_assign(shape):
    rows, columns = assign(np.zeros(shape), 0.5)
    assert len(rows) == len(columns) == 0


def test_forbidden_pairs_are_never_formed():
    distances = np.array([[np.inf, np.nan], [0.6, np.inf]])
    assert len(assign(distances, 0.5)[0]) == 0
    rows, columns = assign(distances, 0.7)
    assert rows.tolist() == [1] and columns.tolist() == [0]


def test_limit_of_zero_leaves_only_what_is_identical():
    rows, columns = assign(np.array([[0.3, 0.0]]), 0.0)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) <= {(0, 1)}


@pytest.mark.parametrize("seed", range(20))
def test_assignment_has_the_lowest_cost_of_all(seed):
    random = np.random.default_rng(seed)
    distances = random.random((random.integers(1, 5), random.integers(1, 5)))
    distances[random.random(distances.shape) < 0.3] = np.inf
    limit = 0.6

    def cost(pairs):
        return sum(distances[pair] for pair in pairs) + limit * (min(distances.shape) - len(pairs))

    rows, columns = assign(distances, limit)
    found = cost(list(zip(rows, columns, strict=True)))
    count, others = distances.shape
    best = np.inf
    # Every injection of rows into columns, where columns beyond the last mean "left open".
    for order in permutations(range(others + count), count):
        pairs = [(row, column) for row, column in enumerate(order) if column < others]
        best = min(best, cost([pair for pair in pairs if distances[pair] <= limit]))
    assert found == pytest.approx(best)


def test_iou_distance_of_none_and_of_degenerate_boxes():
    assert iou_distance(np.zeros((0, 4)), np.zeros((2, 4))).shape == (0, 2)
    assert iou_distance([[1, 1, 1, 5]], [[0, 0, 9, 9], [1, 1, 1, 5]]).tolist() == [[1, 1]]


def test_embedding_distance_is_one_minus_cosine_and_never_negative():
    unit = np.array([[1, 0], [0.6, 0.8]], np.float32)
    distances = embedding_distance(unit, np.concatenate([unit, -unit]))
    np.testing.assert_allclose(distances, [[0, 0.4, 2, 1.6], [0.4, 0, 1.6, 2]], atol=1e-6)
    assert (distances >= 0).all()


def test_fuse_motion_weighs_and_gates():
    fused = fuse_motion(np.array([[0.5, 0.1]]), np.array([[2.0, 9.5]]), weight=0.02, gate=9.4877)
    assert fused.tolist() == [[pytest.approx(0.98 * 0.5 + 0.02 * 2), np.inf]]
