"""A long run of everything behind the network: does its memory grow, does it become slower?"""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing.environment import environment
from benchmarks.timing.statistics import summarise
from runtime.console import print_table
from runtime.detector import Detector
from runtime.engines import Engine
from runtime.errors import UserError
from runtime.model_info import ModelInfo
from runtime.session import Output, Session
from runtime.sources.base import Frame, FrameSource
from runtime.tracking.config import TrackerConfig
from runtime.types import Detections

FRAMES = 50_000
PEOPLE = 30
BLOCKS = 20
EMBEDDING_DIM = 128
FPS = 30.0
SIZE_WH = (192, 192)
# Share of the people who leave in a frame and make room for somebody new.
LEAVING = 0.005
MISSED = 0.05
LINES = ("middle:0,0.5,1,0.5",)
ZONES = ("corner:0,0,0.5,0,0.5,0.5,0,0.5",)
# The queues between the threads pass frames on in gulps: a time is the mean of so many frames.
GULP = 20
STATUS = Path("/proc/self/status")


def measure_soak(
    frames: int = FRAMES,
    people: int = PEOPLE,
    blocks: int = BLOCKS,
    preset: str = "default",
    sources: int = 1,
) -> dict[str, Any]:
    """Run what ``kd-run`` runs for long, with people entering and leaving all the time.

    Only the picture and the network are stood in for. Letterboxing, decoding, association, counting
    at a line and in a zone, ``tracks.txt``, ``tracks.jsonl``, the queues between them and the
    progress on standard error are those of every run. The first fifth of the blocks is the warm-up;
    growth is counted from its end. The library that draws the progress keeps its latest lines, up
    to some hundred KiB in the first quarter of an hour: that much growth is none of the frames'.

    Args:
        frames: Number of frames of each source.
        people: How many are there at any time, in each source.
        blocks: Number of equal parts into which the run is divided; at least 3.
        preset: Of the tracker.
        sources: Number of sources, through one model.

    Returns:
        ``blocks`` of frames so far, resident memory in KiB, ms from frame to frame in means of
        ``GULP``, among them ``quiet_ms``, which a tenth of the block stays below, and ``cpu_ms``
        that all threads together took for a frame; ``tracks``, how many there were; ``memory`` with
        ``growth_percent`` and ``slope_bytes_per_frame``, and ``time`` (quiet) with
        ``growth_percent`` of the last block over the first after the warm-up and
        ``slope_ns_per_frame``; ``settings`` and ``environment``. Slopes are those of Theil and Sen,
        which single outliers do not move. With several sources a frame is one of each.

    Raises:
        UserError: There are too few blocks or frames, or the system does not tell the memory.
    """
    if blocks < 3 or frames < blocks:
        raise UserError(f"{frames} frames in {blocks} blocks: give at least 3 blocks of a frame")
    if not STATUS.is_file():
        raise UserError(f"the system has no {STATUS}: measure memory on Linux")
    surroundings = environment()
    rows: list[dict[str, Any]] = []
    sizes = np.diff(np.linspace(0, frames, blocks + 1).astype(int)).tolist()
    engine = CrowdEngine(people, sources)
    # The first source is the one that is watched.
    crowds = [WatchedSource(sizes, rows), *(CrowdSource(n, frames) for n in range(1, sources))]
    config = TrackerConfig.preset(preset)
    detector = Detector(engine, config.lowest_score)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        output = Output(Path(folder), ("mot", "jsonl"), False, LINES, ZONES)
        Session(crowds, detector, config, output).run()
        tracks = sum(map(highest_id, Path(folder).rglob("tracks.txt")))
    warm_up = max(1, blocks // 5)
    kept = rows[warm_up:]
    counts = [row["frames"] for row in kept]
    memory = [row["resident_kib"] for row in kept]
    # What else the machine does comes and goes; a tracker that becomes slower is so all the time.
    quiet = [row["quiet_ms"] for row in kept]
    return {
        "blocks": rows,
        "tracks": tracks,
        "memory": {
            "growth_percent": 100 * (memory[-1] / rows[warm_up - 1]["resident_kib"] - 1),
            "slope_bytes_per_frame": 1024 * slope(counts, memory),
        },
        "time": {
            "growth_percent": 100 * (quiet[-1] / quiet[0] - 1),
            "slope_ns_per_frame": 1e6 * slope(counts, quiet),
        },
        "settings": {
            "frames": frames,
            "sources": sources,
            "people": people,
            "warm_up_frames": rows[warm_up - 1]["frames"],
            "preset": preset,
            "embedding_dim": EMBEDDING_DIM,
            "fps": FPS,
        },
        "environment": surroundings,
    }


class CrowdSource(FrameSource):
    """Blank frames that bear the number of their source, so that the engine knows whose they are.

    Args:
        number: Of the source.
        frames: How many come.
    """

    fps = FPS
    size_wh = SIZE_WH

    def __init__(self, number: int, frames: int) -> None:
        self.name = f"crowd {number}"
        self.length = frames
        self._number = number

    def __iter__(self) -> Iterator[Frame]:
        for _ in range(self.length or 0):
            yield np.full((SIZE_WH[1], SIZE_WH[0], 3), self._number, np.uint8)


class WatchedSource(CrowdSource):
    """Notes memory and time as frames are taken: a full queue makes it wait for all that follows.

    Args:
        sizes: Number of frames of each block.
        rows: Where a row is appended after each block.
    """

    def __init__(self, sizes: Sequence[int], rows: list[dict[str, Any]]) -> None:
        super().__init__(0, sum(sizes))
        self._sizes = sizes
        self._rows = rows

    def __iter__(self) -> Iterator[Frame]:
        frames = super().__iter__()
        done = 0
        for size in self._sizes:
            seconds = np.zeros(size)
            cpu = time.process_time()
            for index in range(size):
                start = time.perf_counter()
                yield next(frames)
                seconds[index] = time.perf_counter() - start
            done += size
            cpu = time.process_time() - cpu
            milliseconds = 1e3 * _by_gulp(seconds)
            self._rows.append(
                {
                    "frames": done,
                    "resident_kib": resident_kib(),
                    "quiet_ms": float(np.percentile(milliseconds, 10)),
                    **summarise(milliseconds).to_dict(),
                    "cpu_ms": 1e3 * cpu / size,
                }
            )


class CrowdEngine(Engine):
    """Stands in for a network: finds the people of ``visitors``, a scene for each source.

    Args:
        people: How many are there at any time.
        sources: Number of scenes.
    """

    provider = "a generated crowd"

    def __init__(self, people: int, sources: int = 1) -> None:
        self.info = ModelInfo(
            arch="crowd",
            size_wh=SIZE_WH,
            stride=8,
            topk=people,
            embedding_dim=EMBEDDING_DIM,
            classes=("person",),
            dynamic_batch=True,
        )
        self._scenes = [visitors(people, seed=number) for number in range(sources)]
        self._scale = SIZE_WH[0] / side_of(people)

    def run(self, frames: Frame) -> dict[str, np.ndarray]:
        """Return the people of the scenes whose numbers the frames bear; see ``Engine.run``."""
        topk = self.info.topk
        outputs: dict[str, np.ndarray] = {
            "boxes": np.zeros((len(frames), topk, 4), np.float32),
            "scores": np.zeros((len(frames), topk), np.float32),
            "classes": np.zeros((len(frames), topk), np.int64),
            "embeddings": np.zeros((len(frames), topk, EMBEDDING_DIM), np.float32),
        }
        for row, number in enumerate(frames[:, 0, 0, 0].tolist()):
            found = next(self._scenes[number])
            outputs["boxes"][row, : len(found)] = self._scale * found.boxes_xyxy
            outputs["scores"][row, : len(found)] = found.scores
            outputs["embeddings"][row, : len(found)] = found.embeddings
        return outputs


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
    side = side_of(people)
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


def side_of(people: int) -> float:
    """Return the side of the square in which so many people walk, in pixels."""
    return 200.0 * math.sqrt(people)


def highest_id(file: Path) -> int:
    """Return the highest identity in a ``tracks.txt``, 0 where there is none."""
    with file.open(encoding="ascii") as lines:
        return max((int(line.split(",", 2)[1]) for line in lines), default=0)


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


def _by_gulp(seconds: np.ndarray) -> np.ndarray:
    """Return the means of ``GULP`` values at a time, the last of what is left."""
    starts = np.arange(0, len(seconds), GULP)
    return np.add.reduceat(seconds, starts) / np.diff([*starts, len(seconds)])


def print_soak(record: dict[str, Any]) -> None:
    """Print what ``measure_soak`` returned on standard output."""
    settings = record["settings"]
    columns = ("quiet_ms", "median_ms", "p99_ms", "cpu_ms")
    rows = [
        [row["frames"], row["resident_kib"] / 1024, *(row[column] for column in columns)]
        for row in record["blocks"]
    ]
    sources = "" if settings["sources"] == 1 else f" of each of {settings['sources']} sources"
    print_table(
        f"{record['tracks']} tracks in {settings['frames']} frames{sources}",
        ("frames", "resident MiB", "quiet ms", "median ms", "p99 ms", "CPU ms"),
        rows,
    )
    memory, taken = record["memory"], record["time"]
    print_table(
        f"After {settings['warm_up_frames']} frames",
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
