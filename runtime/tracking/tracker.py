"""The tracker: FairMOT's cascade of associations on arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.tracking import kalman
from runtime.tracking.association import Pairs, assign, cosine_distance, overlapping, within
from runtime.tracking.camera_motion import CameraMotion
from runtime.tracking.config import TrackerConfig
from runtime.tracking.measurements import Measurements
from runtime.tracking.table import TrackTable
from runtime.types import Detections, Tracks

Rows = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]

NOBODY = -1


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
    What becomes of detections that are not sound, ``Measurements`` tells. The preset ``fairmot``
    makes the original's decisions, to the last one.

    Args:
        preset: Name of the settings; see ``TrackerConfig.preset``.
        fps: Frames per second of the sequence.
        config: Settings to use instead of a preset.
        **overrides: Single settings to change.

    Attributes:
        config: The settings in use.
        fps: Frames per second.
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
        self.fps = fps
        self.config = (config or TrackerConfig.preset(preset)).replace(**overrides)
        # The small term keeps a product like 0.1 s * 30 Hz from falling under the whole number.
        self._units_per_frame = self.config.motion_fps / fps if self.config.motion_fps else 1.0
        self.max_lost_frames = int(fps * self.config.lost_seconds + 1e-6)
        self.reset()

    def reset(self) -> None:
        """Forget all tracks; ids count from 1 again."""
        self._frame = 0
        self._timestamp: float | None = None
        self._frame_wh: tuple[int, int] | None = None
        self._last_id = 0
        # Set by the first detections: the length of embeddings, 0 without.
        self._embedding_dim: int | None = None
        self._table = TrackTable.empty(0)
        self._camera = CameraMotion() if self.config.camera_motion else None

    def update(
        self,
        detections: Detections,
        frame: npt.NDArray[np.uint8] | None = None,
        timestamp: float | None = None,
    ) -> Tracks:
        """Take in the next frame.

        Args:
            detections: What was detected in it; may be empty.
            frame: The picture, uint8 BGR ``[H, W, 3]``. Tells when the source changes its size;
                what is in it is looked at only for ``camera_motion``.
            timestamp: Seconds since the start of the source. Tells how many frames were left out
                since the one before; without it, none.

        Returns:
            The confirmed tracks that were matched in this frame, oldest first.

        Raises:
            ValueError: The embeddings have another length than before.
        """
        steps = self._advance(timestamp)
        self._check_embeddings(detections)
        found = Measurements.of(detections, self.config.lowest_score)
        if steps > 1:
            self._drop_outlived()
        if frame is not None:
            self._follow_camera(frame, found)
        self._predict(steps)
        partners, is_open = self._associate(found)
        self._correct(partners, found)
        self._retire(partners == NOBODY)
        self._start(is_open, found)
        self._drop_duplicates()
        return self._output()

    def _advance(self, timestamp: float | None) -> int:
        """Count the frame and return how many have passed since the one before, 1 or more."""
        steps = 1
        if timestamp is not None and math.isfinite(timestamp):
            if self._timestamp is not None:
                steps = max(round((timestamp - self._timestamp) * self.fps), 1)
            self._timestamp = timestamp
        self._frame += steps if self._frame else 1
        return steps

    def _drop_outlived(self) -> None:
        """Drop the tracks whose time ran out in frames that were left out."""
        last_chance = self.max_lost_frames + 1 + self.config.revive_expired
        outlived = self._frame - self._table.last_frames > last_chance
        if outlived.any():
            self._table = self._table.select(~outlived)

    def _follow_camera(self, frame: npt.NDArray[np.uint8], found: Measurements) -> None:
        """Move the tracks with the picture, where it changed its size or the camera moved."""
        size_wh = (frame.shape[1], frame.shape[0])
        before_wh, self._frame_wh = self._frame_wh or size_wh, size_wh
        if size_wh != before_wh:
            scale_xy = np.divide(size_wh, before_wh)
            self._warp(np.column_stack([np.diag(scale_xy), np.zeros(2)]))
        if self._camera is not None:
            self._warp(self._camera.update(frame, found.boxes_xyxy))

    def _warp(self, matrix: npt.NDArray[np.float64]) -> None:
        table = self._table
        table.means, table.covariances = kalman.warp(table.means, table.covariances, matrix)

    def _predict(self, steps: int) -> None:
        """Move the confirmed tracks to where they should be now."""
        table, count = self._table, self._table.confirmed_count
        if not count:
            return
        means, covariances = table.means[:count], table.covariances[:count]
        # Without measurements the height would run away from the object; it is held instead.
        means[table.is_lost[:count], 7] = 0
        table.means[:count], table.covariances[:count] = kalman.predict(
            means, covariances, steps * self._units_per_frame
        )

    def _associate(self, found: Measurements) -> tuple[Rows, Mask]:
        """Match tracks and detections, stage by stage.

        Returns:
            The detection of each track, ``[N]``, or ``NOBODY``; and which high-score detections
            stay open, ``[M]``.
        """
        config, table = self.config, self._table
        partners = np.full(len(table), NOBODY, np.intp)
        is_high = found.scores > config.high_threshold
        is_open = is_high.copy()
        if not len(table) or not len(found):
            return partners, is_open
        stages = _Stages(table, found, partners, config.inclusive_boxes)
        count = table.confirmed_count
        pool = np.arange(count)
        high = np.flatnonzero(is_high)
        if self._embedding_dim:
            pairs = self._pairs_by_appearance(count, high, found)
            stages.match(pairs, config.appearance_distance, is_open)
        else:
            stages.match_by_overlap(pool, high, config.motion_only_iou_distance, is_open)
        tracked = pool[~table.is_lost[:count]]
        stages.match_by_overlap(tracked, high, config.iou_distance, is_open)
        if config.low_score_stage:
            low = np.flatnonzero(~is_high)
            stages.match_by_overlap(tracked, low, config.low_score_iou_distance, ~is_high)
        unconfirmed = np.arange(count, len(table))
        stages.match_by_overlap(unconfirmed, high, config.unconfirmed_iou_distance, is_open)
        return partners, is_open

    def _pairs_by_appearance(self, count: int, high: Rows, found: Measurements) -> Pairs:
        """Return the pairs of the first ``count`` tracks and detections that motion allows.

        The distance is the cosine distance with a small share of the squared Mahalanobis distance
        (Wang et al., "Towards Real-Time Multi-Object Tracking", ECCV 2020).
        """
        config, table = self.config, self._table
        boxes = found.boxes_xyah[high]
        expected, variances = kalman.project(table.means[:count], table.covariances[:count])
        # One coordinate alone must not be further off than all four may be together.
        reach = np.sqrt(config.motion_gate * variances[:, :2])
        x, y = expected[:, 0], expected[:, 1]
        rows, columns = within(x - reach[:, 0], x + reach[:, 0], boxes[:, 0])
        near = np.flatnonzero(np.abs(y[rows] - boxes[columns, 1]) <= reach[rows, 1])
        rows, columns = rows[near], columns[near]
        gating = kalman.squared_distance(expected[rows], variances[rows], boxes[columns])
        allowed = gating <= config.motion_gate
        allowed &= table.classes[rows] == found.classes[high[columns]]
        rows, columns, gating = rows[allowed], columns[allowed], gating[allowed]
        distances = cosine_distance(rows, columns, table.embeddings[:count], found.embeddings[high])
        distances *= 1 - config.motion_weight
        distances += config.motion_weight * gating
        return Pairs(rows, high[columns], distances)

    def _correct(self, partners: Rows, found: Measurements) -> None:
        """Correct the matched tracks by their detections."""
        rows = np.flatnonzero(partners >= 0)
        if not len(rows):
            return
        table, config, columns = self._table, self.config, partners[rows]
        table.means[rows], table.covariances[rows] = kalman.update(
            table.means[rows], table.covariances[rows], found.boxes_xyah[columns]
        )
        scores = found.scores[columns]
        table.scores[rows] = scores
        table.is_lost[rows] = False
        table.is_confirmed[rows] = True
        table.last_frames[rows] = self._frame
        if self._embedding_dim:
            # A low score mostly means occlusion: the embedding would be half somebody else's.
            renewed = scores > config.high_threshold
            rows, columns = rows[renewed], columns[renewed]
            momentum = np.float32(config.embedding_momentum)
            mixed = momentum * table.embeddings[rows]
            mixed += (1 - momentum) * found.embeddings[columns]
            table.embeddings[rows] = _unit_length(mixed)

    def _retire(self, unmatched: Mask) -> None:
        """Mark tracks without a match as lost; drop unconfirmed ones and those lost too long."""
        if not unmatched.any():
            return
        table = self._table
        is_late = self._frame - table.last_frames > self.max_lost_frames
        if self.config.revive_expired:
            dropped = unmatched & (~table.is_confirmed | table.is_doomed)
            table.is_doomed |= unmatched & table.is_lost & is_late
        else:
            dropped = unmatched & (~table.is_confirmed | is_late)
        table.is_lost |= unmatched
        if dropped.any():
            self._table = table.select(~dropped)

    def _start(self, is_open: Mask, found: Measurements) -> None:
        """Start tracks at the high-score detections that nobody took."""
        chosen = np.flatnonzero(is_open & (found.scores >= self.config.new_track_threshold))
        if not len(chosen):
            return
        started = TrackTable.start(
            found.boxes_xyah[chosen],
            found.embeddings[chosen],
            found.scores[chosen],
            found.classes[chosen],
            self._frame,
        )
        self._table = self._table.extended(started) if len(self._table) else started

    def _drop_duplicates(self) -> None:
        """Of a tracked and a lost track on the same box keep the one with the longer history."""
        table = self._table
        if not table.is_lost.any():
            return
        tracked, lost = np.flatnonzero(~table.is_lost), np.flatnonzero(table.is_lost)
        boxes = table.boxes_xyxy
        pairs = overlapping(boxes[tracked], boxes[lost], self.config.inclusive_boxes)
        one, other = tracked[pairs.rows], lost[pairs.columns]
        same = pairs.distances < self.config.duplicate_iou_distance
        same &= table.classes[one] == table.classes[other]
        if not same.any():
            return
        one, other = one[same], other[same]
        history = table.last_frames - table.first_frames
        kept = np.ones(len(table), np.bool_)
        kept[np.where(history[one] > history[other], other, one)] = False
        self._table = table.select(kept)

    def _output(self) -> Tracks:
        table = self._table
        shown = np.flatnonzero(~table.is_lost & table.is_confirmed)
        ids = table.ids[shown]
        is_new = ids == 0
        if is_new.any():
            ids[is_new] = self._last_id + 1 + np.arange(np.count_nonzero(is_new))
            self._last_id = int(ids[is_new][-1])
            table.ids[shown] = ids
        means = table.means[shown]
        return Tracks(
            ids,
            kalman.xyah_to_xyxy(means).astype(np.float32),
            table.scores[shown],
            table.classes[shown],
            (means[:, 4:6] * (self.fps * self._units_per_frame)).astype(np.float32),
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


class _Stages:
    """The stages of one frame, which take the tracks and detections left by those before.

    Args:
        table: The tracks, predicted.
        found: The detections.
        partners: ``[N]`` the detection of each track; filled in.
        inclusive: See ``overlapping``.
    """

    def __init__(
        self, table: TrackTable, found: Measurements, partners: Rows, inclusive: bool
    ) -> None:
        self._table, self._found = table, found
        self._partners, self._inclusive = partners, inclusive

    def match(self, pairs: Pairs, limit: float, is_open: Mask) -> None:
        """Form the cheapest pairs up to a distance, and close their detections."""
        rows, columns = assign(pairs, limit)
        self._partners[rows] = columns
        is_open[columns] = False

    def match_by_overlap(self, rows: Rows, columns: Rows, limit: float, is_open: Mask) -> None:
        """Match those of some tracks and detections that are still open."""
        if not is_open.any():
            return
        rows, columns = rows[self._partners[rows] == NOBODY], columns[is_open[columns]]
        if not len(rows) or not len(columns):
            return
        boxes = kalman.xyah_to_xyxy(self._table.means[rows])
        pairs = overlapping(boxes, self._found.boxes_xyxy[columns], self._inclusive)
        pairs = Pairs(rows[pairs.rows], columns[pairs.columns], pairs.distances)
        same_class = self._table.classes[pairs.rows] == self._found.classes[pairs.columns]
        self.match(pairs[same_class], limit, is_open)


def _unit_length(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return vectors / np.maximum(lengths, np.float32(1e-12))[:, None]
