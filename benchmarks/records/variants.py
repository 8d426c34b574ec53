"""One model in all its forms, from frame to detections, and timed in turns."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.records.straightforward import PlainDetector, export_plainly
from export.parity import Reference, compare, detect_all
from export.reference import torch_detect
from runtime.console import progress
from runtime.engines import open_engine
from runtime.model_info import ModelInfo
from runtime.preprocess import Letterboxer, preprocessor_for
from runtime.types import Detections
from train.models import TrackingModel
from train.models.deform import DeformConv2d, Form, use_form

PLAIN = "straightforward"
TOPK = 128
ROUNDS = 5
# The threads of what ran before go on spinning for a while, so the first frames do not count.
WARM_UP_SECONDS = 0.15
LEAST_FRAMES = 2
LEAST_SECONDS = 0.5

Frame = npt.NDArray[np.uint8]


@dataclass
class Variant:
    """One form of a model, from frame to all K detections.

    Attributes:
        name: ``pytorch``, ``straightforward`` or the precision of a fused graph.
        detect: From a frame to detections; None where nothing here can run it at speed.
        facts: What else the record says of it.
        run: The network alone, on the frame that was detected in last.
        medians: Median time per frame of each round, in ms.
        network: The same of the network alone.
    """

    name: str
    detect: Callable[[Frame], Detections] | None
    facts: dict[str, Any] = field(default_factory=dict)
    run: Callable[[], object] | None = None
    medians: list[float] = field(default_factory=list)
    network: list[float] = field(default_factory=list)


def torch_forms(model: TrackingModel, size_wh: tuple[int, int]) -> list[Variant]:
    """Return the model in PyTorch: with torchvision's deformable convolution, and with ours."""
    deformable = any(isinstance(layer, DeformConv2d) for layer in model.modules())
    forms = [Variant("pytorch", torch_detector(model, size_wh, "auto"))]
    if deformable:
        forms.insert(0, Variant("pytorch-operator", torch_detector(model, size_wh, "operator")))
    return forms


def torch_detector(
    model: TrackingModel, size_wh: tuple[int, int], form: Form
) -> Callable[[Frame], Detections]:
    """Return the model in PyTorch, from frame to detections."""
    letterboxer = Letterboxer(size_wh)

    def detect(frame: Frame) -> Detections:
        use_form(model, form)
        return torch_detect(model, letterboxer, frame, TOPK)[0]

    return detect


def plain_form(
    model: TrackingModel, size_wh: tuple[int, int], folder: Path, threads: int | None
) -> Variant:
    """Export the network alone and return it with its decoding."""
    file = folder / f"{PLAIN}.onnx"
    export_plainly(model, size_wh, file)
    detector = PlainDetector(file, size_wh, model.stride, TOPK, threads)
    return Variant(PLAIN, detector, run=detector.run_network)


def fused_form(
    file: Path, reference: Reference, threads: int | None, backend: str, stack: ExitStack
) -> Variant:
    """Load a fused graph and say how near it is to PyTorch."""
    engine = open_engine(file, backend, threads)
    stack.callback(engine.close)
    info = engine.info
    facts: dict[str, Any] = {
        "bytes": file.stat().st_size,
        "provider": engine.provider,
        "kept": list(info.kept),
    }
    on_cpu = engine.provider == "CPUExecutionProvider"
    if info.precision == "fp16" and on_cpu:
        # No half kernels to time; the parity is of rounding to half, as the export measured it.
        return Variant(info.precision, None, facts | parity_of(info))
    result = compare(reference, engine)
    facts |= {"passed": result.passed, "parity": result.figures, "detections": result.detections}
    prepare = preprocessor_for(info)
    return Variant(
        info.precision,
        lambda frame: detect_all(engine, prepare, frame),
        facts,
        run=lambda: engine.run(prepare.buffer),
    )


def parity_of(info: ModelInfo) -> dict[str, Any]:
    """Return the parity that a file tells of itself."""
    figures = {name: value for name, value in info.parity.items() if isinstance(value, float)}
    return {"passed": info.parity["passed"], "parity": figures}


def time_in_turns(forms: Sequence[Variant], frames: Sequence[Frame]) -> None:
    """Time all that can run, in short rounds, each beginning with another one."""
    running = [form for form in forms if form.detect is not None]
    with progress(transient=True) as bar:
        task = bar.add_task("timing", total=ROUNDS)
        for index in range(ROUNDS):
            shift = index % len(running)
            for form in [*running[shift:], *running[:shift]]:
                assert form.detect is not None
                form.medians.append(median_ms(over(form.detect, frames)))
                if form.run is not None:
                    form.network.append(median_ms(form.run))
            bar.advance(task)


def over(
    detect: Callable[[Frame], Detections], frames: Sequence[Frame]
) -> Callable[[], Detections]:
    """Return what detects in the next frame each time it is called, round and round."""
    pictures = itertools.cycle(frames)
    return lambda: detect(next(pictures))


def median_ms(work: Callable[[], object]) -> float:
    """Return the median time of a piece of work in ms, after a warm-up."""
    clock = time.perf_counter
    end = clock() + WARM_UP_SECONDS
    work()
    while clock() < end:
        work()
    times: list[float] = []
    while len(times) < LEAST_FRAMES or sum(times) < LEAST_SECONDS:
        start = clock()
        work()
        times.append(clock() - start)
    return 1000 * statistics.median(times)
