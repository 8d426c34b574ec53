"""Engines of exported graphs, held to the same detections as the graphs. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from export.frames import frames_to_compare
from export.parity import THRESHOLDS, ParityResult, Reference, compare, detect_all
from export.tensorrt import EngineOptions, build_engine
from runtime.engines import Engine, open_engine
from runtime.engines.cuda import find_gpu, import_cuda
from runtime.engines.sidecar import ENGINE_SUFFIX, EngineSidecar
from runtime.errors import UserError
from runtime.preprocess import preprocessor_for


def make_engine(
    onnx_file: Path,
    options: EngineOptions,
    engine_file: Path | None = None,
    reference: Callable[[], Reference] | None = None,
    allow_mismatch: bool = False,
) -> tuple[Path, EngineSidecar]:
    """Build an engine and, where there is a GPU to run it, prove that it sees what it should.

    Args:
        onnx_file: Made by ``kd-export``.
        options: What to build.
        engine_file: The engine; the graph's name with ``.engine`` when None.
        reference: Gives what the engine is to find, asked only where there is a GPU to run it;
            None leaves the proof out.
        allow_mismatch: Write the engine even if it finds something else, marked as such.

    Returns:
        The engine and its sidecar.

    Raises:
        UserError: The library or the GPU is missing, the engine cannot be built, or it sees
            something else.
    """
    file = engine_file or onnx_file.with_suffix(ENGINE_SUFFIX)
    prove = None if reference is None else proof(reference, allow_mismatch)
    return file, build_engine(onnx_file, file, options, prove=prove)


def proof(
    reference: Callable[[], Reference], allow_mismatch: bool
) -> Callable[[Path], dict[str, Any]]:
    """Return what compares an engine with the reference; it finds no figures without a GPU."""

    def prove(path: Path) -> dict[str, Any]:
        try:
            find_gpu(import_cuda())
        except UserError:
            return {}
        engine = open_engine(path)
        result = compare_engine(reference(), engine)
        engine.close()
        if not result and not allow_mismatch:
            raise UserError(
                f"the engine was not written, it does not see what the model sees: "
                f"{'; '.join(result.failures) or 'nothing to compare'}; build it without --fp16 or "
                "--int8, or write it all the same with --allow-mismatch"
            )
        return result.summary()

    return prove


def compare_engine(reference: Reference, engine: Engine) -> ParityResult:
    """Compare a TensorRT engine with what it should find."""
    # TensorRT computes fp32 convolutions in TF32, which has the ten digits of half precision.
    precision = {"fp32": "fp16"}.get(engine.info.precision, engine.info.precision)
    return compare(reference, engine, THRESHOLDS[precision])


def graph_reference(onnx_file: Path, source: Path | None, count: int) -> Reference:
    """Return what an exported graph finds on the CPU, where the PyTorch model is not at hand.

    Args:
        onnx_file: Made by ``kd-export``, where it was compared with PyTorch.
        source: Video or folder; None for the generated scene.
        count: Number of frames.
    """
    engine = open_engine(onnx_file, "cpu")
    frames, name = frames_to_compare(source, count, engine.info)
    prepare = preprocessor_for(engine.info)
    found = [detect_all(engine, prepare, frame) for frame in frames]
    engine.close()
    return Reference(frames, found, [False] * len(frames), name)
