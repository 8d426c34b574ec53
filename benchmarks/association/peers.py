"""Every tracker under test, behind one small interface.

Peers are no dependencies of this project: each is imported when it is asked for. Their inputs are
prepared and their outputs read outside the time that is measured.
"""

from __future__ import annotations

import importlib.util
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.association.crowd import FPS, plain_tracks
from benchmarks.association.original import OriginalTracker
from runtime.tracking.config import TrackerConfig
from runtime.tracking.tracker import Tracker
from runtime.types import Detections, Tracks

# Time without a detection after which a track is given up, in frames: FairMOT's, for everybody.
LOST_FRAMES = 30
# Trackers without a stage for low scores get what FairMOT's threshold lets through.
THRESHOLD = TrackerConfig().high_threshold


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


@dataclass(frozen=True)
class Entry:
    """A tracker that can be measured.

    Attributes:
        name: As tables show it.
        embeddings: Whether it looks at embeddings.
        make: Starts it for one sequence.
        package: What must be installed, as pip knows it; None for what is always there.
        module: The module of that package.
        ours: Whether it is this project's.
    """

    name: str
    embeddings: bool
    make: Callable[[], Contender]
    package: str | None = None
    module: str | None = None
    ours: bool = False

    @property
    def missing(self) -> str | None:
        """Why it cannot run, None if it can."""
        if self.module is None or importlib.util.find_spec(self.module) is not None:
            return None
        return f"not installed: pip install --no-deps {self.package}"

    @property
    def version(self) -> str | None:
        """Version of the package."""
        return version(self.package) if self.package else None


def entries(original: Path | None = None) -> list[Entry]:
    """Return all trackers, this project's first.

    Args:
        original: A clone of FairMOT, whose tracker is then among them.
    """
    found = [
        Entry("kd-mot, fairmot", True, lambda: Ours("fairmot"), ours=True),
        Entry("kd-mot, default", True, lambda: Ours("default"), ours=True),
        Entry("kd-mot, motion only", False, lambda: Ours("default", False), ours=True),
    ]
    if original is not None:
        found.append(Entry("FairMOT JDETracker", True, lambda: Original(original)))
    found.append(_entry("similari VisualSort", SimilariVisual, "similari-trackers-rs", "similari"))
    found.append(_entry("similari Sort", SimilariSort, "similari-trackers-rs", "similari"))
    for kind in ("SORTTracker", "ByteTrackTracker", "OCSORTTracker", "BoTSORTTracker"):
        found.append(_entry(f"trackers {kind}", Roboflow, "trackers", "trackers", kind))
    for kind in ("Sort", "BYTETracker", "OCSort"):
        found.append(_entry(f"pyxtrackers {kind}", Pyx, "pyxtrackers", "pyxtrackers", kind))
    for kind in ("Sort", "ByteTrack"):
        found.append(_entry(f"ioutrack {kind}", IouTrack, "ioutrack", "ioutrack", kind))
    return found


def _entry(
    name: str, kind: Callable[..., Contender], package: str, module: str, *arguments: str
) -> Entry:
    return Entry(name, kind is SimilariVisual, lambda: kind(*arguments), package, module)


class Ours(Contender):
    """This project's tracker, with a preset and with or without embeddings."""

    def __init__(self, preset: str, embeddings: bool = True) -> None:
        self._tracker = Tracker(preset, fps=FPS)
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

    lowest_score = THRESHOLD
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

    def __init__(self, kind: str) -> None:
        import pyxtrackers  # type: ignore[import-not-found]

        if kind == "Sort":
            self._tracker = pyxtrackers.Sort(max_age=LOST_FRAMES)
        elif kind == "OCSort":
            self._tracker = pyxtrackers.OCSort(det_thresh=THRESHOLD, max_age=LOST_FRAMES)
        else:
            self.lowest_score = 0.0
            self._tracker = pyxtrackers.BYTETracker(
                track_thresh=THRESHOLD, track_buffer=LOST_FRAMES
            )


class IouTrack(_Rows):
    """``ioutrack``: SORT and ByteTrack in Rust."""

    def __init__(self, kind: str) -> None:
        import ioutrack  # type: ignore[import-not-found]

        if kind == "Sort":
            self._tracker = ioutrack.Sort(max_age=LOST_FRAMES)
        else:
            self.lowest_score = 0.0
            self._tracker = ioutrack.ByteTrack(
                max_age=LOST_FRAMES,
                high_score_threshold=THRESHOLD,
                init_tracker_min_score=TrackerConfig().new_track_threshold,
            )

    def update(self, prepared: npt.NDArray[np.float64]) -> Any:
        """Take in the frame and ask for the active tracks."""
        return self._tracker.update(prepared, return_all=False)


class Roboflow(Contender):
    """Roboflow's ``trackers``, in NumPy."""

    def __init__(self, kind: str) -> None:
        import supervision
        import trackers  # type: ignore[import-not-found]

        self._make = supervision.Detections
        self._lowest = THRESHOLD if kind == "SORTTracker" else 0.0
        settings: dict[str, Any] = {"lost_track_buffer": LOST_FRAMES, "frame_rate": FPS}
        if kind != "SORTTracker":
            settings["high_conf_det_threshold"] = THRESHOLD
        if kind in ("ByteTrackTracker", "BoTSORTTracker"):
            settings["track_activation_threshold"] = TrackerConfig().new_track_threshold
        if kind == "BoTSORTTracker":
            # There is no picture to estimate the camera's motion from.
            settings["enable_cmc"] = False
        self._tracker = getattr(trackers, kind)(**settings)

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

    def __init__(self) -> None:
        import similari  # type: ignore[import-not-found]

        self._similari = similari
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

    def __init__(self) -> None:
        super().__init__()
        self._tracker = self._similari.Sort(
            shards=1,
            bbox_history=1,
            max_idle_epochs=LOST_FRAMES,
            method=self._similari.PositionalMetricType.iou(threshold=0.3),
        )

    def prepare(self, detections: Detections) -> Any:
        """Return its boxes."""
        kept = detections[detections.scores > THRESHOLD]
        return [(box, None) for box in self._boxes(kept)]


class SimilariVisual(_Similari):
    """``similari``: VisualSORT, in the manner of DeepSORT, in Rust."""

    def __init__(self) -> None:
        super().__init__()
        options = self._similari.VisualSortOptions()
        options.max_idle_epochs(LOST_FRAMES)
        options.kept_history_length(1)
        options.visual_metric(self._similari.VisualSortMetricType.cosine(0.6))
        options.positional_metric(self._similari.PositionalMetricType.maha())
        options.visual_max_observations(5)
        options.visual_min_votes(1)
        self._tracker = self._similari.VisualSort(shards=1, opts=options)

    def prepare(self, detections: Detections) -> Any:
        """Return its set of observations."""
        kept = detections[detections.scores > THRESHOLD]
        assert kept.embeddings is not None
        observations = self._similari.VisualSortObservationSet()
        features = kept.embeddings.tolist()
        for box, feature in zip(self._boxes(kept), features, strict=True):
            observations.add(self._similari.VisualSortObservation(feature, 1.0, box, None))
        return observations
