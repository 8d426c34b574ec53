"""The input of every metric: who was where, and how alike, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.metrics.similarity import iou_ltwh

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SequenceData:
    """One sequence; make it with ``sequence_from_frames`` or ``sequence_from_boxes``.

    Attributes:
        gt_ids: Per frame ``[G]`` int64, identities numbered 0 to ``gt_id_count`` - 1.
        tracker_ids: Per frame ``[T]`` int64, numbered 0 to ``tracker_id_count`` - 1.
        similarities: Per frame ``[G, T]`` float64 in 0..1, e.g. the IoU.
        gt_names: ``[gt_id_count]`` the identities as the input numbered them, ascending.
        tracker_names: ``[tracker_id_count]`` likewise.
    """

    gt_ids: tuple[IntArray, ...]
    tracker_ids: tuple[IntArray, ...]
    similarities: tuple[FloatArray, ...]
    gt_names: IntArray
    tracker_names: IntArray

    def __len__(self) -> int:
        return len(self.gt_ids)

    @property
    def gt_id_count(self) -> int:
        """Number of ground-truth identities."""
        return len(self.gt_names)

    @property
    def tracker_id_count(self) -> int:
        """Number of identities the tracker gave out."""
        return len(self.tracker_names)

    @property
    def gt_box_count(self) -> int:
        """Number of ground-truth boxes in all frames."""
        return sum(map(len, self.gt_ids))

    @property
    def tracker_box_count(self) -> int:
        """Number of boxes the tracker gave in all frames."""
        return sum(map(len, self.tracker_ids))


def sequence_from_frames(
    gt_ids: Sequence[npt.ArrayLike],
    tracker_ids: Sequence[npt.ArrayLike],
    similarities: Sequence[npt.ArrayLike],
) -> SequenceData:
    """Check per-frame arrays and number the identities from 0.

    Args:
        gt_ids: Per frame ``[G]`` integers of any size.
        tracker_ids: Per frame ``[T]`` integers of any size.
        similarities: Per frame ``[G, T]`` in 0..1.

    Raises:
        ValueError: The lists or arrays do not agree, or an identity occurs twice in a frame.

    Examples:
        >>> data = sequence_from_frames([[7], [7, 9]], [[], [40]], [np.zeros((1, 0)), [[0.9], [0]]])
        >>> [ids.tolist() for ids in data.gt_ids], data.tracker_id_count
        ([[0], [0, 1]], 1)
    """
    if not len(gt_ids) == len(tracker_ids) == len(similarities):
        raise ValueError(
            f"{len(gt_ids)} frames of ground truth, {len(tracker_ids)} of results and "
            f"{len(similarities)} similarity matrices"
        )
    new_gt_ids, gt_names = _renumber(gt_ids, "ground truth")
    new_tracker_ids, tracker_names = _renumber(tracker_ids, "results")
    matrices = []
    for frame, (gt, tracker, values) in enumerate(
        zip(new_gt_ids, new_tracker_ids, similarities, strict=True), 1
    ):
        matrix = np.asarray(values, np.float64)
        if matrix.size == 0:
            matrix = np.zeros((len(gt), len(tracker)) if 0 in (len(gt), len(tracker)) else (0, 0))
        if matrix.shape != (len(gt), len(tracker)):
            raise ValueError(
                f"frame {frame}: similarities have shape {matrix.shape}, "
                f"expected [{len(gt)}, {len(tracker)}]"
            )
        matrices.append(matrix)
    return SequenceData(new_gt_ids, new_tracker_ids, tuple(matrices), gt_names, tracker_names)


def sequence_from_boxes(
    gt_frames: IntArray,
    gt_ids: IntArray,
    gt_boxes_ltwh: FloatArray,
    frames: IntArray,
    ids: IntArray,
    boxes_ltwh: FloatArray,
    length: int,
) -> SequenceData:
    """Group rows by frame and compare their boxes by IoU.

    Args:
        gt_frames: ``[N]`` frame numbers of the ground truth, 1 to ``length``.
        gt_ids: ``[N]`` identities.
        gt_boxes_ltwh: ``[N, 4]`` left, top, width, height in pixels.
        frames: ``[M]`` frame numbers of the results, 1 to ``length``.
        ids: ``[M]`` identities.
        boxes_ltwh: ``[M, 4]`` in pixels.
        length: Number of frames of the sequence.

    Raises:
        ValueError: A frame number lies outside, or an identity occurs twice in a frame.
    """
    gt_groups = _group_by_frame(gt_frames, length, "ground truth")
    groups = _group_by_frame(frames, length, "results")
    return sequence_from_frames(
        [gt_ids[rows] for rows in gt_groups],
        [ids[rows] for rows in groups],
        [
            iou_ltwh(gt_boxes_ltwh[gt_rows], boxes_ltwh[rows])
            for gt_rows, rows in zip(gt_groups, groups, strict=True)
        ],
    )


def _group_by_frame(frames: IntArray, length: int, what: str) -> list[npt.NDArray[np.intp]]:
    """Return, per frame 1 to ``length``, the indices of its rows in their order."""
    if len(frames) and not 1 <= frames.min() <= frames.max() <= length:
        raise ValueError(
            f"{what}: frames {frames.min()} to {frames.max()}, the sequence has 1 to {length}"
        )
    order = np.argsort(frames, kind="stable")
    borders = np.searchsorted(frames[order], np.arange(2, length + 1))
    return np.split(order, borders) if length else []


def _renumber(
    per_frame: Sequence[npt.ArrayLike], what: str
) -> tuple[tuple[IntArray, ...], IntArray]:
    """Return the identities numbered from 0, and the identity behind each number."""
    arrays = [np.asarray(ids, np.int64).reshape(-1) for ids in per_frame]
    if not arrays:
        return (), np.zeros(0, np.int64)
    known, numbered = np.unique(np.concatenate(arrays), return_inverse=True)
    lengths = [len(ids) for ids in arrays]
    frames = np.repeat(np.arange(len(arrays)), lengths)
    keys, counts = np.unique(frames * len(known) + numbered, return_counts=True)
    if len(keys) < len(numbered):
        frame = keys[counts > 1][0] // len(known) + 1
        raise ValueError(f"{what}, frame {frame}: an identity occurs twice")
    borders = np.cumsum(lengths)[:-1]
    return tuple(np.split(numbered.astype(np.int64), borders)), known
