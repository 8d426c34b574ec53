"""Building an engine, step by step."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from export.tensorrt.config import batch_of, make_config, save_timing_cache
from export.tensorrt.monitor import interruptible, make_monitor
from export.tensorrt.network import Network, read_network
from export.tensorrt.options import EngineOptions
from runtime.console import progress as progress_bars
from runtime.console import warn
from runtime.engines.cuda import Gpu, find_gpu, import_cuda
from runtime.engines.sidecar import (
    ENGINE_SUFFIX,
    TITLES,
    EngineSidecar,
    sidecar_path,
)
from runtime.engines.tensorrt import import_library, make_log, shorten
from runtime.errors import UserError
from runtime.files import atomic_path, existing_file, file_sha256, output_directory
from runtime.onnx_metadata import read_model_info

Prove = Callable[[Path], dict[str, Any]]


def build_engine(
    onnx_path: Path,
    engine_path: Path,
    options: EngineOptions,
    progress: bool = True,
    prove: Prove | None = None,
) -> EngineSidecar:
    """Build an engine from an ONNX file made by ``kd-export``.

    The engine and its sidecar get their names together, when both are whole.

    Args:
        onnx_path: The ONNX file.
        engine_path: The engine to write, ``NAME.engine``.
        options: What is built, and how.
        progress: Whether to show how far the build is.
        prove: Called with the engine before it gets its name, its sidecar beside it; returns the
            figures for the sidecar's ``parity``. What it raises keeps the engine from being
            written.

    Returns:
        What was written beside the engine.

    Raises:
        UserError: The library or the GPU is missing, the graph cannot be built, or the files cannot
            be written.
        KeyboardInterrupt: The build was interrupted; nothing is written.
    """
    existing_file(onnx_path, "model")
    if engine_path.suffix != ENGINE_SUFFIX:
        raise UserError(f"{engine_path} does not end in {ENGINE_SUFFIX}: give another name")
    output_directory(engine_path.parent)
    info = read_model_info(onnx_path)
    library = import_library(options.kind)
    gpu = _build_gpu(options)
    log = make_log(library)
    network = read_network(library, options.kind, onnx_path, log)
    config = make_config(library, network, options)
    plan = _build(library, network, config, progress)
    if plan is None:
        reason = shorten(log.errors[0]) if log.errors else "no reason given"
        raise UserError(
            f"{TITLES[options.kind]} cannot build {onnx_path} ({reason}): close what else uses the "
            "GPU's memory, or give it another workspace"
        )
    sidecar = EngineSidecar(
        kind=options.kind,
        library_version=library.__version__,
        onnx_file=onnx_path.name,
        onnx_sha256=file_sha256(onnx_path),
        engine_sha256=hashlib.sha256(plan).hexdigest(),
        precision=info.precision,
        gpu_name=None if gpu is None else gpu.name,
        compute_capability=options.compute_capability if gpu is None else gpu.compute_capability,
        batch=batch_of(network, options),
        info=info,
        command=options.command(onnx_path.name),
    )
    sidecar = _write(plan, engine_path, sidecar, prove)
    _keep_timings(config, options)
    return sidecar


def _build_gpu(options: EngineOptions) -> Gpu | None:
    """Return the GPU that the engine is built on; TensorRT-RTX needs none.

    Raises:
        UserError: TensorRT finds none.
    """
    return find_gpu(import_cuda()) if options.kind == "tensorrt" else None


def _build(library: Any, network: Network, config: Any, shown: bool) -> Any:
    """Build and serialise the engine; None if the library cannot.

    Raises:
        KeyboardInterrupt: Once the library has stopped.
    """
    cancelled = threading.Event()
    with progress_bars(transient=True, shown=shown) as bars:
        monitor = make_monitor(library, bars, cancelled)
        if monitor is not None:
            config.progress_monitor = monitor
        return interruptible(
            lambda: network.builder.build_serialized_network(network.definition, config), cancelled
        )


def _write(
    plan: Any, engine_path: Path, sidecar: EngineSidecar, prove: Prove | None
) -> EngineSidecar:
    """Write the engine and its sidecar, after the proof.

    The sidecar gets its name first: without its engine it does no harm, and beside an older engine
    its hash refuses that.
    """
    was_there = engine_path.exists()
    try:
        with atomic_path(engine_path) as temporary:
            temporary.write_bytes(plan)
            if prove is not None:
                try:
                    sidecar.save(temporary)
                    sidecar = dataclasses.replace(sidecar, parity=prove(temporary))
                finally:
                    sidecar_path(temporary).unlink(missing_ok=True)
            sidecar.save(engine_path)
    except BaseException:
        if not was_there:
            sidecar_path(engine_path).unlink(missing_ok=True)
        raise
    return sidecar


def _keep_timings(config: Any, options: EngineOptions) -> None:
    """Write the timing cache, where one was asked for and means something."""
    if options.timing_cache is None:
        return
    if options.kind == "tensorrt":
        save_timing_cache(config, options.timing_cache)
    else:
        warn("TensorRT-RTX times nothing when it builds: the timing cache is not used")
