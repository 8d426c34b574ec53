"""What a frame costs beside the network, and how near the pipeline comes to the network alone."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.association.crowd import make_crowd
from benchmarks.timing.frames import generated_frames
from benchmarks.timing.statistics import paired_ratio, summarise
from benchmarks.timing.throughput import InMemory, pipeline_fps
from runtime.console import markdown_table, print_table, progress
from runtime.detector import Detector, load
from runtime.engines import Engine
from runtime.errors import UserError
from runtime.opencv import cv2
from runtime.pipeline import make_tracker
from runtime.preprocess import letterbox_geometry
from runtime.sinks import open_sinks
from runtime.sources import open_source
from runtime.sources.base import Frame
from runtime.types import Detections

ROUNDS = 8
SHARE_FRAMES = 40
THROUGHPUT_FRAMES = 120
WARM_UP = 20
PEOPLE = 100
FULL_HD = (1920, 1080)
STAGES = ("preprocess", "network", "decode", "association")
SHARE_COLUMNS = ("frames", "threads", "preprocess", "network", "decode", "association", "outside")
THROUGHPUT_COLUMNS = ("threads", "way", "frames per second", "of the network alone")
ALONE = "the network alone"

Outputs = dict[str, npt.NDArray[np.generic]]


class CrowdEngine(Engine):
    """Runs a real network and puts a crowd in the place of what it found.

    The network takes as long as ever; what comes behind it has a full street to deal with.

    Args:
        engine: The network.
        scene: Detections of each frame, in pixels of the frames; the lowest scores are left out
            where they are more than the network's K.
        frame_size_wh: Size of the frames in pixels.
    """

    def __init__(
        self, engine: Engine, scene: Sequence[Detections], frame_size_wh: tuple[int, int]
    ) -> None:
        self.info, self.provider, self._engine = engine.info, engine.provider, engine
        geometry = letterbox_geometry(frame_size_wh, self.info.size_wh)
        self._rows = [self._as_outputs(one, geometry.to_input(one.boxes_xyxy)) for one in scene]
        self._next = itertools.cycle(self._rows)

    def input(self, count: int) -> npt.NDArray[np.uint8]:
        """Return the memory of the network; see ``Engine.input``."""
        return self._engine.input(count)

    def run(self, frames: npt.NDArray[np.uint8]) -> Outputs:
        """Run the network, and return the crowd of the next frame."""
        outputs = self._engine.run(frames)
        found = next(self._next)
        for name, rows in found.items():
            outputs[name][0] = rows
        return outputs

    def _as_outputs(self, found: Detections, boxes: npt.NDArray[np.float32]) -> Outputs:
        topk, width = self.info.topk, self.info.embedding_dim
        count = min(len(found), topk)
        outputs: Outputs = {
            "boxes": np.zeros((topk, 4), np.float32),
            "scores": np.zeros(topk, np.float32),
        }
        outputs["boxes"][:count] = boxes[:count]
        outputs["scores"][:count] = found.scores[:count]
        if width:
            assert found.embeddings is not None
            outputs["embeddings"] = np.full((topk, width), width**-0.5, np.float32)
            outputs["embeddings"][:count] = found.embeddings[:count]
        return outputs


def measure_share(model: Path, video: Path, threads: Sequence[int]) -> list[dict[str, Any]]:
    """Time the stages of a frame one after the other, on a recording and on a crowd in Full HD.

    Args:
        model: Exported model.
        video: The recording.
        threads: Numbers of CPU threads to measure with.

    Returns:
        A row for each scene and number of threads: ms of each stage, and ``outside``, the share of
        preprocess to association that is not the network.
    """
    rows = []
    pictures, fps = read_frames(video, SHARE_FRAMES)
    crowd_pictures = generated_frames(8, FULL_HD)
    for count in threads:
        cv2.setNumThreads(count)
        with load(model, threads=count) as detector:
            rows.append(_stages(detector, pictures, fps, video.name, count))
            scene = crowd_scene(detector)
            engine = CrowdEngine(detector.engine, scene, FULL_HD)
            crowded = Detector(engine, detector.score_threshold)
            name = f"{PEOPLE} people, 1920x1080"
            rows.append(_stages(crowded, crowd_pictures, 30.0, name, count))
    return rows


def crowd_scene(detector: Detector) -> list[Detections]:
    """Return a crowd that fills a frame of Full HD, frame by frame."""
    width = detector.info.embedding_dim
    return make_crowd(PEOPLE, 2 * SHARE_FRAMES, max(width, 1)).detections


def read_frames(video: Path, count: int) -> tuple[list[Frame], float]:
    """Return the first frames of a recording and its frame rate.

    Raises:
        UserError: It has too few.
    """
    with open_source(video) as source:
        frames = list(itertools.islice(iter(source), count))
    if len(frames) < count:
        raise UserError(f"{video} has fewer than {count} frames: give a longer recording")
    return frames, source.fps


def _stages(
    detector: Detector, frames: Sequence[Frame], fps: float, name: str, threads: int
) -> dict[str, Any]:
    """Run one frame after the other and summarise its stages."""
    clock = time.perf_counter
    tracker = make_tracker(detector, fps)
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    shown = 0
    frame = frames[0].copy()
    for index, picture in enumerate(
        itertools.islice(itertools.cycle(frames), ROUNDS * SHARE_FRAMES)
    ):
        # A frame has just been written by a decoder, so it is not fetched from far away.
        np.copyto(frame, picture)
        [(detections, seconds)] = detector.detect_timed([frame])
        start = clock()
        tracks = tracker.update(detections)
        seconds["association"] = clock() - start
        if index >= WARM_UP:
            shown += len(tracks)
            for stage in STAGES:
                times[stage].append(1000 * seconds[stage])
    totals = np.array([times[stage] for stage in STAGES]).sum(axis=0)
    return {
        "frames": name,
        "threads": threads,
        "frame_size_wh": [frames[0].shape[1], frames[0].shape[0]],
        "tracks_per_frame": shown / len(totals),
        **{stage: summarise(times[stage]).to_dict() for stage in STAGES},
        "total": summarise(totals).to_dict(),
        "outside": 1 - sum(times["network"]) / totals.sum(),
    }


def measure_throughput(model: Path, video: Path, threads: Sequence[int]) -> list[dict[str, Any]]:
    """Compare the pipeline's frames per second with those of the network alone.

    The network alone runs again and again on what lies in its memory. The pipeline takes frames
    that were decoded beforehand, decodes them itself, and writes text and JSON Lines as well. All
    take turns in short rounds.

    Args:
        model: Exported model.
        video: The recording.
        threads: Numbers of CPU threads of the network to measure with.

    Returns:
        A row for each number of threads and way: ``fps``, and ``of_network`` with its ratio to the
        network alone and a confidence interval.
    """
    rows = []
    pictures, fps = read_frames(video, THROUGHPUT_FRAMES)
    for count in threads:
        cv2.setNumThreads(count)
        with (
            load(model, threads=count) as alone,
            load(model, threads=count, in_pipeline=True) as detector,
            tempfile.TemporaryDirectory() as folder,
        ):
            memory = InMemory(pictures, THROUGHPUT_FRAMES + WARM_UP, fps)
            out = Path(folder)
            ways: dict[str, Callable[[], float]] = {
                ALONE: lambda d=alone: _network_fps(d),  # type: ignore[misc]
                "frames in memory": partial(
                    pipeline_fps, detector, memory, THROUGHPUT_FRAMES, WARM_UP
                ),
                "decoding": lambda d=detector: _decoding_fps(d, video),  # type: ignore[misc]
                "decoding and writing": lambda d=detector, o=out: _decoding_fps(d, video, o),  # type: ignore[misc]
            }
            rows += _compare_ways(ways, count)
    return rows


def _compare_ways(ways: dict[str, Callable[[], float]], threads: int) -> list[dict[str, Any]]:
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with progress(transient=True) as bar:
        task = bar.add_task("throughput", total=ROUNDS)
        for index in range(ROUNDS):
            names = list(ways)
            shift = index % len(names)
            for name in names[shift:] + names[:shift]:
                rates[name].append(ways[name]())
            bar.advance(task)
    return [
        {
            "threads": threads,
            "way": name,
            "fps": statistics.median(rates[name]),
            "of_network": vars(paired_ratio(rates[name], rates[ALONE])),
        }
        for name in ways
    ]


def _network_fps(detector: Detector) -> float:
    frames = detector.engine.input(1)
    for _ in range(WARM_UP):
        detector.engine.run(frames)
    start = time.perf_counter()
    for _ in range(THROUGHPUT_FRAMES):
        detector.engine.run(frames)
    return THROUGHPUT_FRAMES / (time.perf_counter() - start)


def _decoding_fps(detector: Detector, video: Path, folder: Path | None = None) -> float:
    with open_source(video) as source:
        if folder is None:
            return pipeline_fps(detector, source, THROUGHPUT_FRAMES, WARM_UP)
        classes = detector.info.classes
        with open_sinks(folder, ("mot", "jsonl"), source=source, classes=classes) as sinks:
            return pipeline_fps(detector, source, THROUGHPUT_FRAMES, WARM_UP, sinks.write)


def share_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Format the stages of one scene."""
    times = (f"{row[stage]['median_ms']:.2f}" for stage in STAGES)
    return (row["frames"], str(row["threads"]), *times, f"{row['outside']:.1%}")


def throughput_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Format one way."""
    ratio = row["of_network"]
    share = f"{ratio['ratio']:.1%} ({ratio['low']:.1%} to {ratio['high']:.1%})"
    return (str(row["threads"]), row["way"], f"{row['fps']:.1f}", share)


def share_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Render what ``measure_share`` returned as a Markdown table."""
    return markdown_table(SHARE_COLUMNS, [share_cells(row) for row in rows])


def throughput_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Render what ``measure_throughput`` returned as a Markdown table."""
    return markdown_table(THROUGHPUT_COLUMNS, [throughput_cells(row) for row in rows])


def print_loop(share: Sequence[dict[str, Any]], throughput: Sequence[dict[str, Any]]) -> None:
    """Print both on standard output."""
    cells = [share_cells(row) for row in share]
    print_table("ms per frame, and what is outside the network", SHARE_COLUMNS, cells)
    cells = [throughput_cells(row) for row in throughput]
    print_table("Throughput of the pipeline", THROUGHPUT_COLUMNS, cells)
