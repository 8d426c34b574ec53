"""``kd-bench runtime``: what stands round the network: its cost, its endurance, its faults."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.records.steps import run_step
from benchmarks.timing.environment import environment
from runtime.errors import UserError

OUT = Path("out/runtime")
VIDEO = Path("../shared/data/PETS09-S2L1/vtest.avi")
SIZE = "576x320"
PICTURES = 12_000  # to train on: five minutes on two cores, enough to find people
PARTS = ("association", "loop", "presets", "soak", "faults")
NEED_A_MODEL = frozenset({"loop", "faults"})


def measure(
    model: Path | None = None,
    original: Path | None = None,
    parts: Sequence[str] = PARTS,
) -> dict[str, Any]:
    """Measure the runtime without a network, and round one.

    Args:
        model: Exported model for what needs one; when not given, ``nano`` is trained on footage and
            exported.
        original: A clone of FairMOT, to measure its tracker as well.
        parts: Some of ``PARTS``.

    Returns:
        What each part returns, ``model``, ``command`` and ``environment``.

    Raises:
        UserError: A part is unknown, or the footage or the model cannot be used.
    """
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise UserError(f"--part {min(unknown)}: choose from {', '.join(PARTS)}")
    if model is None and NEED_A_MODEL & set(parts):
        model = make_model()
    surroundings = environment()
    record: dict[str, Any] = {}
    for part in PARTS:
        if part in parts:
            # Each in a process of its own: what others have loaded or left in memory slows a
            # tracker down, and hides what a soak run wants to see.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                record |= pool.apply(measure_part, (part, model, original))
    command = "kd-bench runtime" + (" --original FairMOT" if original else "")
    return {
        **record,
        "model": None if model is None else model.stem,
        "command": command,
        "environment": surroundings,
    }


def make_model() -> Path:
    """Train and export the model, unless that is done, and return the ONNX file."""
    file = OUT / "nano.onnx"
    if not file.exists():
        from benchmarks.records.export import train

        train("nano", OUT, PICTURES)
        run_step("kd-export", OUT / "nano", "-o", OUT, "--name", "nano", "--size", SIZE)
    return file


def measure_part(part: str, model: Path | None, original: Path | None) -> dict[str, Any]:
    """Measure one of ``PARTS``; nothing is imported that it does not need."""
    if part == "association":
        from benchmarks.association.measure import measure_association

        return {"association": measure_association(original=original)}
    if part == "presets":
        from benchmarks.records.presets import measure_presets

        return {"presets": measure_presets()}
    if part == "soak":
        from benchmarks.records.soak import measure_soak

        return {"soak": measure_soak()}
    assert model is not None
    if part == "faults":
        from benchmarks.faults import measure_faults

        return {"faults": measure_faults(model, VIDEO)}
    from benchmarks.records.loop import measure_share, measure_throughput

    threads = sorted({1, os.cpu_count() or 1})
    return {
        "share": measure_share(model, VIDEO, threads),
        "throughput": measure_throughput(model, VIDEO, threads),
    }


def print_record(record: dict[str, Any]) -> None:
    """Print what ``measure`` returned on standard output."""
    from benchmarks.association.measure import print_association
    from benchmarks.faults import print_faults
    from benchmarks.records.loop import print_loop
    from benchmarks.records.presets import print_presets
    from benchmarks.records.soak import print_soak

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
