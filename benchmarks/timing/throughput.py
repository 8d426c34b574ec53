"""Frames per second with several frames in flight, as ``kd-run`` works."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.contenders import ExportedModel, Recipe
from benchmarks.records.loop import InMemory, pipeline_fps
from runtime.detector import load
from runtime.sources.base import Frame

ROUNDS = 3
WARM_UP_FRAMES = 8
RUN_SECONDS = 1.0
LEAST_FRAMES = 16


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
