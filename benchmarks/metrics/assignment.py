"""Optimal one-to-one assignment."""

from __future__ import annotations

import lap
import numpy as np
import numpy.typing as npt

from benchmarks.metrics.similarity import positive


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


def assign_positive(
    scores: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pair rows with columns as ``assign_max`` does, and return the pairs that score above 0.

    A pair of which neither side has another candidate is part of every best assignment, and most
    pairs of a frame are of that kind; only the others need solving.

    Args:
        scores: ``[R, C]``, finite and not negative.

    Returns:
        Row and column indices, each ``[pairs]`` int64, rows ascending.

    Examples:
        >>> rows, columns = assign_positive(np.array([[0.9, 0.8, 0], [0.9, 0.1, 0], [0, 0, 0.5]]))
        >>> rows.tolist(), columns.tolist()
        ([0, 1, 2], [1, 0, 2])
    """
    rows, columns = positive(scores)
    contested = (np.bincount(rows, minlength=len(scores))[rows] > 1) | (
        np.bincount(columns, minlength=scores.shape[1])[columns] > 1
    )
    if not contested.any():
        return rows, columns
    left, right = np.unique(rows[contested]), np.unique(columns[contested])
    part = scores[left[:, None], right[None, :]]
    at, to = assign_max(part)
    real = part[at, to] > 0
    rows = np.concatenate([rows[~contested], left[at[real]]])
    columns = np.concatenate([columns[~contested], right[to[real]]])
    order = np.argsort(rows)
    return rows[order], columns[order]
