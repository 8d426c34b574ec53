"""A long run of the tracker: does its memory grow, does it become slower?"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import environment
from benchmarks.statistics import summarise
from runtime.console import print_table, progress
from runtime.errors import UserError
from runtime.tracking.tracker import Tracker
from runtime.types import Detections

FRAMES = 50_000
PEOPLE = 30
BLOCKS = 20
EMBEDDING_DIM = 128
FPS = 30.0
# Share of the people who leave in a frame and make room for somebody new.
LEAVING = 0.005
MISSED = 0.05
STATUS = Path("/proc/self/status")


def measure_soak(
    frames: int = FRAMES, people: int = PEOPLE, blocks: int = BLOCKS, preset: str = "default"
) -> dict[str, Any]:
    """Run the tracker for long, with people entering and leaving all the time.

    The first fifth of the blocks is the warm-up; growth is counted from its end.

    Args:
        frames: Number of frames.
        people: How many are there at any time.
        blocks: Number of equal parts into which the run is divided; at least 3.
        preset: Of the tracker.

    Returns:
        ``blocks`` of frames so far, resident memory in KiB and ms per frame; ``tracks``, how many
        there were; ``memory`` with ``growth_percent`` and ``slope_bytes_per_frame``, ``time`` with
        ``growth_percent`` of the last block over the first after it and ``slope_ns_per_frame``;
        ``settings`` and ``environment``. Slopes are those of Theil and Sen, which single outliers
        do not move.

    Raises:
        UserError: There are too few blocks or frames, or the system does not tell the memory.
    """
    if blocks < 3 or frames < blocks:
        raise UserError(f"{frames} frames in {blocks} blocks: give at least 3 blocks of a frame")
    if not STATUS.is_file():
        raise UserError(f"the system has no {STATUS}: measure memory on Linux")
    tracker = Tracker(preset, fps=FPS)
    surroundings = environment()
    scene = visitors(people)
    sizes = np.diff(np.linspace(0, frames, blocks + 1).astype(int)).tolist()
    rows: list[dict[str, Any]] = []
    last_id = done = 0
    with progress(transient=True) as bar:
        task = bar.add_task("blocks", total=blocks)
        for size in sizes:
            seconds = np.zeros(size)
            for index in range(size):
                detections = next(scene)
                start = time.perf_counter()
                tracks = tracker.update(detections)
                seconds[index] = time.perf_counter() - start
                last_id = max(last_id, int(tracks.ids.max(initial=0)))
            done += size
            rows.append(
                {
                    "frames": done,
                    "resident_kib": resident_kib(),
                    **summarise(1e3 * seconds).to_dict(),
                }
            )
            bar.advance(task)
    warm_up = max(1, blocks // 5)
    kept = rows[warm_up:]
    counts = [row["frames"] for row in kept]
    memory = [row["resident_kib"] for row in kept]
    medians = [row["median_ms"] for row in kept]
    return {
        "blocks": rows,
        "tracks": last_id,
        "memory": {
            "growth_percent": 100 * (memory[-1] / rows[warm_up - 1]["resident_kib"] - 1),
            "slope_bytes_per_frame": 1024 * slope(counts, memory),
        },
        "time": {
            "growth_percent": 100 * (medians[-1] / medians[0] - 1),
            "slope_ns_per_frame": 1e6 * slope(counts, medians),
        },
        "settings": {
            "frames": frames,
            "people": people,
            "warm_up_frames": rows[warm_up - 1]["frames"],
            "preset": preset,
            "embedding_dim": EMBEDDING_DIM,
            "fps": FPS,
        },
        "environment": surroundings,
    }


def visitors(
    people: int, embedding_dim: int = EMBEDDING_DIM, seed: int = 0
) -> Iterator[Detections]:
    """Yield detections for ever: people walk, are missed at times, leave and are replaced.

    Args:
        people: How many are there at any time.
        embedding_dim: Length of the embeddings.
        seed: The same seed gives the same detections.
    """
    random = np.random.default_rng(seed)
    side = 200.0 * math.sqrt(people)
    half = np.array([20.0, 50.0])
    centres = random.uniform(0, side, (people, 2))
    speeds = random.normal(0, 2, (people, 2))
    looks = random.normal(size=(people, embedding_dim))
    while True:
        leaving = np.flatnonzero(random.random(people) < LEAVING)
        centres[leaving] = random.uniform(0, side, (len(leaving), 2))
        looks[leaving] = random.normal(size=(len(leaving), embedding_dim))
        centres = np.mod(centres + speeds, side)
        seen = random.random(people) > MISSED
        embeddings = looks[seen] + random.normal(0, 0.3, (int(seen.sum()), embedding_dim))
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        middles = centres[seen] + random.normal(0, 0.5, (len(embeddings), 2))
        yield Detections(
            np.concatenate([middles - half, middles + half], axis=1).astype(np.float32),
            random.uniform(0.15, 1, len(embeddings)).astype(np.float32),
            embeddings.astype(np.float32),
        )


def resident_kib() -> int:
    """Return the resident memory of this process in KiB, as Linux counts it."""
    for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise UserError(f"{STATUS} does not tell VmRSS: measure memory on Linux")


def slope(x: list[int], y: list[float]) -> float:
    """Return the median slope over all pairs of points (Theil 1950, Sen 1968).

    Args:
        x: At least two different values.
        y: As many values.

    Examples:
        >>> slope([0, 1, 2, 3, 4], [5.0, 7.0, 9.0, 100.0, 13.0])
        2.0
    """
    first, second = np.triu_indices(len(x), 1)
    horizontal, vertical = np.asarray(x, np.float64), np.asarray(y, np.float64)
    slopes = (vertical[second] - vertical[first]) / (horizontal[second] - horizontal[first])
    return float(np.median(slopes))


def print_soak(record: dict[str, Any]) -> None:
    """Print what ``measure_soak`` returned on standard output."""
    rows = [
        [row["frames"], row["resident_kib"] / 1024, row["median_ms"], row["p99_ms"]]
        for row in record["blocks"]
    ]
    print_table(
        f"{record['tracks']} tracks in {record['settings']['frames']} frames",
        ("frames", "resident MiB", "median ms", "p99 ms"),
        rows,
    )
    memory, taken = record["memory"], record["time"]
    print_table(
        f"After {record['settings']['warm_up_frames']} frames",
        ("", "growth %", "slope"),
        [
            [
                "memory",
                memory["growth_percent"],
                f"{memory['slope_bytes_per_frame']:.2f} bytes per frame",
            ],
            ["time", taken["growth_percent"], f"{taken['slope_ns_per_frame']:.3f} ns per frame"],
        ],
    )
