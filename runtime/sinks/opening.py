"""From the names of sinks to opened ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from runtime.counting import Counter
from runtime.errors import UserError
from runtime.sinks.base import Sink
from runtime.sinks.crops import CropWriter
from runtime.sinks.drawing import Painter
from runtime.sinks.jsonl import JsonLinesWriter
from runtime.sinks.mot import MotWriter
from runtime.sinks.overlay import OverlayWriter
from runtime.sinks.window import WindowSink
from runtime.sources import FrameSource
from runtime.types import FrameResult

SINK_NAMES = ("mot", "jsonl", "overlay", "crops", "window")


class Sinks(Sink):
    """Several sinks as one, behind the counter whose tallies they show.

    Args:
        sinks: The sinks, not yet entered; they are entered together or not at all.
        counter: Is updated before the sinks get a frame.
    """

    def __init__(self, sinks: Sequence[Sink], counter: Counter | None = None) -> None:
        self.sinks = tuple(sinks)
        self.paths = tuple(path for sink in sinks for path in sink.paths)
        self.counter = counter
        self._opened = ExitStack()

    def __enter__(self) -> Sinks:
        with ExitStack() as stack:
            for sink in self.sinks:
                stack.enter_context(sink)
            self._opened = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def write(self, result: FrameResult) -> None:
        """Count, then hand the frame to every sink; raises as they do."""
        if self.counter is not None:
            height, width = result.frame.shape[:2]
            self.counter.update(result.tracks, result.timestamp, (width, height))
        for sink in self.sinks:
            sink.write(result)


def open_sinks(
    directory: Path,
    names: Sequence[str],
    *,
    source: FrameSource,
    classes: Sequence[str],
    counter: Counter | None = None,
    trail_seconds: float = 2.0,
) -> Sinks:
    """Make the sinks of one source; enter the result to open them.

    Args:
        directory: An existing folder, where they write ``tracks.txt``, ``tracks.jsonl``,
            ``overlay.webm`` and ``crops``.
        names: Any of ``SINK_NAMES``.
        source: For its name, frame rate and size.
        classes: Names by class index.
        counter: Counting lines and zones to update, write and draw.
        trail_seconds: How far drawn trails reach back.

    Raises:
        UserError: A name is unknown.
    """
    unknown = [name for name in names if name not in SINK_NAMES]
    if unknown:
        raise UserError(f"sink {unknown[0]!r} is unknown: choose from {', '.join(SINK_NAMES)}")
    fps, size_wh = source.fps, source.size_wh
    painter = Painter(fps, classes, counter, trail_seconds)
    makers: dict[str, Callable[[], Sink]] = {
        "mot": lambda: MotWriter(directory / "tracks.txt", with_class=len(classes) > 1),
        "jsonl": lambda: JsonLinesWriter(
            directory / "tracks.jsonl", source.name, fps, size_wh, classes, counter
        ),
        "overlay": lambda: OverlayWriter(directory / "overlay.webm", fps, size_wh, painter),
        "crops": lambda: CropWriter(directory / "crops"),
        "window": lambda: WindowSink(source.name, painter),
    }
    # The order of SINK_NAMES: text comes first, so that it is there when a later sink fails.
    return Sinks([makers[name]() for name in SINK_NAMES if name in names], counter)
