"""``kd-bench data``: how fast the training loader is, against decoding alone."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from benchmarks.timing.environment import environment
from benchmarks.timing.statistics import paired_ratio, summarise
from runtime.console import print_table, progress
from train.config import TrainConfig
from train.data.batch import collate
from train.data.loader import TrainingSet, make_loader, readable_errors
from train.models import build_model

STAGES = ("decode", "augment", "targets", "total")


class _DecodeOnly(Dataset[int]):
    """The same pictures, decoded and thrown away."""

    def __init__(self, full: TrainingSet) -> None:
        self._full = full

    def __len__(self) -> int:
        return len(self._full)

    def __getitem__(self, index: int) -> int:
        self._full.draw(index)
        return index


def measure(
    config: TrainConfig, workers: int | None = None, pictures: int = 64, rounds: int = 5
) -> dict[str, Any]:
    """Time the loader of a training configuration.

    Rounds of the whole loader and of decoding alone alternate, over the same training pictures
    with the same number of processes, which are started beforehand: a disturbance of the machine
    hits both alike, and the comparison pairs rounds.

    Args:
        config: The configuration.
        workers: Loader processes; the configuration's when None.
        pictures: Training pictures per round, rounded up to whole batches. One that shows several
            photographs decodes several.
        rounds: Number of rounds.

    Returns:
        ``throughput`` in training pictures per second, ``comparison`` with the ratio of the times
        of loading and of decoding alone, ``stages`` in ms per training picture in one process,
        ``sources``, ``settings`` and ``environment``.

    Raises:
        UserError: The data cannot be read.
    """
    workers = config.workers if workers is None else workers
    batch = min(config.schedule.batch, pictures)
    batches = -(-pictures // batch)
    schedule = config.schedule.model_copy(update={"images_per_epoch": batches * batch})
    config = config.model_copy(update={"schedule": schedule})
    surroundings = environment()
    dataset = TrainingSet(config, _stride(config))
    full = make_loader(dataset, batch, workers, collate, persistent=True)
    bare = make_loader(_DecodeOnly(dataset), batch, workers, len, persistent=True)
    seconds: dict[str, list[float]] = {"loader": [], "decoding alone": []}
    with progress(transient=True) as bar, readable_errors():
        task = bar.add_task("rounds", total=rounds + 2)
        stages = time_stages(dataset)
        bar.advance(task)
        runs = [("loader", full), ("decoding alone", bare)]
        for _, loader in runs:
            _time_pass(loader)  # starts the processes
        bar.advance(task)
        for index in range(rounds):
            for name, loader in runs if index % 2 == 0 else runs[::-1]:
                seconds[name].append(_time_pass(loader))
            bar.advance(task)
    ratio = paired_ratio(seconds["loader"], seconds["decoding alone"])
    return {
        "throughput": {
            name: len(dataset) / float(np.median(times)) for name, times in seconds.items()
        },
        "comparison": {"ratio": ratio.ratio, "low": ratio.low, "high": ratio.high},
        "stages": {
            name: summarise(column).to_dict() for name, column in zip(STAGES, stages.T, strict=True)
        },
        "sources": [
            {"name": name, "pictures": count, "ids": ids} for name, count, ids in dataset.describe()
        ],
        "settings": {
            "input_wh": list(config.input_wh),
            "style": config.augment.style,
            "batch": batch,
            "pictures_per_round": len(dataset),
            "rounds": rounds,
            "workers": workers,
        },
        "environment": surroundings,
    }


def time_stages(dataset: TrainingSet) -> npt.NDArray[np.float64]:
    """Time each stage for every picture of an epoch in this process, on one thread.

    Returns:
        ``[pictures, stages]`` in milliseconds, in the order of ``STAGES``. The first picture is
        made twice and its first time dropped.
    """
    clock = time.perf_counter_ns
    marks = np.zeros((len(dataset) + 1, len(STAGES)), np.int64)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        for row, index in zip(marks, (0, *range(len(dataset))), strict=True):
            start = clock()
            draw = dataset.draw(index)
            drawn = clock()
            sample = dataset.augment(draw)
            augmented = clock()
            dataset.targets(sample)
            end = clock()
            row[:] = drawn - start, augmented - drawn, end - augmented, end - start
    finally:
        cv2.setNumThreads(threads)
    return marks[1:] / 1e6


def print_throughput(result: dict[str, Any]) -> None:
    """Print what ``measure`` returned on standard output."""
    settings, comparison = result["settings"], result["comparison"]
    width, height = settings["input_wh"]
    workers = settings["workers"]
    processes = {0: "no loader process", 1: "1 loader process"}.get(
        workers, f"{workers} loader processes"
    )
    title = (
        f"Training pictures of {width} x {height}, style {settings['style']}, {processes}, "
        f"{settings['rounds']} rounds of {settings['pictures_per_round']}"
    )
    rows = [[name, value] for name, value in result["throughput"].items()]
    print_table(title, ("", "pictures/s"), rows)
    row = ["loader / decoding alone", comparison["ratio"], comparison["low"], comparison["high"]]
    title = "Time ratio over paired rounds, 95 % bootstrap interval"
    print_table(title, ("", "ratio", "low", "high"), [row])
    rows = [[stage, *result["stages"][stage].values()] for stage in STAGES]
    title = "Stages in one process: ms per training picture"
    print_table(title, ("stage", "median", "p95", "p99", "mean"), rows)


def _stride(config: TrainConfig) -> int:
    model = config.model
    return build_model(
        model.name,
        num_classes=model.num_classes,
        embedding_dim=model.embedding_dim,
        **model.options,
    ).stride


def _time_pass(loader: Iterable[Any]) -> float:
    """Return how many seconds one pass over a loader takes."""
    start = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - start
