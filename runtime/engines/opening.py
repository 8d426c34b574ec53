"""Choosing an engine for a model file."""

from __future__ import annotations

import os
from pathlib import Path

from runtime.console import warn
from runtime.engines.base import Engine
from runtime.engines.sidecar import ENGINE_SUFFIX, TITLES
from runtime.errors import UserError
from runtime.files import existing_file

ONNX_BACKENDS = ("auto", "cpu", "cuda")
ENGINE_BACKENDS = ("auto", *TITLES)
BACKENDS = (*ONNX_BACKENDS, *TITLES)


def open_engine(
    path: str | os.PathLike[str], backend: str = "auto", threads: int | None = None
) -> Engine:
    """Load a model made by ``kd-export``.

    Args:
        path: ONNX file, or a TensorRT engine (``.engine``) with its sidecar beside it.
        backend: For an ONNX file ``cpu``, ``cuda``, or ``auto`` for CUDA where it works and the CPU
            elsewhere; for an engine ``tensorrt``, ``tensorrt-rtx``, or ``auto`` for the one it was
            built with.
        threads: CPU threads for one operator; the engine's own choice when not given. An engine
            does not run on the CPU and has no use for it.

    Raises:
        UserError: The file cannot be used, the engine is not installed, or the backend that was
            asked for does not work here.
    """
    if backend not in BACKENDS:
        raise UserError(f"backend {backend!r} is unknown: choose one of {', '.join(BACKENDS)}")
    if threads is not None and threads < 1:
        raise UserError(f"{threads} threads cannot run anything: give 1 or more")
    file = existing_file(path, "model")
    is_engine = file.suffix == ENGINE_SUFFIX
    engine = _open_tensorrt(file, backend) if is_engine else _open_onnx(file, backend, threads)
    if engine.info.parity.get("passed") is False:
        warn(
            f"{file} failed its parity check against PyTorch at export: its results may differ "
            "from the trained model's, export it again"
        )
    return engine


def _open_onnx(file: Path, backend: str, threads: int | None) -> Engine:
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

    return OnnxRuntimeEngine(file, backend, threads)


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
