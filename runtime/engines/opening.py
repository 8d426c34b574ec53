"""Choosing an engine for a model file."""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from runtime.console import warn
from runtime.engines.base import Engine
from runtime.engines.sidecar import ENGINE_SUFFIX, TITLES, EngineSidecar
from runtime.errors import UserError
from runtime.files import existing_file, file_sha256
from runtime.onnx_metadata import read_model_info

ONNX_BACKENDS = ("auto", "cpu", "cuda", "ort-tensorrt")
ENGINE_BACKENDS = ("auto", *TITLES)
BACKENDS = (*ONNX_BACKENDS, *TITLES)

TIMED_RUNS = 3


def open_engine(
    path: str | os.PathLike[str],
    backend: str = "auto",
    threads: int | None = None,
    spin: bool = True,
) -> Engine:
    """Load a model made by ``kd-export``.

    Args:
        path: ONNX file, or a TensorRT engine (``.engine``) with its sidecar beside it.
        backend: For an ONNX file ``cpu``, ``cuda``, ``ort-tensorrt`` (TensorRT in ONNX Runtime), or
            ``auto`` for the fastest that works, the engine built of the file and beside it
            included; for an engine ``tensorrt``, ``tensorrt-rtx``, or ``auto`` for the one it was
            built with.
        threads: CPU threads for one operator; the engine's own choice when not given. An engine
            does not run on the CPU and has no use for it.
        spin: Whether CPU threads of ONNX Runtime wait actively for each other while the network
            runs; False where other work shares all of its cores.

    Returns:
        The engine; its ``reason`` tells what runs it and why.

    Raises:
        UserError: The file cannot be used, the engine is not installed, or the backend that was
            asked for does not work here.
    """
    if backend not in BACKENDS:
        raise UserError(f"backend {backend!r} is unknown: choose one of {', '.join(BACKENDS)}")
    if threads is not None and threads < 1:
        raise UserError(f"{threads} threads cannot run anything: give 1 or more")
    file = existing_file(path, "model")
    if file.suffix == ENGINE_SUFFIX:
        engine = _open_tensorrt(file, backend)
    elif backend == "auto":
        engine = _open_fastest(file, threads, spin)
    else:
        engine = _open_onnx(file, backend, threads, spin)
    if engine.info.parity.get("passed") is False:
        warn(
            f"{file} failed its parity check against PyTorch at export: its results may differ "
            "from the trained model's, export it again"
        )
    return engine


def _open_onnx(file: Path, backend: str, threads: int | None, spin: bool) -> Engine:
    """Open an ONNX file.

    Raises:
        UserError: See ``open_engine``.
    """
    if backend not in ONNX_BACKENDS:
        raise UserError(
            f"{file} is not an engine, which --backend {backend} runs: build one with kd-export "
            f"engine {file} --kind {backend}"
        )
    from runtime.engines.onnx_runtime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(file, backend, threads, spin)


def _open_tensorrt(file: Path, backend: str) -> Engine:
    """Open an engine file.

    Raises:
        UserError: See ``open_engine``.
    """
    if backend not in ENGINE_BACKENDS:
        raise UserError(
            f"{file} is a TensorRT engine, which --backend {backend} cannot run: give the .onnx "
            f"file, or one of {', '.join(ENGINE_BACKENDS)}"
        )
    from runtime.engines.tensorrt import TensorRtEngine

    return TensorRtEngine(file, backend)


def _open_fastest(file: Path, threads: int | None, spin: bool) -> Engine:
    """Open an ONNX file with what runs it fastest here.

    What works is timed, where more than one does; on equal terms the earlier stays. An engine
    beside the file comes first, then TensorRT in ONNX Runtime, CUDA and the CPU.

    Raises:
        UserError: Nothing can run the file.
    """
    read_model_info(file)  # nothing can run what is no model
    beside = file.with_suffix(ENGINE_SUFFIX)
    best: Engine | None = None
    skipped: list[str] = []
    if beside.is_file():
        best = _attempt(partial(_open_beside, beside, file), skipped)
    if best is None:
        # The same compiler, but it builds for minutes: only where no engine works already.
        best = _attempt(partial(_open_onnx, file, "ort-tensorrt", threads, spin), skipped)
    best_ms: float | None = None
    slower: list[str] = []
    for backend in ("cuda", "cpu"):
        engine = _attempt(partial(_open_onnx, file, backend, threads, spin), skipped)
        if engine is None or best is None:
            best = best or engine
            continue
        best_ms = frame_ms(best) if best_ms is None else best_ms
        engine_ms = frame_ms(engine)
        if engine_ms < best_ms:
            best, best_ms, engine, engine_ms = engine, engine_ms, best, best_ms
        slower.append(f"{engine.reason} {engine_ms:.1f}")
        engine.close()
    if best is None:
        raise UserError(skipped[-1])
    # One cause may have ruled out several.
    why = list(dict.fromkeys(_without_advice(message) for message in skipped))
    if best_ms is not None:
        why.insert(0, f"{best_ms:.1f} ms a frame, {', '.join(slower)}")
    if why:
        best.reason += f": {'; '.join(why)}"
    return best


def _attempt(opener: Callable[[], Engine], skipped: list[str]) -> Engine | None:
    """Open an engine, or note why it cannot be."""
    try:
        return opener()
    except UserError as error:
        # The text alone: the error itself would keep what was half opened in memory.
        skipped.append(str(error))
        return None


def _without_advice(message: str) -> str:
    """Return what a message says is wrong, without what to do about it.

    Examples:
        >>> _without_advice("it cannot be loaded (x.so: no such file): check the libraries")
        'it cannot be loaded (x.so: no such file)'
    """
    # A colon in brackets belongs to what a library said.
    return re.split(r": (?![^()]*\))", message)[0]


def _open_beside(engine: Path, file: Path) -> Engine:
    """Open the engine that lies beside an ONNX file.

    Raises:
        UserError: It was not built of that file, sees something else, or does not fit here.
    """
    sidecar = EngineSidecar.load(engine)
    if sidecar.onnx_sha256 != file_sha256(file):
        raise UserError(f"{engine} was built of another {file.name}: {sidecar.rebuild}")
    if sidecar.parity.get("passed") is False:
        raise UserError(f"{engine} failed its parity check: {sidecar.rebuild}")
    return _open_tensorrt(engine, "auto")


def frame_ms(engine: Engine) -> float:
    """Return the time that an engine takes for a frame, in milliseconds: the median of a few."""
    frames = engine.input(engine.smallest_batch)
    engine.run(frames)
    seconds = []
    for _ in range(TIMED_RUNS):
        start = time.perf_counter()
        engine.run(frames)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e3 / len(frames)
