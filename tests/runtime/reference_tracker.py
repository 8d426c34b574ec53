"""The tracker written down plainly: one object per track, dense matrices, Python loops.

Slow on purpose, and sharing no code with ``runtime.tracking``; the tests hold the fast tracker
against it, and it against what the original FairMOT tracker did. Only the settings are the same
object.
"""

from __future__ import annotations

import math

import lap
import numpy as np

from runtime.tracking.config import TrackerConfig
from runtime.types import Detections

H = np.eye(4, 8)


def xyah(box):
    left, top, right, bottom = (float(side) for side in box)
    width, height = right - left, bottom - top
    return np.array([left + width / 2, top + height / 2, width / height, height])


class Track:
    def __init__(self, box, embedding, class_index, frame):
        measured = xyah(box)
        h = measured[3]
        self.mean = np.concatenate([measured, np.zeros(4)])
        deviations = [h / 10, h / 10, 1e-2, h / 10, h / 16, h / 16, 1e-5, h / 16]
        self.covariance = np.diag(np.square(deviations))
        self.embedding = embedding
        self.class_index = class_index
        self.first_frame = self.last_frame = frame
        self.confirmed = frame == 1
        self.lost = False
        # Given up, and yet to be matched for one more frame; see ``revive_expired``.
        self.expired = False
        self.id = None

    @property
    def box(self):
        x, y, a, h = self.mean[:4]
        return [x - a * h / 2, y - h / 2, x + a * h / 2, y + h / 2]

    def predict(self, time):
        if self.lost:
            self.mean[7] = 0
        h = self.mean[3]
        deviations = [h / 20, h / 20, 1e-2, h / 20, h / 160, h / 160, 1e-5, h / 160]
        transition = np.eye(8) + time * np.eye(8, k=4)
        noise = time * np.diag(np.square(deviations))
        self.mean = transition @ self.mean
        self.covariance = transition @ self.covariance @ transition.T + noise

    def measurement(self):
        h = self.mean[3]
        noise = np.diag(np.square([h / 20, h / 20, 1e-1, h / 20]))
        return H @ self.mean, H @ self.covariance @ H.T + noise

    def gating_distance(self, box):
        expected, covariance = self.measurement()
        difference = xyah(box) - expected
        return float(difference @ np.linalg.inv(covariance) @ difference)

    def update(self, box, embedding, frame, momentum):
        expected, covariance = self.measurement()
        gain = self.covariance @ H.T @ np.linalg.inv(covariance)
        self.mean = self.mean + gain @ (xyah(box) - expected)
        self.covariance = self.covariance - gain @ covariance @ gain.T
        if embedding is not None:
            mixed = momentum * self.embedding + (1 - momentum) * embedding
            self.embedding = mixed / math.sqrt(float(mixed @ mixed))
        self.last_frame = frame
        self.lost = False
        self.confirmed = True


def iou_distance(a, b, border=0):
    """``border`` is 1 where the right and bottom pixels belong to the boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + border
    height = min(a[3], b[3]) - max(a[1], b[1]) + border
    if width <= 0 or height <= 0:
        return 1.0
    shared = width * height
    areas = sum((c[2] - c[0] + border) * (c[3] - c[1] + border) for c in (a, b))
    return 1 - shared / (areas - shared)


def assign(tracks, detections, distance, limit):
    """Return matched pairs, tracks left and detections left, by a padded square problem."""
    count, others = len(tracks), len(detections)
    if not count or not others:
        return [], list(tracks), list(detections)
    square = np.zeros((count + others, count + others))
    square[:count, others:] = limit / 2
    square[count:, :others] = limit / 2
    for row, track in enumerate(tracks):
        for column, detection in enumerate(detections):
            cost = distance(track, detection)
            square[row, column] = cost if cost <= limit else 1000.0
    _, columns, _ = lap.lapjv(square)
    pairs = [(row, columns[row]) for row in range(count) if columns[row] < others]
    taken_rows, taken_columns = {row for row, _ in pairs}, {column for _, column in pairs}
    return (
        [(tracks[row], detections[column]) for row, column in pairs],
        [track for row, track in enumerate(tracks) if row not in taken_rows],
        [detection for column, detection in enumerate(detections) if column not in taken_columns],
    )


class ReferenceTracker:
    def __init__(self, config: TrackerConfig, fps: float = 30.0) -> None:
        self.config = config
        self.border = int(config.inclusive_boxes)
        self.fps = fps
        self.max_lost = math.floor(fps * config.lost_seconds + 1e-6)
        self.frame = 0
        self.tracks: list[Track] = []
        self.last_id = 0

    def update(self, detections: Detections) -> list[tuple[int, list[float]]]:
        """Take in a frame and return (id, box) of the tracks shown."""
        self.frame += 1
        config = self.config
        boxes = detections.boxes_xyxy.astype(float).tolist()
        scores = detections.scores.tolist()
        classes = detections.classes.tolist()
        embeddings = [None] * len(boxes)
        if detections.embeddings is not None:
            embeddings = list(detections.embeddings.astype(float))

        def by_overlap(track, index):
            if track.class_index != classes[index]:
                return math.inf
            return iou_distance(track.box, boxes[index], self.border)

        def by_appearance(track, index):
            gating = track.gating_distance(boxes[index])
            if gating > config.motion_gate or track.class_index != classes[index]:
                return math.inf
            cosine = max(1 - float(track.embedding @ embeddings[index]), 0)
            return (1 - config.motion_weight) * cosine + config.motion_weight * gating

        def apply(pairs, renew=True):
            for track, index in pairs:
                embedding = embeddings[index] if renew else None
                track.update(boxes[index], embedding, self.frame, config.embedding_momentum)

        lost_before = [track for track in self.tracks if track.lost]
        high = [i for i, score in enumerate(scores) if score > np.float32(config.high_threshold)]
        pool = [track for track in self.tracks if track.confirmed]
        unconfirmed = [track for track in self.tracks if not track.confirmed]
        for track in pool:
            track.predict(config.motion_fps / self.fps if config.motion_fps else 1)
        if detections.embeddings is not None:
            pairs, left, high = assign(pool, high, by_appearance, config.appearance_distance)
        else:
            pairs, left, high = assign(pool, high, by_overlap, config.motion_only_iou_distance)
        apply(pairs)
        still_tracked = [track for track in left if not track.lost]
        pairs, still_tracked, high = assign(still_tracked, high, by_overlap, config.iou_distance)
        apply(pairs)
        if config.low_score_stage:
            low = [
                i
                for i, score in enumerate(scores)
                if np.float32(config.low_threshold) < score <= np.float32(config.high_threshold)
            ]
            limit = config.low_score_iou_distance
            pairs, still_tracked, _ = assign(still_tracked, low, by_overlap, limit)
            apply(pairs, renew=False)
        for track in still_tracked:
            track.lost = True
        limit = config.unconfirmed_iou_distance
        pairs, never_seen_again, high = assign(unconfirmed, high, by_overlap, limit)
        apply(pairs)
        self.tracks = [track for track in self.tracks if track not in never_seen_again]
        for index in high:
            if scores[index] >= np.float32(config.new_track_threshold):
                new = Track(boxes[index], embeddings[index], classes[index], self.frame)
                self.tracks.append(new)
        if not config.revive_expired:
            self.tracks = [track for track in self.tracks if not self.is_overdue(track)]
        else:
            # Who expired before and is not matched goes; who expires now stays for one frame more.
            # A track that was found in that frame is marked for good, and goes when next lost.
            self.tracks = [track for track in self.tracks if not (track.lost and track.expired)]
            for track in lost_before:
                track.expired |= self.is_overdue(track)
        self.drop_duplicates()
        shown = []
        for track in self.tracks:
            if track.confirmed and not track.lost:
                if track.id is None:
                    self.last_id += 1
                    track.id = self.last_id
                shown.append((track.id, track.box))
        return shown

    def is_overdue(self, track: Track) -> bool:
        return track.lost and self.frame - track.last_frame > self.max_lost

    def drop_duplicates(self) -> None:
        dropped = []
        for one in [track for track in self.tracks if not track.lost]:
            for other in [track for track in self.tracks if track.lost]:
                if one.class_index != other.class_index:
                    continue
                distance = iou_distance(one.box, other.box, self.border)
                if distance < self.config.duplicate_iou_distance:
                    older = one.last_frame - one.first_frame > other.last_frame - other.first_frame
                    dropped.append(other if older else one)
        self.tracks = [track for track in self.tracks if track not in dropped]
