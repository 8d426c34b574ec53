"""Every tracker under test, behind one small interface.

Peers are no dependencies of this project: each is imported when it is asked for. Their inputs are
prepared and their outputs read outside the time that is measured.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.association.crowd import FPS, plain_tracks
from benchmarks.association.original import OriginalTracker
from runtime.tracking.config import TrackerConfig
from runtime.tracking.tracker import Tracker
from runtime.types import Detections, Tracks

# Time without a detection after which a track is given up, in frames of 30 a second: FairMOT's and
# ByteTrack's, for everybody.
LOST_FRAMES = 30
# Below this no tracker looks at a detection, as in ByteTrack.
LOWEST_SCORE = 0.1


@dataclass(frozen=True)
class Settings:
    """What every tracker is told.

    Attributes:
        fps: Frames per second of the sequence.
        threshold: Detections scoring higher take part in all stages. Trackers without a stage for
            low scores get no others.
        new_threshold: Lowest score that starts a track, where a tracker can be told.
    """

    fps: float = FPS
    threshold: float = TrackerConfig().high_threshold
    new_threshold: float = TrackerConfig().new_track_threshold

    @property
    def lost_frames(self) -> int:
        """``LOST_FRAMES`` in frames of this sequence.

        Examples:
            >>> Settings().lost_frames, Settings(fps=7).lost_frames
            (30, 7)
        """
        return max(1, int(self.fps / 30 * LOST_FRAMES))


DEFAULT = Settings()


class Contender(ABC):
    """A tracker that has begun a sequence."""

    @abstractmethod
    def prepare(self, detections: Detections) -> Any:
        """Turn the detections of a frame into the tracker's own input."""

    @abstractmethod
    def update(self, prepared: Any) -> Any:
        """Take in the frame; this is what is timed."""

    @abstractmethod
    def read(self, found: Any) -> Tracks:
        """Turn what ``update`` returned into tracks."""

    def timed_update(self, prepared: Any) -> tuple[Any, float]:
        """Return what ``update`` returned and the seconds it took."""
        start = time.perf_counter()
        found = self.update(prepared)
        return found, time.perf_counter() - start


class Ours(Contender):
    """This project's tracker, with a preset and with or without embeddings.

    Args:
        preset: Name of the preset.
        embeddings: Whether it looks at them.
        settings: Changes to the preset; None leaves it as it is.
    """

    def __init__(
        self, preset: str, embeddings: bool = True, settings: Settings | None = None
    ) -> None:
        changes: dict[str, Any] = {}
        if settings is not None:
            changes = {
                "high_threshold": settings.threshold,
                "low_threshold": min(LOWEST_SCORE, settings.threshold),
                "new_track_threshold": settings.new_threshold,
            }
        self._tracker = Tracker(preset, fps=FPS if settings is None else settings.fps, **changes)
        self._embeddings = embeddings

    def prepare(self, detections: Detections) -> Detections:
        """Leave the embeddings away where they are not wanted."""
        if self._embeddings:
            return detections
        return Detections(detections.boxes_xyxy, detections.scores, classes=detections.classes)

    def update(self, prepared: Detections) -> Tracks:
        """Take in the frame."""
        return self._tracker.update(prepared)

    def read(self, found: Tracks) -> Tracks:
        """Return them as they are."""
        return found


class Original(Contender):
    """FairMOT's own tracker; the stand-in for its network is not counted."""

    def __init__(self, checkout: Path) -> None:
        self._tracker = OriginalTracker(checkout, FPS)

    def prepare(self, detections: Detections) -> Detections:
        """Return them as they are."""
        return detections

    def update(self, prepared: Detections) -> Tracks:
        """Take in the frame."""
        return self._tracker.update(prepared)

    def timed_update(self, prepared: Detections) -> tuple[Tracks, float]:
        """Count what comes after the network."""
        return self.update(prepared), self._tracker.association_seconds

    def read(self, found: Tracks) -> Tracks:
        """Return them as they are."""
        return found


class _Rows(Contender):
    """Takes rows of left, top, right, bottom, score; returns rows that end in the id."""

    lowest_score = 0.0
    _tracker: Any

    def prepare(self, detections: Detections) -> npt.NDArray[np.float64]:
        kept = detections[detections.scores > self.lowest_score]
        return np.column_stack([kept.boxes_xyxy, kept.scores]).astype(np.float64)

    def update(self, prepared: npt.NDArray[np.float64]) -> Any:
        return self._tracker.update(prepared)

    def read(self, found: Any) -> Tracks:
        rows = np.asarray(found).reshape(-1, 5)
        return plain_tracks(rows[:, 4], rows[:, :4])


class Pyx(_Rows):
    """``pyxtrackers``: SORT, ByteTrack and OC-SORT in Cython."""

    def __init__(self, kind: str, settings: Settings = DEFAULT) -> None:
        import pyxtrackers  # type: ignore[import-not-found]

        if kind == "BYTETracker":
            # It lets tracks start from 0.1 above its threshold.
            self._tracker = pyxtrackers.BYTETracker(
                frame_rate=settings.fps,
                track_thresh=settings.threshold,
                track_buffer=LOST_FRAMES,
            )
            return
        self.lowest_score = settings.threshold
        if kind == "Sort":
            self._tracker = pyxtrackers.Sort(max_age=settings.lost_frames)
        else:
            self._tracker = pyxtrackers.OCSort(
                det_thresh=settings.threshold, max_age=settings.lost_frames
            )


class IouTrack(_Rows):
    """``ioutrack``: SORT and ByteTrack in Rust."""

    def __init__(self, kind: str, settings: Settings = DEFAULT) -> None:
        import ioutrack  # type: ignore[import-not-found]

        if kind == "Sort":
            self.lowest_score = settings.threshold
            self._tracker = ioutrack.Sort(max_age=settings.lost_frames)
        else:
            self._tracker = ioutrack.ByteTrack(
                max_age=settings.lost_frames,
                high_score_threshold=settings.threshold,
                init_tracker_min_score=settings.new_threshold,
            )

    def update(self, prepared: npt.NDArray[np.float64]) -> Any:
        """Take in the frame and ask for the active tracks."""
        return self._tracker.update(prepared, return_all=False)


class Roboflow(Contender):
    """Roboflow's ``trackers``, in NumPy."""

    def __init__(self, kind: str, settings: Settings = DEFAULT) -> None:
        import supervision
        import trackers  # type: ignore[import-not-found]

        self._make = supervision.Detections
        self._lowest = settings.threshold if kind == "SORTTracker" else 0.0
        options: dict[str, Any] = {"lost_track_buffer": LOST_FRAMES, "frame_rate": settings.fps}
        if kind != "SORTTracker":
            options["high_conf_det_threshold"] = settings.threshold
        if kind in ("ByteTrackTracker", "BoTSORTTracker"):
            options["track_activation_threshold"] = settings.new_threshold
        if kind == "BoTSORTTracker":
            # There is no picture to estimate the camera's motion from.
            options["enable_cmc"] = False
        self._tracker = getattr(trackers, kind)(**options)

    def prepare(self, detections: Detections) -> Any:
        """Return supervision's detections."""
        kept = detections[detections.scores > self._lowest]
        return self._make(
            xyxy=kept.boxes_xyxy, confidence=kept.scores, class_id=kept.classes.astype(int)
        )

    def update(self, prepared: Any) -> Any:
        """Take in the frame."""
        return self._tracker.update(prepared)

    def read(self, found: Any) -> Tracks:
        """Leave away what belongs to no track."""
        shown = found.tracker_id >= 0
        return plain_tracks(found.tracker_id[shown], found.xyxy[shown])


class _Similari(Contender):
    _tracker: Any

    def __init__(self, settings: Settings = DEFAULT) -> None:
        import similari  # type: ignore[import-not-found]

        self._similari = similari
        self._threshold = settings.threshold
        self._names: dict[int, int] = {}

    def _boxes(self, detections: Detections) -> list[Any]:
        rows = detections.boxes_xyxy.astype(float).tolist()
        return [
            self._similari.BoundingBox.new_with_confidence(
                left, top, right - left, bottom - top, score
            ).as_xyaah()
            for (left, top, right, bottom), score in zip(
                rows, detections.scores.tolist(), strict=True
            )
        ]

    def update(self, prepared: Any) -> Any:
        found = self._tracker.predict(prepared)
        # Until they are fetched, the tracks it has given up slow every later frame down.
        self._tracker.wasted()
        return found

    def read(self, found: Any) -> Tracks:
        """Number its tracks, whose ids are any 64 bits."""
        boxes = []
        for track in found:
            box = track.predicted_bbox.as_ltwh()
            boxes.append([box.left, box.top, box.left + box.width, box.top + box.height])
        ids = [self._names.setdefault(track.id, len(self._names) + 1) for track in found]
        return plain_tracks(np.array(ids), np.array(boxes).reshape(-1, 4))


class SimilariSort(_Similari):
    """``similari``: SORT in Rust."""

    def __init__(self, settings: Settings = DEFAULT) -> None:
        super().__init__(settings)
        self._tracker = self._similari.Sort(
            shards=1,
            bbox_history=1,
            max_idle_epochs=settings.lost_frames,
            method=self._similari.PositionalMetricType.iou(threshold=0.3),
        )

    def prepare(self, detections: Detections) -> Any:
        """Return its boxes."""
        kept = detections[detections.scores > self._threshold]
        return [(box, None) for box in self._boxes(kept)]


class SimilariVisual(_Similari):
    """``similari``: VisualSORT, in the manner of DeepSORT, in Rust."""

    def __init__(self, settings: Settings = DEFAULT) -> None:
        super().__init__(settings)
        options = self._similari.VisualSortOptions()
        options.max_idle_epochs(settings.lost_frames)
        options.kept_history_length(1)
        options.visual_metric(self._similari.VisualSortMetricType.cosine(0.6))
        options.positional_metric(self._similari.PositionalMetricType.maha())
        options.visual_max_observations(5)
        options.visual_min_votes(1)
        self._tracker = self._similari.VisualSort(shards=1, opts=options)

    def prepare(self, detections: Detections) -> Any:
        """Return its set of observations."""
        kept = detections[detections.scores > self._threshold]
        assert kept.embeddings is not None
        observations = self._similari.VisualSortObservationSet()
        features = kept.embeddings.tolist()
        for box, feature in zip(self._boxes(kept), features, strict=True):
            observations.add(self._similari.VisualSortObservation(feature, 1.0, box, None))
        return observations
