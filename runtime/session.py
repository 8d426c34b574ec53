"""One run of ``kd-run``: sources through one model into files, told about as it goes."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runtime.console import print_table, progress, warn
from runtime.counting import Counter, parse_shapes
from runtime.detector import Detector
from runtime.errors import UserError
from runtime.files import output_directory
from runtime.pipeline import STAGES, Pipeline
from runtime.sinks import Sinks, StopRequested, open_sinks
from runtime.sources import FrameSource, folder_names
from runtime.timing import Timings
from runtime.tracking.config import TrackerConfig
from runtime.tracking.tracker import Tracker
from runtime.types import FrameResult

if TYPE_CHECKING:
    from rich.progress import Progress

# What a frame costs: reading and writing depend on the disk and the codec.
TRACKING = tuple(stage for stage in STAGES if stage != "read")
RATE_SECONDS = 2.0  # the live line tells the rate of this long
LIVE_LINE_SECONDS = 0.2


@dataclass(frozen=True)
class Output:
    """What a run writes for each source.

    Attributes:
        directory: Of a single source; several get a folder each in it.
        sinks: Some of ``runtime.sinks.SINK_NAMES``.
        overlay: Whether to write the overlay as well; None for that of recordings alone, since a
            camera that runs for weeks would fill the disk.
        lines: Counting lines as on the command line.
        zones: Counting zones likewise.
    """

    directory: Path
    sinks: tuple[str, ...] = ("mot", "jsonl")
    overlay: bool | None = None
    lines: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()


@dataclass
class _Track:
    """One source on its way into its files."""

    source: FrameSource
    sinks: Sinks
    opened: ExitStack
    frames: int = 0
    identities: int = 0
    recent: deque[float] = field(default_factory=deque)


class Session:
    """Tracks everything in some sources and writes it down.

    Args:
        sources: Opened sources.
        detector: A loaded model.
        config: Settings of the trackers.
        output: What to write and where.
        max_frames: Frames to take of each source.
        drop_late: See ``Pipeline``.

    Raises:
        UserError: A counting line or zone cannot be, or a file cannot be written.
    """

    def __init__(
        self,
        sources: Sequence[FrameSource],
        detector: Detector,
        config: TrackerConfig,
        output: Output,
        max_frames: int | None = None,
        drop_late: bool = True,
    ) -> None:
        self._detector = detector
        self._max_frames = max_frames
        names = folder_names(sources)
        folders = [output.directory / name for name in names]
        if len(sources) == 1:
            folders = [output.directory]
        sinks = [
            _make_sinks(source, folder, detector.info.classes, config, output)
            for source, folder in zip(sources, folders, strict=True)
        ]
        self._tracks = {
            name: _Track(source, one, ExitStack())
            for name, source, one in zip(names, sources, sinks, strict=True)
        }
        trackers = [Tracker(fps=source.fps, config=config) for source in sources]
        self._pipeline = Pipeline(sources, detector, trackers, names, max_frames, drop_late)
        self._timings = {stage: Timings() for stage in (*STAGES, "write")}
        self._tracking = Timings()
        self._interrupted = False
        self._told: list[UserError] = []

    def run(self) -> None:
        """Work until the sources end or the user wants it to, then say how it went.

        Raises:
            UserError: Some source ended before its time, or a file could not be written; what was
                tracked by then is written.
            KeyboardInterrupt: After Ctrl-C or SIGTERM, likewise.
        """
        failure: UserError | None = None
        with ExitStack() as stack:
            for track in self._tracks.values():
                # Each ends in its own time, and all of them when this block does.
                stack.push(track.opened)
                track.opened.enter_context(track.sinks)
            # After either kind of exception the sinks keep their files.
            try:
                with _signals(self._on_signal):
                    self._work()
            except UserError as error:
                failure = error
            except KeyboardInterrupt:
                self._interrupted = True
        self._report()
        errors = [one for one in (failure, *self._pipeline.errors) if one is not None]
        # The last one becomes the message of the whole run, unless that ends by interruption.
        for one in errors if self._interrupted else errors[:-1]:
            self._tell(one)
        if self._interrupted:
            raise KeyboardInterrupt
        if errors:
            raise errors[-1]

    def _on_signal(self) -> None:
        """Take no more frames; the second time, drop everything."""
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True
        self._pipeline.stop()

    def _work(self) -> None:
        clock = time.perf_counter
        names = list(self._tracks)
        with ExitStack() as stack:
            bar = stack.enter_context(progress())
            tasks = {name: self._add_task(bar, name) for name in names}
            shown = dict.fromkeys(names, 0.0)
            for result in stack.enter_context(closing(iter(self._pipeline))):
                track = self._tracks[result.source]
                start = clock()
                try:
                    track.sinks.write(result)
                except StopRequested:
                    self._pipeline.stop()
                result.stage_seconds["write"] = clock() - start
                self._count(track, result)
                if clock() - shown[result.source] > LIVE_LINE_SECONDS:
                    shown[result.source] = clock()
                    status = _live_line(track, result)
                    bar.update(tasks[result.source], completed=track.frames, status=status)
                self._close_ended(names)
            for name, track in self._tracks.items():
                bar.update(tasks[name], completed=track.frames, status="")
            self._close_ended(names)

    def _add_task(self, bar: Progress, name: str) -> Any:
        total = self._tracks[name].source.length
        if self._max_frames is not None:
            total = self._max_frames if total is None else min(total, self._max_frames)
        return bar.add_task(name, total=total, status="")

    def _count(self, track: _Track, result: FrameResult) -> None:
        track.frames += 1
        # Ids count from 1 and are not used again.
        track.identities = max(track.identities, int(result.tracks.ids.max(initial=0)))
        track.recent.append(time.perf_counter())
        while track.recent[-1] - track.recent[0] > RATE_SECONDS:
            track.recent.popleft()
        for stage, timings in self._timings.items():
            timings.add(result.stage_seconds[stage])
        self._tracking.add(sum(result.stage_seconds[stage] for stage in TRACKING))

    def _close_ended(self, names: Sequence[str]) -> None:
        """Give the files of sources that have ended their final names."""
        pipeline = self._pipeline
        for name, ended, error in zip(names, pipeline.ended, pipeline.errors, strict=True):
            if ended:
                self._tracks[name].opened.close()
                # Where others go on, perhaps for weeks, the end of the run is too late.
                if error is not None and not all(pipeline.ended):
                    self._tell(error)

    def _tell(self, error: UserError) -> None:
        """Warn about an error, once."""
        if error not in self._told:
            self._told.append(error)
            warn(str(error))

    def _report(self) -> None:
        """Print latency per stage and where the files are, on standard output."""
        frames = len(self._tracking)
        if not frames:
            return
        rows = {**self._timings, "preprocess to association": self._tracking}
        print_table(
            ", ".join(self._tracks),
            ["ms per frame", "median", "p95", "p99"],
            [
                [name, *(1000 * value for value in timings.percentiles([50, 95, 99]))]
                for name, timings in rows.items()
            ],
        )
        identities = sum(track.identities for track in self._tracks.values())
        outside = 1 - self._timings["network"].total / self._tracking.total
        lines = [
            f"{frames} frames, {identities} identities, on {self._detector.engine.provider}",
            f"{outside:.1%} of preprocess to association is outside the network",
        ]
        if self._pipeline.dropped:
            lines.append(f"{self._pipeline.dropped} frames came too fast and were dropped")
        click.echo("\n".join(lines))
        for track in self._tracks.values():
            for path in track.sinks.paths:
                if path.exists():
                    click.echo(f"wrote {path}")


def _make_sinks(
    source: FrameSource,
    folder: Path,
    classes: Sequence[str],
    config: TrackerConfig,
    output: Output,
) -> Sinks:
    counter = None
    if output.lines or output.zones:
        lines, zones = parse_shapes(output.lines, output.zones, source.size_wh)
        counter = Counter(
            lines,
            zones,
            classes,
            size_wh=source.size_wh,
            forget_seconds=max(2.0, 1.5 * config.lost_seconds),
        )
    overlay = not source.is_live if output.overlay is None else output.overlay
    names = (*output.sinks, "overlay") if overlay else output.sinks
    return open_sinks(
        output_directory(folder), names, source=source, classes=classes, counter=counter
    )


def _live_line(track: _Track, result: FrameResult) -> str:
    span = track.recent[-1] - track.recent[0]
    rate = (len(track.recent) - 1) / span if span else 0.0
    seconds = result.stage_seconds
    outside = sum(seconds[stage] for stage in TRACKING) - seconds["network"]
    return (
        f"{rate:.1f} fps, {len(result.tracks)} tracks, {track.identities} so far, "
        f"network {1000 * seconds['network']:.1f} ms, else {1000 * outside:.1f} ms"
    )


@contextmanager
def _signals(handle: Callable[[], None]) -> Iterator[None]:
    """Call ``handle`` on Ctrl-C, and on what service managers and closing terminals send."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {}
    try:
        for number in numbers:
            before[number] = signal.signal(number, lambda *_: handle())
    except ValueError:  # not in the main thread, where Python takes no signals
        before.clear()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
