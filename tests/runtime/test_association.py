"""Candidate pairs, distances and the assignment."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from runtime.tracking.association import Pairs, assign, cosine_distance, overlapping, within


def pairs_of(distances):
    """Return all pairs of a matrix of distances."""
    rows, columns = np.indices(distances.shape)
    return Pairs(rows.ravel(), columns.ravel(), distances.ravel())


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_assign(shape):
    rows, columns = assign(pairs_of(np.zeros(shape)), 0.5)
    assert len(rows) == len(columns) == 0


def test_forbidden_pairs_are_never_formed():
    distances = np.array([[np.inf, np.nan], [0.6, np.inf]])
    assert len(assign(pairs_of(distances), 0.5)[0]) == 0
    rows, columns = assign(pairs_of(distances), 0.7)
    assert rows.tolist() == [1] and columns.tolist() == [0]


def test_limit_of_zero_leaves_only_what_is_identical():
    rows, columns = assign(pairs_of(np.array([[0.3, 0.0]])), 0.0)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) <= {(0, 1)}
    assert len(assign(pairs_of(np.array([[0.3, 0.2], [0.1, 0.2]])), 0.0)[0]) == 0


@pytest.mark.parametrize("seed", range(20))
def test_assignment_has_the_lowest_cost_of_all(seed):
    random = np.random.default_rng(seed)
    distances = random.random((random.integers(1, 5), random.integers(1, 5)))
    distances[random.random(distances.shape) < [0.3, 0.7][seed % 2]] = np.inf
    limit = 0.6

    def cost(pairs):
        return sum(distances[pair] for pair in pairs) + limit * (min(distances.shape) - len(pairs))

    given = pairs_of(distances)
    shuffled = random.permutation(np.flatnonzero(np.isfinite(given.distances)))
    rows, columns = assign(given[shuffled], limit)
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(rows)
    found = cost(list(zip(rows, columns, strict=True)))
    count, others = distances.shape
    best = np.inf
    # Every injection of rows into columns, where columns beyond the last mean "left open".
    for order in permutations(range(others + count), count):
        pairs = [(row, column) for row, column in enumerate(order) if column < others]
        best = min(best, cost([pair for pair in pairs if distances[pair] <= limit]))
    assert found == pytest.approx(best)


@pytest.mark.parametrize("seed", range(5))
def test_the_sweep_finds_what_comparing_all_finds(seed):
    random = np.random.default_rng(seed)
    values = random.integers(0, 20, random.integers(0, 12)).astype(float)
    low = random.integers(-2, 22, random.integers(0, 9)).astype(float)
    high = low + random.integers(-2, 6, len(low))
    rows, columns = within(low, high, values)
    inside = (low[:, None] <= values) & (values <= high[:, None])
    assert len(rows) == inside.sum() and inside[rows, columns].all()
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == len(rows)
    assert (np.diff(rows) >= 0).all()


def plain_iou(a, b, extra):
    width = min(a[2], b[2]) - max(a[0], b[0]) + extra
    height = min(a[3], b[3]) - max(a[1], b[1]) + extra
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + extra) * (box[3] - box[1] + extra) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize("inclusive", [False, True])
def test_overlaps_are_those_of_comparing_all(inclusive):
    random = np.random.default_rng(3)
    corners = random.uniform(-20, 60, (40, 2)).round()
    boxes = np.concatenate([corners, corners + random.integers(1, 30, (40, 2))], axis=1)
    a, b = boxes[:15], boxes[15:]
    pairs = overlapping(a, b, inclusive)
    found = np.zeros((len(a), len(b)))
    found[pairs.rows, pairs.columns] = 1 - pairs.distances
    expected = [[plain_iou(one, other, int(inclusive)) for other in b] for one in a]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert len(pairs) == np.count_nonzero(expected) > 20


def test_nothing_and_boxes_without_area_overlap_nothing():
    assert len(overlapping(np.zeros((0, 4)), np.zeros((2, 4)))) == 0
    assert len(overlapping(np.zeros((2, 4)), np.zeros((0, 4)))) == 0
    assert len(overlapping([[1, 1, 1, 5], [8, 8, 2, 2]], [[0, 0, 9, 9], [1, 1, 1, 5]])) == 0


def test_cosine_distance_is_never_negative_however_many_pairs_there_are():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(60, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows, columns = (index.ravel() for index in np.indices((60, 60)))
    many = cosine_distance(rows, columns, vectors, vectors)
    few = cosine_distance(rows[:90], columns[:90], vectors, vectors)
    np.testing.assert_allclose(many[:90], few, atol=1e-6)
    np.testing.assert_allclose(many.reshape(60, 60), 1 - vectors @ vectors.T, atol=1e-6)
    assert (many >= 0).all() and many.max() > 1.5
