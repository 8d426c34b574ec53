"""Choosing an engine for a model file."""

from __future__ import annotations

import os

from runtime.console import warn
from runtime.engines.base import Engine
from runtime.errors import UserError
from runtime.files import existing_file

BACKENDS = ("auto", "cpu", "cuda")


def open_engine(
    path: str | os.PathLike[str], backend: str = "auto", threads: int | None = None
) -> Engine:
    """Load a model made by ``kd-export``.

    Args:
        path: ONNX file.
        backend: ``cpu``, ``cuda``, or ``auto`` for CUDA where it works and the CPU elsewhere.
        threads: CPU threads for one operator; the engine's own choice when not given.

    Raises:
        UserError: The file cannot be used, the engine is not installed, or the backend that was
            asked for does not work here.
    """
    if backend not in BACKENDS:
        raise UserError(f"backend {backend!r} is unknown: choose one of {', '.join(BACKENDS)}")
    if threads is not None and threads < 1:
        raise UserError(f"{threads} threads cannot run anything: give 1 or more")
    file = existing_file(path, "model")
    from runtime.engines.onnx_runtime import OnnxRuntimeEngine

    engine = OnnxRuntimeEngine(file, backend, threads)
    if engine.info.parity.get("passed") is False:
        warn(
            f"{file} failed its parity check against PyTorch at export: its results may differ "
            "from the trained model's, export it again"
        )
    return engine
