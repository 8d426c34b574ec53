"""Start, memory, throughput and energy of each contender, with no other one beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.contenders import Recipe
from benchmarks.timing.cold import cold_start, start_once
from benchmarks.timing.power import is_measured, measure_energy
from benchmarks.timing.throughput import throughput
from runtime.console import progress
from runtime.sources.base import Frame


def measure_alone(
    recipes: Sequence[Recipe],
    frames: Sequence[Frame],
    fps: float,
    threads: int | None = None,
    backend: str = "auto",
) -> list[dict[str, Any]]:
    """Measure what a contender tells best when no other one is there.

    Args:
        recipes: The contenders.
        frames: uint8 BGR ``[H, W, 3]``, at least one.
        fps: Frames per second of the sequence.
        threads: Threads of the engine; its own choice when None.
        backend: Backend for ``runtime.load``.

    Returns:
        For the entry of each contender: what ``cold_start`` tells, with ``baseline_memory_mb`` of
        a process without one; ``throughput_fps`` where it has a pipeline; and what
        ``measure_energy`` tells where the machine measures it.

    Raises:
        UserError: A contender cannot be used in a process of its own.
    """
    baseline = start_once(None, frames, fps, threads, backend, 0)
    without = {f"baseline_{name}": value for name, value in baseline.items()}
    rates = throughput(recipes, frames, fps, threads, backend)
    metered = is_measured()
    entries = []
    with progress(transient=True) as bar:
        for recipe, rate in bar.track(list(zip(recipes, rates, strict=True)), description="alone"):
            entry = cold_start(recipe, frames, fps, threads, backend) | without
            if rate is not None:
                entry["throughput_fps"] = rate
            if metered:
                with recipe.open(backend, threads) as contender:
                    entry |= measure_energy(contender, frames, fps)
            entries.append(entry)
    return entries
