"""From a source of frames to tracks, one frame after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np

from runtime.detector import Detector, load
from runtime.sources import FrameSource, open_source
from runtime.tracking.config import TrackerConfig
from runtime.tracking.tracker import Tracker
from runtime.types import FrameResult

# Stages of a frame in their order. Reading is the source's business, the others are the tracker's.
STAGES = ("read", "preprocess", "network", "decode", "association")


def run(
    source: str | Path | FrameSource,
    model: str | Path | Detector,
    tracker: Tracker | TrackerConfig | str | None = None,
    *,
    fps: float | None = None,
    score_threshold: float | None = None,
    backend: str = "auto",
    threads: int | None = None,
    max_frames: int | None = None,
) -> Iterator[FrameResult]:
    """Track everything in a source.

    The source is opened and the model loaded at once; frames are worked on as results are taken.

    Args:
        source: Video file, folder of images, MOTChallenge sequence folder, or an opened source.
        model: Model made by ``kd-export``, or a loaded one.
        tracker: A tracker, its settings, or the name of a preset; by default the settings that
            come with the model.
        fps: Frames per second; replaces what the source says. Only for a source given by path.
        score_threshold: Lowest score of a detection, 0..1; by default what the tracker can use.
            Only for a model given by path.
        backend: See ``runtime.load``; only for a model given by path.
        threads: See ``runtime.load``; only for a model given by path.
        max_frames: Stop after this many frames.

    Returns:
        An iterator over the frames.

    Raises:
        UserError: Source, model or settings cannot be used; while iterating, when the source ends
            before its time.
    """
    with ExitStack() as stack:
        if not isinstance(source, FrameSource):
            source = stack.enter_context(open_source(source, fps))
        if not isinstance(model, Detector):
            detector = stack.enter_context(load(model, backend, threads, score_threshold))
            tracker = make_tracker(detector, source.fps, tracker)
            if score_threshold is None:
                detector.score_threshold = tracker.config.lowest_score
        else:
            detector = model
            tracker = make_tracker(detector, source.fps, tracker)
        # From here on the generator closes what was opened above.
        return _frames(source, detector, tracker, max_frames, stack.pop_all())


def make_tracker(
    detector: Detector, fps: float, tracker: Tracker | TrackerConfig | str | None = None
) -> Tracker:
    """Return the tracker to use behind a detector.

    Args:
        detector: The loaded model.
        fps: Frames per second of the source.
        tracker: A tracker, which is returned as it is; settings; the name of a preset; or None for
            the settings that come with the model.

    Raises:
        UserError: The preset or a setting is unknown.
    """
    if isinstance(tracker, Tracker):
        return tracker
    if not isinstance(tracker, TrackerConfig):
        tracker = TrackerConfig.for_model(detector.info.tracker, tracker)
    return Tracker(fps=fps, config=tracker)


def _frames(
    source: FrameSource,
    detector: Detector,
    tracker: Tracker,
    max_frames: int | None,
    opened: ExitStack,
) -> Iterator[FrameResult]:
    clock = time.perf_counter
    with opened:
        marks = [clock()]
        for index, (timestamp, frame) in enumerate(islice(source.timed(), max_frames)):
            marks.append(clock())
            geometry = detector.preprocess(frame)
            marks.append(clock())
            outputs = detector.infer()
            marks.append(clock())
            detections = detector.decode(outputs, geometry)
            marks.append(clock())
            tracks = tracker.update(detections, frame)
            marks.append(clock())
            seconds = dict(zip(STAGES, np.diff(marks).tolist(), strict=True))
            yield FrameResult(index, timestamp, frame, detections, tracks, seconds, source.name)
            # The time between two results belongs to whoever takes them.
            marks = [clock()]
