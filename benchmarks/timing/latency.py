"""``kd-bench latency``: time per frame and stage, contenders measured side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.contenders import STAGES as OWN_STAGES
from benchmarks.contenders import Contender, ExportedModel, Recipe, Step
from benchmarks.timing.alone import measure_alone
from benchmarks.timing.environment import environment
from benchmarks.timing.frames import first_frames, source_sha256
from benchmarks.timing.machine import clock_warnings, clocks, load_warnings
from benchmarks.timing.statistics import jitter, paired_ratio, summarise
from runtime.console import print_table, progress, warn
from runtime.files import file_sha256
from runtime.sources.base import Frame

STAGES = (*OWN_STAGES, "total")
NETWORK = STAGES.index("network")
# Figures of an entry beside its stages, and their headings.
FIGURES = {
    "fps": "fps",
    "throughput_fps": "fps in flight",
    "jitter_ms": "jitter ms",
    "load_ms": "load ms",
    "first_frame_ms": "first frame ms",
    "memory_mb": "memory MB",
    "power_w": "W",
    "energy_mj": "mJ per frame",
}
# A model allocates and chooses its kernels in its first frames.
WARM_UP_FRAMES = 10
# The threads of the model before go on spinning for a while, and the caches are full of its data.
SWITCH_SECONDS = 0.15
SWITCH_FRAMES = 2

FloatArray = npt.NDArray[np.float64]


class Steps(Protocol):
    """The part of a contender that is timed."""

    def begin(self, fps: float) -> None:
        """Start a sequence; see ``Contender``."""

    def step(self, frame: Frame) -> Step:
        """Track the next frame; see ``Contender``."""


class Timings(NamedTuple):
    """What ``time_in_turns`` measured.

    Attributes:
        ms: Of each contender ``[rounds, frames, stages]`` in milliseconds; stages are ``STAGES``.
        clocks: ``before`` and ``after``, see ``benchmarks.timing.machine.clocks``.
    """

    ms: list[FloatArray]
    clocks: dict[str, dict[str, float]]


def time_in_turns(
    contenders: Sequence[Steps], frames: Sequence[Frame], fps: float, rounds: int
) -> Timings:
    """Time contenders in short rounds, each beginning with another one.

    A round runs every contender over the same frames, each as a new sequence. A disturbance of the
    machine hits all alike, and rounds can be paired. The first frames after a change of contenders
    do not count, nor does a warm-up of each.

    Args:
        contenders: Opened; they stay open.
        frames: uint8 BGR ``[H, W, 3]``, at least one.
        fps: Frames per second of the sequence.
        rounds: Number of rounds.
    """
    times: list[list[FloatArray]] = [[] for _ in contenders]
    frame = frames[0].copy()
    with progress(transient=True) as bar:
        task = bar.add_task("timing", total=rounds)
        for contender in contenders:
            contender.begin(fps)
            for picture in frames[:WARM_UP_FRAMES]:
                contender.step(picture)
        # The clocks of a machine at work: at rest they are lower.
        before = clocks()
        for index in range(rounds):
            for turn in range(len(contenders)):
                number = (index + turn) % len(contenders)
                _settle(contenders[number], frames, fps)
                times[number].append(_run_round(contenders[number], frames, fps, frame))
            bar.advance(task)
        after = clocks()
    return Timings([np.stack(own) for own in times], {"before": before, "after": after})


def _settle(contender: Steps, frames: Sequence[Frame], fps: float) -> None:
    """Run a contender until nothing is left of the one before."""
    contender.begin(fps)
    end = time.perf_counter() + SWITCH_SECONDS
    count = 0
    while count < SWITCH_FRAMES or time.perf_counter() < end:
        contender.step(frames[count % len(frames)])
        count += 1


def _run_round(contender: Steps, frames: Sequence[Frame], fps: float, memory: Frame) -> FloatArray:
    """Run one contender over the frames; return ``[frames, stages]`` in milliseconds."""
    contender.begin(fps)
    marks = np.zeros((len(frames), len(STAGES)), np.int64)
    for row, picture in zip(marks, frames, strict=True):
        # A frame has just been written by a decoder, so it is not fetched from far away.
        np.copyto(memory, picture)
        start = time.perf_counter_ns()
        step = contender.step(memory)
        row[-1] = time.perf_counter_ns() - start
        row[:-1] = step.stage_ns
    return marks / 1e6


def describe(contender: Contender, ms: FloatArray) -> dict[str, Any]:
    """Return a contender's entry in ``latency.json``.

    Args:
        contender: Its description is part of the entry.
        ms: Its times, ``[rounds, frames, stages]``.

    Returns:
        ``Description.to_dict()``; ``frames``, how many were timed; ``stages`` with median, 95th and
        99th percentile and mean of each; ``fps`` from the mean total; ``jitter_ms``; ``frame_ms``,
        the total of every frame in order; and ``overhead``, how many times as long a frame takes as
        its network alone, a ratio paired by rounds, and the ratio of each in ``rounds``. A
        contender that does not tell its network's time has no ``overhead``.
    """
    stages = {name: summarise(ms[..., index]).to_dict() for index, name in enumerate(STAGES)}
    totals = ms[..., -1]
    entry = {
        **contender.description.to_dict(),
        "frames": totals.size,
        "stages": stages,
        "fps": 1000 / stages["total"]["mean_ms"],
        "jitter_ms": jitter(totals),
        "frame_ms": [round(value, 3) for value in totals.ravel().tolist()],
    }
    medians, of_network = round_medians(ms), round_medians(ms, NETWORK)
    if (of_network > 0).all():
        rounds = [round(value, 5) for value in (medians / of_network).tolist()]
        entry["overhead"] = {**paired_ratio(medians, of_network).to_dict(), "rounds": rounds}
    return entry


def round_medians(ms: FloatArray, stage: int = -1) -> FloatArray:
    """Return the median time of each round, ``[rounds]`` ms.

    Args:
        ms: ``[rounds, frames, stages]``.
        stage: Index in ``STAGES``; the total by default.
    """
    medians: FloatArray = np.median(ms[..., stage], axis=1)
    return medians


def entry_medians(entry: dict[str, Any], rounds: int) -> FloatArray:
    """Return what ``round_medians`` returns of the totals, from an entry of ``latency.json``.

    Raises:
        KeyError: It has no ``frame_ms``.
        ValueError: These are no such number of rounds.
    """
    frames = np.asarray(entry["frame_ms"], np.float64).reshape(rounds, -1)
    medians: FloatArray = np.median(frames, axis=1)
    return medians


def compare_with_first(names: Sequence[str], ms: Sequence[FloatArray]) -> list[dict[str, Any]]:
    """Compare the first contender with each other one over paired rounds.

    Args:
        names: Of the contenders.
        ms: Their times, ``[rounds, frames, stages]`` each.

    Returns:
        Of each pair ``first``, ``other``, and ``ratio`` of the totals with ``low``, ``high`` and
        ``confidence`` of its interval.
    """
    first = round_medians(ms[0])
    return [
        {"first": names[0], "other": name, **paired_ratio(first, round_medians(own)).to_dict()}
        for name, own in zip(names[1:], ms[1:], strict=True)
    ]


def time_contenders(
    contenders: Sequence[Contender],
    frames: Sequence[Frame],
    fps: float,
    rounds: int,
    surroundings: dict[str, Any],
) -> dict[str, Any]:
    """Time opened contenders and put the figures together.

    Args:
        contenders: Opened; they stay open. The first is compared with each other one.
        frames: uint8 BGR ``[H, W, 3]``, at least one.
        fps: Frames per second of the sequence.
        rounds: Number of rounds.
        surroundings: What ``environment`` told before any work began: a load average that is read
            later is that of this program.

    Returns:
        ``models``, see ``describe``; ``comparisons``, see ``compare_with_first``; ``environment``
        with ``clocks`` added; and ``warnings``, lines that were printed as well.
    """
    timings = time_in_turns(contenders, frames, fps, rounds)
    warnings = [*load_warnings(surroundings), *clock_warnings(**timings.clocks)]
    for line in warnings:
        warn(line)
    return {
        "models": [
            describe(contender, own) for contender, own in zip(contenders, timings.ms, strict=True)
        ],
        "comparisons": compare_with_first(
            [contender.description.model for contender in contenders], timings.ms
        ),
        "environment": {**surroundings, "clocks": timings.clocks},
        "warnings": warnings,
    }


def measure(
    recipes: Sequence[Recipe],
    source: str | os.PathLike[str] | None = None,
    frames: int = 20,
    rounds: int = 20,
    threads: int | None = None,
    backend: str = "auto",
    alone: bool = True,
) -> dict[str, Any]:
    """Time contenders from frame to tracks.

    The frames are decoded beforehand and held in memory; see ``time_in_turns``.

    Args:
        recipes: The contenders; the first is compared with each of the others.
        source: Video, folder of images or sequence; without it, frames are generated.
        frames: Frames per round, the first ones of the source.
        rounds: Number of rounds.
        threads: Threads of the engine; its own choice when None.
        backend: Backend for ``runtime.load``.
        alone: Whether ``measure_alone`` adds to the entries.

    Returns:
        What ``time_contenders`` returns, ``settings``, and ``files``, see ``files_of``.

    Raises:
        UserError: A contender or the source cannot be used, or it has no frames.
    """
    pictures, fps = first_frames(source, frames)
    surroundings = environment(threads)
    with ExitStack() as stack:
        contenders = [stack.enter_context(recipe.open(backend, threads)) for recipe in recipes]
        found = time_contenders(contenders, pictures, fps, rounds, surroundings)
    if alone:
        extras = measure_alone(recipes, pictures, fps, threads, backend)
        for entry, extra in zip(found["models"], extras, strict=True):
            entry |= extra
    name = Path(source).name if source else "generated pattern"
    return {
        **found,
        "settings": settings_of(name, pictures, rounds, backend, threads),
        "files": files_of(recipes, source),
    }


def settings_of(
    source: str, frames: Sequence[Frame], rounds: int, backend: str, threads: int | None
) -> dict[str, Any]:
    """Return how was timed, as ``latency.json`` tells it.

    Args:
        source: Name of what the frames are from.
        frames: uint8 BGR ``[H, W, 3]``, those of a round.
        rounds: Number of rounds.
        backend: Backend for ``runtime.load``.
        threads: Threads of the engine; its own choice when None.
    """
    height, width = frames[0].shape[:2]
    return {
        "source": source,
        "frame_size_wh": [width, height],
        "frames_per_round": len(frames),
        "rounds": rounds,
        "warm_up_frames": min(WARM_UP_FRAMES, len(frames)),
        "backend": backend,
        "threads": threads,
    }


def files_of(recipes: Sequence[Recipe], source: str | os.PathLike[str] | None) -> dict[str, Any]:
    """Return what is needed to measure again: paths as they were given, and hashes.

    Returns:
        ``models``, by name the ``path`` and ``sha256`` of each that is a file, and ``source``, the
        same of the source, None where frames were generated.
    """
    return {
        "models": {
            recipe.name: {"path": str(recipe.path), "sha256": file_sha256(recipe.path)}
            for recipe in recipes
            if isinstance(recipe, ExportedModel)
        },
        "source": source and {"path": str(source), "sha256": source_sha256(source)},
    }


def print_latency(result: dict[str, Any]) -> None:
    """Print what ``measure`` returned on standard output."""
    settings = result["settings"]
    width, height = settings["frame_size_wh"]
    for model in result["models"]:
        title = (
            f"{model['model']}: ms per frame, {model['provider']}, {settings['source']} "
            f"{width} x {height}, {model['frames']} frames"
        )
        rows = [[stage, *model["stages"][stage].values()] for stage in STAGES]
        print_table(title, ("stage", "median", "p95", "p99", "mean"), rows)
    rows = [
        [
            model["model"],
            *(model.get(key) for key in FIGURES),
            model.get("overhead", {}).get("ratio"),
        ]
        for model in result["models"]
    ]
    headings = ("model", *FIGURES.values(), "frame / network")
    shown = [index for index in range(len(headings)) if any(row[index] is not None for row in rows)]
    print_table(
        "One frame after the other, in flight as kd-run has them, and from a cold start",
        [headings[index] for index in shown],
        [[row[index] for index in shown] for row in rows],
    )
    print_ratios(result["comparisons"])


def print_ratios(comparisons: Sequence[dict[str, Any]]) -> None:
    """Print what ``compare_with_first`` returned on standard output, if anything."""
    if not comparisons:
        return
    rows = [
        [f"{entry['first']} / {entry['other']}", entry["ratio"], entry["low"], entry["high"]]
        for entry in comparisons
    ]
    print_table(
        "Time ratio over paired rounds, 95 % bootstrap interval",
        ("models", "ratio", "low", "high"),
        rows,
    )
