"""Optimal one-to-one assignment."""

from __future__ import annotations

import lap
import numpy as np
import numpy.typing as npt


def assign_max(
    scores: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pair rows with columns so that the sum of the paired scores is largest.

    Solved by Jonker and Volgenant's algorithm (Computing 38, 1987) as ``lap`` implements it.

    Args:
        scores: ``[R, C]``, finite; rectangular and empty matrices are fine.

    Returns:
        Row and column indices, each ``[min(R, C)]`` int64, rows ascending.

    Examples:
        >>> rows, columns = assign_max(np.array([[0.9, 0.8, 0.0], [0.9, 0.1, 0.0]]))
        >>> rows.tolist(), columns.tolist()
        ([0, 1], [1, 0])
    """
    if 0 in scores.shape:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    _, column_of_row, _ = lap.lapjv(-np.asarray(scores, np.float64), extend_cost=True)
    columns = np.asarray(column_of_row, np.int64)
    rows = np.flatnonzero(columns >= 0)
    return rows, columns[rows]


def assign_candidates(
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
) -> npt.NDArray[np.int64]:
    """Choose among candidate pairs so that the sum of the scores is largest.

    A pair of which neither side has another candidate is part of every best assignment, and most
    pairs of a frame are of that kind; only the others need solving.

    Args:
        rows: ``[N]`` row of each candidate.
        columns: ``[N]`` its column; no pair occurs twice.
        scores: ``[N]``, finite and above 0.

    Returns:
        Indices of the chosen candidates, ascending.

    Examples:
        >>> rows, columns = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 2])
        >>> assign_candidates(rows, columns, np.array([0.9, 0.8, 0.9, 0.1, 0.5]))
        array([1, 2, 4])
    """
    contested = (np.bincount(rows)[rows] > 1) | (np.bincount(columns)[columns] > 1)
    chosen = np.flatnonzero(~contested)
    if len(chosen) == len(rows):
        return chosen
    left, at = np.unique(rows[contested], return_inverse=True)
    right, to = np.unique(columns[contested], return_inverse=True)
    part = np.zeros((len(left), len(right)))
    part[at, to] = scores[contested]
    candidate = np.full(part.shape, -1)
    candidate[at, to] = np.flatnonzero(contested)
    solved = candidate[assign_max(part)]
    return np.sort(np.concatenate([chosen, solved[solved >= 0]]))
