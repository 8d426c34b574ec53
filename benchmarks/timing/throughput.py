"""Frames per second with several frames in flight, as ``kd-run`` works."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from benchmarks.contenders import ExportedModel, Recipe
from runtime.detector import Detector, load
from runtime.pipeline import Pipeline, make_tracker
from runtime.sources import FrameSource
from runtime.sources.base import Frame

ROUNDS = 3
WARM_UP_FRAMES = 8
RUN_SECONDS = 1.0
LEAST_FRAMES = 16


class InMemory(FrameSource):
    """Frames that were decoded beforehand, round and round."""

    def __init__(self, frames: Sequence[Frame], length: int, fps: float) -> None:
        self.name, self.fps, self.length = "memory", fps, length
        self.size_wh = (frames[0].shape[1], frames[0].shape[0])
        self._frames = frames

    def __iter__(self) -> Iterator[Frame]:
        """Yield ``length`` frames."""
        return itertools.islice(itertools.cycle(self._frames), self.length)


def throughput(
    recipes: Sequence[Recipe],
    frames: Sequence[Frame],
    fps: float,
    threads: int | None = None,
    backend: str = "auto",
) -> list[float | None]:
    """Measure the pipeline on frames in memory, contenders in turns.

    Args:
        recipes: The contenders.
        frames: uint8 BGR ``[H, W, 3]``, round and round.
        fps: Frames per second of the sequence.
        threads: CPU threads; its own choice when None.
        backend: Backend for ``runtime.load``.

    Returns:
        Of each contender the median over its rounds, None where it has no pipeline.

    Raises:
        UserError: A model cannot be opened.
    """
    with ExitStack() as stack:
        detectors = {
            number: stack.enter_context(load(recipe.path, backend, threads, in_pipeline=True))
            for number, recipe in enumerate(recipes)
            if isinstance(recipe, ExportedModel)
        }
        # The first run tells how many frames a round may have.
        source = InMemory(frames, LEAST_FRAMES + WARM_UP_FRAMES, fps)
        lengths = {
            number: max(
                LEAST_FRAMES,
                round(RUN_SECONDS * pipeline_fps(detector, source, LEAST_FRAMES, WARM_UP_FRAMES)),
            )
            for number, detector in detectors.items()
        }
        rates: dict[int, list[float]] = {number: [] for number in detectors}
        for _ in range(ROUNDS):
            for number, detector in detectors.items():
                source = InMemory(frames, lengths[number] + WARM_UP_FRAMES, fps)
                rate = pipeline_fps(detector, source, lengths[number], WARM_UP_FRAMES)
                rates[number].append(rate)
    return [
        statistics.median(rates[number]) if number in rates else None
        for number in range(len(recipes))
    ]


def pipeline_fps(
    detector: Detector,
    source: FrameSource,
    frames: int,
    warm_up: int,
    write: Callable[..., object] = lambda _: None,
) -> float:
    """Return the frames per second of the pipeline, from result to result.

    Args:
        detector: Loaded for a pipeline.
        source: Has as many frames as are asked for.
        frames: How many are timed.
        warm_up: How many come before, untimed; at least one.
        write: What becomes of each result.
    """
    pipeline = Pipeline(
        [source], detector, [make_tracker(detector, source.fps)], max_frames=frames + warm_up
    )
    start = 0.0
    count = 0
    for count, result in enumerate(pipeline, 1):
        write(result)
        if count == warm_up:
            start = time.perf_counter()
    return (count - warm_up) / (time.perf_counter() - start)
