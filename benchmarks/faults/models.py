"""Faults in what ``kd-run`` loads: engines that do not suit, a model that goes away."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.faults.bench import (
    AS_UNDISTURBED,
    CLIP,
    FINAL_NAMES,
    MIDDLE,
    MODEL,
    Bench,
    Outcome,
    Run,
)
from runtime.engines.sidecar import EngineSidecar
from runtime.files import file_sha256
from runtime.onnx_metadata import read_model_info

# A refusal comes before library and GPU are used, so that neither needs to be there.
OTHER_GPU = """
from types import SimpleNamespace
from runtime.engines import tensorrt
from runtime.engines.cuda import Gpu
tensorrt.import_library = lambda kind: SimpleNamespace(__version__="10.9.0")
tensorrt.import_cuda = lambda: None
tensorrt.find_gpu = lambda cuda: Gpu("Orin", "8.7")
"""
REBUILD = "kd-export engine other.onnx --kind tensorrt"


def engine_of_another_gpu(bench: Bench, fault: str) -> Outcome:
    """Give an engine whose sidecar names another GPU."""
    engine = _write_engine(bench)
    run = Run(bench, CLIP, "engine", ("--no-overlay",), OTHER_GPU, engine.name)
    run.finish()
    said = run.said()
    checks = {
        "it names both GPUs and how to build again, in one line": run.status == 1
        and all(word in said for word in ("error: ", "GeForce", "Orin", REBUILD)),
        "it leaves no file": run.files() == [],
        "library and GPU are stood in for": True,
    }
    return run.outcome(fault, 0, checks)


def engine_of_another_gpu_beside(bench: Bench, fault: str) -> Outcome:
    """Have such an engine lie beside the model, where it would be taken if it suited."""
    engine = _write_engine(bench)
    model = engine.with_suffix(".onnx").name
    run = Run(bench, CLIP, "beside", ("--no-overlay",), OTHER_GPU, model)
    run.finish()
    reason = f"{engine.name} was built on "
    checks = {
        "it goes on without it and says why": run.status == 0 and reason in run.log(),
        FINAL_NAMES: run.files() == ["tracks.jsonl", "tracks.txt"],
        "library and GPU are stood in for": True,
    }
    return run.outcome(fault, len(bench.frames), checks)


def _write_engine(bench: Bench) -> Path:
    """Write a model with an engine beside it that no GPU here can be right for."""
    model = bench.folder / "other.onnx"
    shutil.copyfile(bench.folder / MODEL, model)
    engine = model.with_suffix(".engine")
    engine.write_bytes(b"an engine that is refused before it is read")
    EngineSidecar(
        kind="tensorrt",
        library_version="10.9.0",
        onnx_file=model.name,
        onnx_sha256=file_sha256(model),
        engine_sha256=file_sha256(engine),
        precision="fp16",
        gpu_name="NVIDIA GeForce RTX 4090",
        compute_capability="8.9",
        batch=(1, 1, 1),
        info=read_model_info(model),
        command=REBUILD,
    ).save(engine)
    return engine


def model_replaced(bench: Bench, fault: str) -> Outcome:
    """Overwrite the model in the middle of the run, then delete it."""
    model = bench.folder / "replaced.onnx"
    shutil.copyfile(bench.folder / MODEL, model)
    run = Run(bench, CLIP, "replaced", model=model.name)
    seen = run.wait_for(MIDDLE)
    model.write_bytes(b"something else")
    model.unlink()
    seen_after = len(run.lines())
    run.finish()
    checks = {
        "it was in the middle": MIDDLE <= seen <= seen_after < len(bench.frames),
        "exit status 0": run.status == 0,
        AS_UNDISTURBED: run.equals(bench.reference),
        FINAL_NAMES: run.files() == ["tracks.jsonl", "tracks.txt"],
    }
    return run.outcome(fault, len(bench.frames), checks)
