"""Candidate pairs of tracks and detections, their distances, and the cheapest way to pair them.

In a crowd nearly all pairs are out of the question: too far apart, or without overlap. So pairs are
kept as three columns, row (of a track), column (of a detection) and distance, and no matrix of all
against all is ever filled.
"""

from __future__ import annotations

from dataclasses import dataclass

import lap
import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

# Fewer pairs than this share of all are multiplied one by one, more as one matrix product.
FEW_PAIRS = 1 / 24


@dataclass
class Pairs:
    """Pairs that may be formed, in no particular order.

    Attributes:
        rows: ``[P]`` intp.
        columns: ``[P]`` intp.
        distances: ``[P]`` float64.
    """

    rows: Rows
    columns: Rows
    distances: Float64

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: npt.NDArray[np.bool_] | Rows) -> Pairs:
        """Return the pairs that a mask or an index array selects."""
        return Pairs(self.rows[index], self.columns[index], self.distances[index])


def within(low: Float64, high: Float64, values: Float64) -> tuple[Rows, Rows]:
    """Find the values inside each interval: sort, and sweep over them.

    Args:
        low: ``[N]`` lower ends.
        high: ``[N]`` upper ends.
        values: ``[M]`` finite numbers.

    Returns:
        Numbers of intervals, ascending, and of the values in them, both ``[P]``.

    Examples:
        >>> within(np.array([0.0, 5.0]), np.array([2.0, 6.0]), np.array([2.0, 9.0, 0.5]))
        (array([0, 0]), array([2, 0]))
    """
    order = np.argsort(values)
    ordered = values[order]
    first = ordered.searchsorted(low)
    counts = np.maximum(ordered.searchsorted(high, "right") - first, 0)
    ends = counts.cumsum()
    rows = np.arange(len(low)).repeat(counts)
    # The running number of a pair, from the first one of its interval on.
    shift = first - ends + counts
    return rows, order[np.arange(len(rows)) + shift[rows]]


def overlapping(
    rows_xyxy: npt.ArrayLike, columns_xyxy: npt.ArrayLike, inclusive: bool = False
) -> Pairs:
    """Find the pairs of boxes that overlap.

    Args:
        rows_xyxy: ``[N, 4]`` in pixels.
        columns_xyxy: ``[M, 4]`` in pixels.
        inclusive: Count the last pixel as part of a box, so that it is right - left + 1 wide, as
            Fast R-CNN's and FairMOT's ``bbox_overlaps`` does.

    Returns:
        The pairs with the distance 1 - IoU, below 1; boxes without area have none.

    Examples:
        >>> pairs = overlapping([[0, 0, 2, 2]], [[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]])
        >>> pairs.columns, pairs.distances.round(3)
        (array([0, 1]), array([0.   , 0.667]))
    """
    a = np.asarray(rows_xyxy, np.float64).reshape(-1, 4)
    b = np.asarray(columns_xyxy, np.float64).reshape(-1, 4)
    if not len(a) or not len(b):
        return Pairs(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0))
    if inclusive:
        a, b = a + np.array([0, 0, 1, 1]), b + np.array([0, 0, 1, 1])
    widest = (b[:, 2] - b[:, 0]).max()
    rows, columns = within(a[:, 0] - widest, a[:, 2], b[:, 0])
    one, other = a[rows], b[columns]
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    kept = np.flatnonzero((sides > 0).all(axis=1))
    rows, columns = rows[kept], columns[kept]
    shared = sides[kept].prod(axis=1)
    union = _areas(a)[rows] + _areas(b)[columns] - shared
    return Pairs(rows, columns, 1 - shared / union)


def cosine_distance(
    rows: Rows,
    columns: Rows,
    tracks: npt.NDArray[np.float32],
    detections: npt.NDArray[np.float32],
) -> Float64:
    """Return the cosine distance of the embeddings of some pairs.

    Args:
        rows: ``[P]`` rows of ``tracks``.
        columns: ``[P]`` rows of ``detections``.
        tracks: ``[N, D]`` of unit length.
        detections: ``[M, D]`` of unit length.

    Returns:
        ``[P]`` in 0..2.
    """
    if len(rows) < FEW_PAIRS * len(tracks) * len(detections):
        cosines = np.einsum("pd,pd->p", tracks[rows], detections[columns])
    else:
        cosines = (tracks @ detections.T)[rows, columns]
    return np.maximum(1 - cosines.astype(np.float64), 0)


def assign(pairs: Pairs, limit: float) -> tuple[Rows, Rows]:
    """Choose pairs so that none shares a row or a column, at the lowest total cost.

    A row left open costs ``limit``, so a pair further apart than that is never formed. Rows and
    columns that have nobody but each other are paired at once; what contends for each other is
    solved by the method of Jonker and Volgenant (Computing 38, 1987).

    Args:
        pairs: What may be paired; each pair once. ``inf`` and ``nan`` forbid a pair.
        limit: Largest distance of a pair.

    Returns:
        Rows and columns of the pairs formed.

    Examples:
        >>> rows, columns = np.array([0, 0, 1]), np.array([0, 1, 0])
        >>> assign(Pairs(rows, columns, np.array([0.1, 0.2, 0.0])), limit=0.5)
        (array([0, 1]), array([1, 0]))
    """
    allowed = pairs.distances <= limit
    if not allowed.all():
        pairs = pairs[allowed]
    rows, columns = pairs.rows, pairs.columns
    if not len(rows):
        return rows, columns
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    if alone.all():
        return rows, columns
    contended = pairs[~alone]
    some_rows, some_columns = _solve(contended, limit)
    return np.concatenate([rows[alone], some_rows]), np.concatenate([columns[alone], some_columns])


def _solve(pairs: Pairs, limit: float) -> tuple[Rows, Rows]:
    """Solve the assignment over the rows and columns that occur in ``pairs``."""
    rows, row_places = np.unique(pairs.rows, return_inverse=True)
    columns, column_places = np.unique(pairs.columns, return_inverse=True)
    # The solver wants finite costs; any value above the limit means the same to it.
    costs = np.full((len(rows), len(columns)), 2 * limit + 1)
    costs[row_places, column_places] = pairs.distances
    _, chosen, _ = lap.lapjv(costs, extend_cost=True, cost_limit=limit)
    places = np.flatnonzero(chosen >= 0)
    partners = chosen[places].astype(np.intp)
    # At a limit of 0 a pair costs as much as none.
    formed = costs[places, partners] <= limit
    return rows[places[formed]], columns[partners[formed]]


def _areas(boxes_xyxy: Float64) -> Float64:
    return (boxes_xyxy[:, 2] - boxes_xyxy[:, 0]) * (boxes_xyxy[:, 3] - boxes_xyxy[:, 1])
