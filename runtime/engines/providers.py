"""What ONNX Runtime runs a graph with, and how each is set up."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

from runtime.errors import UserError
from runtime.files import file_sha256
from runtime.model_info import ModelInfo

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
TENSORRT_RTX = "NvTensorRTRTXExecutionProvider"

NAMES = {
    CPU: "ONNX Runtime on the CPU",
    CUDA: "ONNX Runtime through CUDA",
    TENSORRT: "ONNX Runtime through TensorRT",
    TENSORRT_RTX: "ONNX Runtime through TensorRT-RTX",
}

FATAL = 4  # ONNX Runtime's log level; its errors reach the user through exceptions

# TensorRT has to know how many frames may come, and would build anew for more while cameras wait.
TENSORRT_BATCH = 8


def choose_providers(runtime: ModuleType, backend: str) -> list[str]:
    """Return the providers of a backend, the best first.

    Args:
        runtime: ONNX Runtime.
        backend: ``cpu``, ``cuda``, ``ort-tensorrt``, or ``auto`` for CUDA where it is installed and
            the CPU elsewhere.

    Raises:
        UserError: This ONNX Runtime does not have what is asked for.
    """
    available = runtime.get_available_providers()
    on_gpu = [CUDA] if CUDA in available else []
    compilers = [provider for provider in (TENSORRT, TENSORRT_RTX) if provider in available]
    if backend == "ort-tensorrt" and compilers:
        # What TensorRT cannot run goes to the next one.
        return [compilers[0], *on_gpu, CPU]
    if backend == "ort-tensorrt" and on_gpu:
        raise UserError(
            "this ONNX Runtime has CUDA and no TensorRT: choose --backend cuda, or build an engine "
            "with kd-export engine"
        )
    if backend in ("cuda", "ort-tensorrt") and not on_gpu:
        raise UserError(
            "this ONNX Runtime has no CUDA: pip uninstall onnxruntime, then "
            'pip install "kd-mot[gpu]", or choose --backend cpu'
        )
    return [CPU] if backend == "cpu" else [*on_gpu, CPU]


def provider_options(
    provider: str, info: ModelInfo, path: Path
) -> tuple[str, dict[str, str]] | str:
    """Return a provider as a session takes it.

    TensorRT builds an engine out of the graph when the session is made, which takes minutes; the
    engine is kept in a folder that the graph's hash names, since TensorRT in ONNX Runtime tells
    graphs apart by the names in them and would take that of an older training for the new one.

    Args:
        provider: Name of the provider.
        info: What the graph says about itself; half precision and int8 are used as it says.
        path: The ONNX file.
    """
    width, height = info.frames_wh
    shapes = {
        "min": f"frames:1x{height}x{width}x3",
        "opt": f"frames:1x{height}x{width}x3",
        "max": f"frames:{TENSORRT_BATCH}x{height}x{width}x3",
    }
    options: dict[str, str] = {}
    if provider == TENSORRT:
        kept_at = engine_cache(path)
        options = {
            "trt_fp16_enable": _flag("fp16" in (info.precision, *info.quantization.split("+"))),
            "trt_int8_enable": _flag(info.precision == "int8"),
            "trt_engine_cache_enable": _flag(kept_at is not None),
            "trt_timing_cache_enable": _flag(kept_at is not None),
        }
        if kept_at is not None:
            options["trt_engine_cache_path"] = options["trt_timing_cache_path"] = str(kept_at)
        prefix = "trt"
    elif provider == TENSORRT_RTX:
        kept_at = engine_cache(path)
        if kept_at is not None:
            options["nv_runtime_cache_path"] = str(kept_at)
        prefix = "nv"
    else:
        return provider
    if info.dynamic_batch:
        options |= {f"{prefix}_profile_{end}_shapes": shape for end, shape in shapes.items()}
    return provider, options


def engine_cache(path: Path) -> Path | None:
    """Return the folder for the engines of an ONNX file, in the user's cache; None without one."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = Path(base).expanduser() / "kd-mot" / "engines" / file_sha256(path)[:32]
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no place to write to, or no home at all
        return None
    return folder if os.access(folder, os.W_OK) else None


def session_options(runtime: ModuleType, threads: int | None, spin: bool = True) -> Any:
    """Return the options of a quiet session with so many CPU threads for one operator.

    Threads spin for the next operator while the network runs, which makes a small network faster,
    and sleep between two runs, where spinning would take the cores that decoding and association
    need. On a busy machine with two cores, "nano" at 320x192 with two threads took about 2.8 ms so,
    2.6 ms with threads that always spin, which kept 1.7 cores busy where these keep 1.25, and
    3.6 ms with threads that never do. Where all cores are the network's and a pipeline wants some
    of their time, threads that never spin are better: at 576x320 the network alone ran at 133
    frames a second instead of 138, and the pipeline at 111 instead of 97.
    """
    options = runtime.SessionOptions()
    options.log_severity_level = FATAL
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def _flag(value: bool) -> str:
    return "1" if value else "0"
