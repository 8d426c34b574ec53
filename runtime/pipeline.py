"""From sources of frames to tracks, the stages side by side in threads of their own."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.channels import Channel, End, Inbox
from runtime.detector import Detector, Outputs, load
from runtime.errors import UserError
from runtime.preprocess import LetterboxGeometry
from runtime.sources import FrameSource, open_source
from runtime.sources.base import Frame
from runtime.tracking.config import TrackerConfig
from runtime.tracking.tracker import Tracker
from runtime.types import FrameResult

# Stages of a frame in their order. Reading is the source's business, the others are the tracker's.
STAGES = ("read", "preprocess", "network", "decode", "association")

# Frames that may wait between two stages. Enough to bridge a slow one, few enough to be up to date.
QUEUE_SIZE = 4
SPARE_MEMORIES = 3
SWITCH_SECONDS = 0.0005
# A thread that waits for a camera notices after its time-out that nobody wants its frames any more.
PATIENCE_SECONDS = 2.0


@dataclass
class _Item:
    """A frame on its way through the stages."""

    source: int
    index: int
    timestamp: float
    frame: Frame
    stage_seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class _Run:
    """The frames of one run of the network.

    Attributes:
        items: The frames.
        memory: uint8 ``[N, H, W, 3]``, what the network takes.
        geometries: Where each frame lies in it.
        outputs: What the network gave.
    """

    items: list[_Item]
    memory: npt.NDArray[np.uint8]
    geometries: list[LetterboxGeometry]
    outputs: Outputs = field(default_factory=dict)


class Pipeline:
    """Reads, prepares, detects and associates at the same time, each in a thread of its own.

    Frames of all sources go through one detector, in batches where the model takes several at a
    time. Each source has its own tracker, and sees what it would see alone. Iterating starts the
    threads and yields results as they come, each source's in order. Between stages few frames wait:
    recordings wait for the network, live sources drop their oldest waiting frame.

    Args:
        sources: Where frames come from.
        detector: The model.
        trackers: One for each source.
        names: Of the sources, for ``FrameResult.source``; the sources' own when not given.
        max_frames: Frames to take of each source.
        drop_late: Whether live sources drop frames when they are late; recordings never do.

    Attributes:
        errors: Why each source ended before its time, None where it did not. Sources do not end
            each other.
        ended: Whether each source has ended and all its results are out.
    """

    def __init__(
        self,
        sources: Sequence[FrameSource],
        detector: Detector,
        trackers: Sequence[Tracker],
        names: Sequence[str] | None = None,
        max_frames: int | None = None,
        drop_late: bool = True,
    ) -> None:
        self._sources = list(sources)
        self._detector = detector
        self._trackers = list(trackers)
        self._names = [source.name for source in sources] if names is None else list(names)
        self._max_frames = max_frames
        self._drop_late = drop_late
        self._inbox: Inbox[_Item] = Inbox(len(self._sources), QUEUE_SIZE)
        self._prepared: Channel[_Run | tuple[int, End]] = Channel(1)
        self._detected: Channel[_Run | tuple[int, End]] = Channel(QUEUE_SIZE)
        self._tracked: Channel[FrameResult | tuple[int, End]] = Channel(QUEUE_SIZE)
        self._spare: deque[npt.NDArray[np.uint8]] = deque()
        self.errors: list[UserError | None] = [None] * len(self._sources)
        self.ended = [False] * len(self._sources)

    @property
    def dropped(self) -> int:
        """Number of frames that live sources dropped because they were late."""
        return sum(self._inbox.dropped)

    def stop(self) -> None:
        """Take no more frames; those taken are still tracked and come out of the iteration."""
        self._inbox.end_all()

    def __iter__(self) -> Generator[FrameResult, None, None]:
        """Start, and yield the result of each frame; once per pipeline.

        Raises:
            BaseException: What broke a stage. What ended a source alone is in ``errors``.
        """
        threads = [
            *(
                threading.Thread(target=self._read, args=(number,), daemon=True)
                for number in range(len(self._sources))
            ),
            threading.Thread(target=self._prepare, daemon=True),
            threading.Thread(target=self._detect, daemon=True),
            threading.Thread(target=self._associate, daemon=True),
        ]
        # Python lets a thread wait five milliseconds for another, as long as a network may take.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(min(interval, SWITCH_SECONDS))
        for thread in threads:
            thread.start()
        try:
            for item in self._tracked:
                if isinstance(item, FrameResult):
                    yield item
                else:
                    self._note_end(*item)
        finally:
            self._inbox.cancel()
            self._prepared.cancel()
            self._detected.cancel()
            self._tracked.cancel()
            for source in self._sources:
                # Of a recording the next frame comes soon; a camera may be silent for long.
                if source.is_live:
                    source.close()
            for thread in threads:
                thread.join(PATIENCE_SECONDS)
            sys.setswitchinterval(interval)

    def _note_end(self, number: int, end: End) -> None:
        self.ended[number] = True
        if end.error is None:
            return
        if not isinstance(end.error, UserError):
            raise end.error
        self.errors[number] = end.error

    def _read(self, number: int) -> None:
        """Put the frames of a source into the inbox."""
        source = self._sources[number]
        drops = source.is_live and self._drop_late
        clock = time.perf_counter
        try:
            start = clock()
            for index, (timestamp, frame) in enumerate(islice(source.timed(), self._max_frames)):
                item = _Item(number, index, timestamp, frame)
                item.stage_seconds["read"] = clock() - start
                if not self._inbox.put(number, item, drops):
                    return
                start = clock()
        except BaseException as error:
            self._inbox.end(number, error)
        else:
            self._inbox.end(number)

    def _prepare(self) -> None:
        """Take frames out of the inbox and letterbox them, while the network runs others."""
        try:
            while taken := self._inbox.take():
                items = [item for _, item in taken if isinstance(item, _Item)]
                for start in range(0, len(items), self._detector.engine.largest_batch):
                    stop = start + self._detector.engine.largest_batch
                    self._prepared.put(self._gather(items[start:stop]))
                for number, end in taken:
                    if isinstance(end, End):
                        self._prepared.put((number, end))
        except BaseException as error:
            self._prepared.close(error)
        else:
            self._prepared.close()

    def _gather(self, items: list[_Item]) -> _Run:
        """Prepare the frames of one run."""
        start = time.perf_counter()
        memory = self._spare.pop() if self._spare else None
        used, geometries = self._detector.gather([item.frame for item in items], memory)
        share = (time.perf_counter() - start) / len(items)
        for item in items:
            item.stage_seconds["preprocess"] = share
        return _Run(items, used, geometries)

    def _detect(self) -> None:
        """Run the network and nothing else."""
        try:
            for run in self._prepared:
                if isinstance(run, _Run):
                    start = time.perf_counter()
                    run.outputs = self._detector.engine.run(run.memory)
                    share = (time.perf_counter() - start) / len(run.items)
                    for item in run.items:
                        item.stage_seconds["network"] = share
                    self._recycle(run)
                self._detected.put(run)
        except BaseException as error:
            self._detected.close(error)
        else:
            self._detected.close()

    def _recycle(self, run: _Run) -> None:
        """Keep the memory of a run for another; a graph that letterboxes has the frame itself."""
        if self._detector.info.preprocess == "host" and len(self._spare) < SPARE_MEMORIES:
            self._spare.append(run.memory)

    def _associate(self) -> None:
        """Turn what the network gave into detections, and link these to tracks."""
        try:
            for run in self._detected:
                if isinstance(run, _Run):
                    for row, item in enumerate(run.items):
                        self._tracked.put(self._follow(run, row, item))
                else:
                    self._tracked.put(run)
        except BaseException as error:
            self._tracked.close(error)
        else:
            self._tracked.close()

    def _follow(self, run: _Run, row: int, item: _Item) -> FrameResult:
        clock = time.perf_counter
        start = clock()
        detections = self._detector.decode(run.outputs, run.geometries[row], row)
        decoded = clock()
        tracker = self._trackers[item.source]
        tracks = tracker.update(detections, item.frame, item.timestamp)
        item.stage_seconds["decode"] = decoded - start
        item.stage_seconds["association"] = clock() - decoded
        return FrameResult(
            item.index,
            item.timestamp,
            item.frame,
            detections,
            tracks,
            item.stage_seconds,
            self._names[item.source],
        )


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

    The source is opened and the model loaded at once; work begins with the first result taken, and
    runs a few frames ahead.

    Args:
        source: What ``kd-run`` takes: a video file, a folder of images, a MOTChallenge sequence, a
            camera's number, a URL, a GStreamer pipeline; or an opened source.
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
            detector = stack.enter_context(
                load(model, backend, threads, score_threshold, in_pipeline=True)
            )
            tracker = make_tracker(detector, source.fps, tracker)
            if score_threshold is None:
                detector.score_threshold = tracker.config.lowest_score
        else:
            detector = model
            tracker = make_tracker(detector, source.fps, tracker)
        pipeline = Pipeline([source], detector, [tracker], max_frames=max_frames)
        # From here on the generator closes what was opened above.
        return _results(pipeline, stack.pop_all())


def _results(pipeline: Pipeline, opened: ExitStack) -> Iterator[FrameResult]:
    with opened:
        yield from pipeline
        if pipeline.errors[0] is not None:
            raise pipeline.errors[0]


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
