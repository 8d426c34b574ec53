"""``kd-bench latency``: time per frame and stage, models measured side by side."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.environment import environment
from benchmarks.statistics import paired_ratio, summarise
from runtime.console import print_table, progress
from runtime.detector import Detector, load
from runtime.errors import UserError
from runtime.files import existing_file
from runtime.sources import open_source
from runtime.tracking.config import TrackerConfig
from runtime.tracking.tracker import Tracker

Frame = npt.NDArray[np.uint8]

STAGES = ("preprocess", "network", "decode", "association", "total")
WARM_UP_FRAMES = 10
GENERATED_SIZE_WH = (1280, 720)
GENERATED_FPS = 30.0


@dataclass
class _Candidate:
    """One model under test and its times, per round an array ``[frames, stages]`` in ms."""

    name: str
    path: Path
    detector: Detector
    rounds: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def round_medians(self) -> npt.NDArray[np.float64]:
        """Return the median total of each round, ``[rounds]`` ms."""
        return np.array([np.median(times[:, -1]) for times in self.rounds])


def measure(
    models: Sequence[str | os.PathLike[str]],
    source: str | os.PathLike[str] | None = None,
    frames: int = 20,
    rounds: int = 10,
    threads: int | None = None,
    backend: str = "auto",
) -> dict[str, Any]:
    """Time models from frame to tracks.

    The frames are decoded beforehand and held in memory. After a warm-up each round runs every
    model over the same frames with a fresh tracker, each round beginning with another model: a
    disturbance of the machine hits all models alike, and the comparison pairs rounds.

    Args:
        models: Exported models; the first is compared with each of the others.
        source: Video, folder of images or sequence; without it, frames are generated.
        frames: Frames per round, the first ones of the source.
        rounds: Number of rounds.
        threads: Threads of the engine; its own choice when None.
        backend: Backend for ``runtime.load``.

    Returns:
        ``models`` (name, file, size, stages and frames per second of each), ``comparisons``,
        ``settings`` and ``environment``.

    Raises:
        UserError: A model or the source cannot be used, or it has no frames.
    """
    paths = [existing_file(model, "model") for model in models]
    pictures, fps = _read_frames(source, frames)
    surroundings = environment(threads)
    candidates = [
        _Candidate(name, path, load(path, backend=backend, threads=threads))
        for name, path in zip(unique_names(paths), paths, strict=True)
    ]
    with progress(transient=True) as bar:
        task = bar.add_task("rounds", total=rounds)
        for candidate in candidates:
            _run_round(candidate.detector, pictures[:WARM_UP_FRAMES], fps)
        for index in range(rounds):
            shift = index % len(candidates)
            for candidate in candidates[shift:] + candidates[:shift]:
                candidate.rounds.append(_run_round(candidate.detector, pictures, fps))
            bar.advance(task)
    for candidate in candidates:
        candidate.detector.close()
    height, width = pictures[0].shape[:2]
    return {
        "models": [_describe(candidate) for candidate in candidates],
        "comparisons": _compare(candidates),
        "settings": {
            "source": Path(source).name if source else "generated pattern",
            "frame_size_wh": [width, height],
            "frames_per_round": len(pictures),
            "rounds": rounds,
            "warm_up_frames": min(WARM_UP_FRAMES, len(pictures)),
            "backend": backend,
            "threads": threads,
        },
        "environment": surroundings,
    }


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Name models by their file, with the folder before it where files share a name.

    Examples:
        >>> unique_names([Path("a/model.onnx"), Path("b/model.onnx"), Path("b/tiny.onnx")])
        ['a/model', 'b/model', 'tiny']
    """
    stems = [path.stem for path in paths]
    return [
        path.stem if stems.count(path.stem) == 1 else f"{path.resolve().parent.name}/{path.stem}"
        for path in paths
    ]


def generated_frames(count: int, size_wh: tuple[int, int] = GENERATED_SIZE_WH) -> list[Frame]:
    """Make a gradient under noise: something to process, with nothing in it to find.

    Args:
        count: Number of frames.
        size_wh: Width and height in pixels.

    Returns:
        uint8 BGR ``[H, W, 3]`` frames, the same in every call.
    """
    width, height = size_wh
    random = np.random.default_rng(0)
    gradient = np.add.outer(np.linspace(0, 120, height), np.linspace(0, 120, width))
    return [
        (gradient[..., None] + random.integers(0, 16, (height, width, 3))).astype(np.uint8)
        for _ in range(count)
    ]


def _read_frames(source: str | os.PathLike[str] | None, count: int) -> tuple[list[Frame], float]:
    if source is None:
        return generated_frames(count), GENERATED_FPS
    with open_source(Path(source)) as opened:
        pictures: Iterable[Frame] = itertools.islice(opened, count)
        kept = list(pictures)
        if not kept:
            raise UserError(f"{source} has no frames: give another source")
        return kept, opened.fps


def _run_round(detector: Detector, frames: Sequence[Frame], fps: float) -> npt.NDArray[np.float64]:
    """Run one model over the frames; return ``[frames, stages]`` in milliseconds."""
    tracker = Tracker(fps=fps, config=TrackerConfig.for_model(detector.info.tracker))
    clock = time.perf_counter_ns
    marks = np.zeros((len(frames), len(STAGES)), np.int64)
    for row, frame in zip(marks, frames, strict=True):
        start = clock()
        geometry = detector.preprocess(frame)
        prepared = clock()
        outputs = detector.infer()
        inferred = clock()
        detections = detector.decode(outputs, geometry)
        decoded = clock()
        tracker.update(detections)
        end = clock()
        row[:] = (
            prepared - start,
            inferred - prepared,
            decoded - inferred,
            end - decoded,
            end - start,
        )
    return marks / 1e6


def _describe(candidate: _Candidate) -> dict[str, Any]:
    times = np.concatenate(candidate.rounds)
    info = candidate.detector.info
    stages = {
        name: summarise(column).to_dict() for name, column in zip(STAGES, times.T, strict=True)
    }
    return {
        "model": candidate.name,
        "file": candidate.path.name,
        "bytes": candidate.path.stat().st_size,
        "arch": info.arch,
        "parameters": info.parameters,
        "precision": info.precision,
        "size_wh": list(info.size_wh),
        "provider": candidate.detector.engine.provider,
        "frames": len(times),
        "stages": stages,
        "fps": 1000 / stages["total"]["mean_ms"],
    }


def _compare(candidates: Sequence[_Candidate]) -> list[dict[str, Any]]:
    first = candidates[0]
    found = []
    for other in candidates[1:]:
        ratio = paired_ratio(first.round_medians(), other.round_medians())
        found.append(
            {
                "first": first.name,
                "other": other.name,
                "ratio": ratio.ratio,
                "low": ratio.low,
                "high": ratio.high,
                "confidence": ratio.confidence,
            }
        )
    return found


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
    rows = [[model["model"], model["fps"]] for model in result["models"]]
    print_table("Frames per second, from the mean total", ("model", "fps"), rows)
    if result["comparisons"]:
        rows = [
            [f"{entry['first']} / {entry['other']}", entry["ratio"], entry["low"], entry["high"]]
            for entry in result["comparisons"]
        ]
        print_table(
            "Time ratio over paired rounds, 95 % bootstrap interval",
            ("models", "ratio", "low", "high"),
            rows,
        )
