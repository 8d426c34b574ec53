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
