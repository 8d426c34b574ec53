"""``kd-bench runtime``: what stands round the network: its cost, its endurance, its faults."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.association.measure import measure_association, print_association
from benchmarks.environment import environment
from benchmarks.export import OUT, train
from benchmarks.faults import measure_faults, print_faults
from benchmarks.loop import measure_share, measure_throughput, print_loop
from benchmarks.presets import measure_presets, print_presets
from benchmarks.soak import measure_soak, print_soak
from benchmarks.steps import run_step
from runtime.errors import UserError

MODEL = "nano"
SIZE = "576x320"
VIDEO = Path("../shared/data/PETS09-S2L1/vtest.avi")
PARTS = ("association", "loop", "presets", "soak", "faults")


def measure(
    model: Path | None = None,
    original: Path | None = None,
    parts: Sequence[str] = PARTS,
) -> dict[str, Any]:
    """Measure the runtime without a network, and round one.

    Args:
        model: Exported model for what needs one; when not given, ``nano`` is trained as for
            ``kd-bench export``, and exported.
        original: A clone of FairMOT, to measure its tracker as well.
        parts: Some of ``PARTS``.

    Returns:
        What each part returns, ``command`` and ``environment``.

    Raises:
        UserError: A part is unknown, or the footage or the model cannot be used.
    """
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise UserError(f"--part {min(unknown)}: choose from {', '.join(PARTS)}")
    surroundings = environment()
    record: dict[str, Any] = {}
    if "association" in parts:
        record["association"] = measure_association(original=original)
    if "loop" in parts:
        threads = sorted({1, os.cpu_count() or 1})
        exported = model or make_model()
        record["share"] = measure_share(exported, VIDEO, threads)
        record["throughput"] = measure_throughput(exported, VIDEO, threads)
    if "presets" in parts:
        record["presets"] = measure_presets()
    if "soak" in parts:
        record["soak"] = measure_soak()
    if "faults" in parts:
        record["faults"] = measure_faults(model or make_model(), VIDEO)
    command = "kd-bench runtime" + (" --original FairMOT" if original else "")
    return {**record, "command": command, "environment": surroundings}


def make_model() -> Path:
    """Train and export the model, unless that is done, and return the ONNX file."""
    train(MODEL, OUT)
    folder = OUT / "runtime"
    file = folder / f"{MODEL}.onnx"
    if not file.exists():
        checkpoint = OUT / MODEL
        run_step("kd-export", checkpoint, "-o", folder, "--name", MODEL, "--size", SIZE)
    return file


def print_record(record: dict[str, Any]) -> None:
    """Print what ``measure`` returned on standard output."""
    if "association" in record:
        print_association(record["association"])
    if "share" in record:
        print_loop(record["share"], record["throughput"])
    if "presets" in record:
        print_presets(record["presets"])
    if "soak" in record:
        print_soak(record["soak"])
    if "faults" in record:
        print_faults(record["faults"])
