"""The tracker: FairMOT's cascade of associations on arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.tracking import kalman
from runtime.tracking.association import (
    assign,
    embedding_distance,
    forbid_other_classes,
    fuse_motion,
    iou_distance,
)
from runtime.tracking.config import TrackerConfig
from runtime.tracking.table import TrackTable
from runtime.types import Detections, Tracks

Rows = npt.NDArray[np.intp]


class Tracker:
    """Links the detections of consecutive frames to tracks.

    The cascade is FairMOT's (Zhang et al., IJCV 2021), with ByteTrack's low-score stage in the
    default preset. In each frame:

    1. tracked and lost tracks to high-score detections, by embedding and motion; by overlap where
       the model has no embeddings;
    2. what is left of the tracked ones to what is left of these, by overlap;
    3. what is still left of them to low-score detections, by overlap (if ``low_score_stage``);
    4. tracks with a single detection so far to the remaining high-score detections, by overlap;
    5. remaining high-score detections start tracks.

    Objects of different classes are never linked. There is no Python object per track or detection.

    Args:
        preset: Name of the settings; see ``TrackerConfig.preset``.
        fps: Frames per second of the sequence.
        config: Settings to use instead of a preset.
        **overrides: Single settings to change.

    Attributes:
        config: The settings in use.
        max_lost_frames: ``lost_seconds`` in frames.

    Raises:
        UserError: A preset or setting is unknown or out of range, or fps is not positive.

    Examples:
        >>> tracker = Tracker(fps=25)
        >>> tracker.update(Detections(np.array([[10, 10, 30, 60]]), np.array([0.9]))).ids
        array([1])
    """

    def __init__(
        self,
        preset: str = "default",
        fps: float = 30.0,
        config: TrackerConfig | None = None,
        **overrides: Any,
    ) -> None:
        if not (math.isfinite(fps) and fps > 0):
            raise UserError(f"frame rate {fps:g} is not a positive number: give frames per second")
        self.config = (config or TrackerConfig.preset(preset)).replace(**overrides)
        # The small term keeps a product like 0.1 s * 30 Hz from falling under the whole number.
        self.max_lost_frames = int(fps * self.config.lost_seconds + 1e-6)
        self.reset()

    def reset(self) -> None:
        """Forget all tracks; ids count from 1 again."""
        self._frame = 0
        self._last_id = 0
        # Set by the first detections: the length of embeddings, 0 without.
        self._embedding_dim: int | None = None
        self._table = TrackTable.empty(0)

    def update(self, detections: Detections, frame: npt.NDArray[np.uint8] | None = None) -> Tracks:
        """Take in the next frame.

        Args:
            detections: What was detected in it; may be empty.
            frame: The picture; not looked at.

        Returns:
            The confirmed tracks that were matched in this frame, oldest first.

        Raises:
            ValueError: The embeddings have another length than before.
        """
        self._frame += 1
        self._check_embeddings(detections)
        boxes_xyah = _measurements(detections)
        rows, columns, renew, open_high = self._associate(detections, boxes_xyah)
        self._apply(rows, columns, renew, detections, boxes_xyah)
        self._drop_unmatched(rows)
        self._start(open_high, detections, boxes_xyah)
        self._drop_duplicates()
        return self._output()

    def _associate(
        self, detections: Detections, boxes_xyah: npt.NDArray[np.float64]
    ) -> tuple[Rows, Rows, npt.NDArray[np.bool_], Rows]:
        """Predict and match.

        Returns:
            Matched rows of the table, the detections they matched, whether each match renews the
            embedding, and the high-score detections that stay open.
        """
        config, table = self.config, self._table
        valid = np.isfinite(boxes_xyah).all(axis=1)
        high = np.flatnonzero(valid & (detections.scores > config.high_threshold))
        pool = np.flatnonzero(table.is_confirmed)
        unconfirmed = np.flatnonzero(~table.is_confirmed)
        self._predict(pool)
        cascade = _Cascade(table, detections)

        if self._embedding_dim:
            distances = self._appearance_distances(pool, high, detections, boxes_xyah)
            pool, high = cascade.match(pool, high, config.appearance_distance, distances)
        else:
            pool, high = cascade.match(pool, high, config.motion_only_iou_distance)
        tracked = pool[~table.is_lost[pool]]
        tracked, high = cascade.match(tracked, high, config.iou_distance)
        if config.low_score_stage:
            low = np.flatnonzero(
                valid
                & (detections.scores > config.low_threshold)
                & (detections.scores <= config.high_threshold)
            )
            # A low score mostly means occlusion: the embedding would be half somebody else's.
            cascade.match(tracked, low, config.low_score_iou_distance, renew=False)
        _, high = cascade.match(unconfirmed, high, config.unconfirmed_iou_distance)
        return *cascade.result(), high

    def _predict(self, rows: Rows) -> None:
        table = self._table
        means = table.means[rows]
        # Without measurements the height would run away from the object; it is held instead.
        means[table.is_lost[rows], 7] = 0
        table.means[rows], table.covariances[rows] = kalman.predict(means, table.covariances[rows])

    def _appearance_distances(
        self,
        rows: Rows,
        columns: Rows,
        detections: Detections,
        boxes_xyah: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64]:
        assert detections.embeddings is not None or not len(columns)
        if detections.embeddings is None or not len(rows):
            return np.zeros((len(rows), len(columns)))
        table = self._table
        return fuse_motion(
            embedding_distance(table.embeddings[rows], detections.embeddings[columns]),
            kalman.gating_distance(table.means[rows], table.covariances[rows], boxes_xyah[columns]),
            self.config.motion_weight,
            self.config.motion_gate,
        )

    def _apply(
        self,
        rows: Rows,
        columns: Rows,
        renew: npt.NDArray[np.bool_],
        detections: Detections,
        boxes_xyah: npt.NDArray[np.float64],
    ) -> None:
        """Correct the matched tracks by their detections."""
        table = self._table
        if not len(rows):
            return
        table.means[rows], table.covariances[rows] = kalman.update(
            table.means[rows], table.covariances[rows], boxes_xyah[columns]
        )
        table.scores[rows] = detections.scores[columns]
        table.is_lost[rows] = False
        table.is_confirmed[rows] = True
        table.last_frames[rows] = self._frame
        if detections.embeddings is not None:
            momentum = np.float32(self.config.embedding_momentum)
            renewed = rows[renew]
            mixed = momentum * table.embeddings[renewed]
            mixed += (1 - momentum) * detections.embeddings[columns[renew]]
            table.embeddings[renewed] = _unit_length(mixed)

    def _drop_unmatched(self, rows: Rows) -> None:
        """Mark tracks without a match as lost; drop unconfirmed ones and those lost too long."""
        table = self._table
        unmatched = np.ones(len(table), np.bool_)
        unmatched[rows] = False
        table.is_lost |= unmatched
        expired = self._frame - table.last_frames > self.max_lost_frames
        dropped = unmatched & (~table.is_confirmed | expired)
        if dropped.any():
            self._table = table.select(~dropped)

    def _start(
        self, columns: Rows, detections: Detections, boxes_xyah: npt.NDArray[np.float64]
    ) -> None:
        chosen = columns[detections.scores[columns] >= self.config.new_track_threshold]
        if not len(chosen):
            return
        embeddings = detections.embeddings
        if embeddings is None:
            embeddings = np.zeros((len(detections), 0), np.float32)
        started = TrackTable.start(
            boxes_xyah[chosen],
            embeddings[chosen],
            detections.scores[chosen],
            detections.classes[chosen],
            self._frame,
        )
        self._table = self._table.extended(started) if len(self._table) else started

    def _drop_duplicates(self) -> None:
        """Of a tracked and a lost track on the same box keep the one with the longer history."""
        table = self._table
        tracked, lost = np.flatnonzero(~table.is_lost), np.flatnonzero(table.is_lost)
        if not len(tracked) or not len(lost):
            return
        boxes = table.boxes_xyxy
        distances = forbid_other_classes(
            iou_distance(boxes[tracked], boxes[lost]), table.classes[tracked], table.classes[lost]
        )
        pairs = np.nonzero(distances < self.config.duplicate_iou_distance)
        if not len(pairs[0]):
            return
        one, other = tracked[pairs[0]], lost[pairs[1]]
        history = table.last_frames - table.first_frames
        kept = np.ones(len(table), np.bool_)
        kept[np.where(history[one] > history[other], other, one)] = False
        self._table = table.select(kept)

    def _output(self) -> Tracks:
        table = self._table
        shown = np.flatnonzero(~table.is_lost & table.is_confirmed)
        new = shown[table.ids[shown] == 0]
        table.ids[new] = self._last_id + 1 + np.arange(len(new))
        self._last_id += len(new)
        return Tracks(
            table.ids[shown],
            kalman.xyah_to_xyxy(table.means[shown]).astype(np.float32),
            table.scores[shown],
            table.classes[shown],
        )

    def _check_embeddings(self, detections: Detections) -> None:
        if not len(detections):
            return
        dim = 0 if detections.embeddings is None else detections.embeddings.shape[1]
        if self._embedding_dim is None:
            self._embedding_dim = dim
        elif dim != self._embedding_dim:
            raise ValueError(
                f"embeddings of length {dim} after embeddings of length {self._embedding_dim}: "
                "use one model per tracker, or reset it"
            )


class _Cascade:
    """Collects the matches of the stages of one frame."""

    def __init__(self, table: TrackTable, detections: Detections) -> None:
        self._table = table
        self._detections = detections
        self._boxes = table.boxes_xyxy
        self._stages: list[tuple[Rows, Rows, bool]] = []

    def match(
        self,
        rows: Rows,
        columns: Rows,
        limit: float,
        distances: npt.NDArray[np.float64] | None = None,
        renew: bool = True,
    ) -> tuple[Rows, Rows]:
        """Match some tracks to some detections.

        Args:
            rows: ``[N]`` rows of the table.
            columns: ``[M]`` detections.
            limit: Largest distance of a match.
            distances: ``[N, M]``; the IoU distance when not given.
            renew: Whether the matches renew the embeddings.

        Returns:
            The rows and the columns without a match.
        """
        if not len(rows) or not len(columns):
            return rows, columns
        if distances is None:
            distances = iou_distance(self._boxes[rows], self._detections.boxes_xyxy[columns])
        forbid_other_classes(
            distances, self._table.classes[rows], self._detections.classes[columns]
        )
        matched_rows, matched_columns = assign(distances, limit)
        self._stages.append((rows[matched_rows], columns[matched_columns], renew))
        return np.delete(rows, matched_rows), np.delete(columns, matched_columns)

    def result(self) -> tuple[Rows, Rows, npt.NDArray[np.bool_]]:
        """Return rows, columns and the renew flag of all matches."""
        if not self._stages:
            return np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0, np.bool_)
        rows, columns, _ = zip(*self._stages, strict=True)
        renew = np.concatenate([np.full(len(stage[0]), stage[2]) for stage in self._stages])
        return np.concatenate(rows), np.concatenate(columns), renew


def _measurements(detections: Detections) -> npt.NDArray[np.float64]:
    """Return ``[N, 4]`` boxes as centre, aspect ratio, height; nan for boxes without area."""
    boxes = detections.boxes_xyxy
    with np.errstate(divide="ignore", invalid="ignore"):
        boxes_xyah = kalman.xyxy_to_xyah(boxes)
    boxes_xyah[~(boxes[:, 2:] > boxes[:, :2]).all(axis=1)] = np.nan
    return boxes_xyah


def _unit_length(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return vectors / np.maximum(lengths, np.float32(1e-12))[:, None]
