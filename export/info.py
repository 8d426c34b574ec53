"""What an exported file says about itself, for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.engines.sidecar import ENGINE_SUFFIX, EngineSidecar
from runtime.files import existing_file
from runtime.model_info import ModelInfo
from runtime.onnx_metadata import read_model_info


def describe_file(path: Path) -> dict[str, str]:
    """Return the description of an ONNX file or an engine, in words.

    Raises:
        UserError: The file is missing, or not made by ``kd-export``.
    """
    file = existing_file(path, "model")
    size = {"file": f"{file.name}, {file.stat().st_size / 1e6:.1f} MB"}
    if file.suffix == ENGINE_SUFFIX:
        sidecar = EngineSidecar.load(file)
        return size | describe_engine(sidecar) | describe_model(sidecar.info)
    return size | describe_model(read_model_info(file))


def describe_model(info: ModelInfo) -> dict[str, str]:
    """Return what is to be known of a graph, in words."""
    words = {
        "model": f"{info.arch}, {info.parameters / 1e6:.2f} M parameters",
        "network input": f"{_size(info.size_wh)}, stride {info.stride}",
        "frames": _frames(info),
        "detections": f"{info.topk} per frame",
        "classes": ", ".join(info.classes),
        "embedding": f"{info.embedding_dim} numbers" if info.embedding_dim else "none",
        "precision": " ".join((info.precision, info.quantization)).strip(),
    }
    if info.kept:
        words["left higher"] = ", ".join(info.kept)
    words["tracker"] = ", ".join(f"{key} {value:g}" for key, value in info.tracker.items())
    words["parity"] = _parity(info.parity)
    words["checkpoint"] = f"sha256 {info.source_sha256}"
    words["written by"] = f"kd-mot {info.tool_version}"
    return {key: value for key, value in words.items() if value}


def describe_engine(sidecar: EngineSidecar) -> dict[str, str]:
    """Return what is to be known of an engine, in words."""
    smallest, best, largest = sidecar.batch
    return {
        "engine": f"{sidecar.kind} {sidecar.library_version}",
        "GPU": sidecar.gpu_name or "any the library serves",
        "compute capability": sidecar.compute_capability or "8.0 and later",
        "batch": f"{smallest} to {largest}, best at {best}",
        "built from": f"{sidecar.onnx_file}, sha256 {sidecar.onnx_sha256}",
        "built by": sidecar.command,
        "engine parity": _parity(sidecar.parity) or "not measured, no GPU was at hand",
    }


def _frames(info: ModelInfo) -> str:
    count = "any number at once" if info.dynamic_batch else "one at a time"
    if info.preprocess == "graph":
        return f"{_size(info.frames_wh)} as the camera gives them, {count}"
    return f"letterboxed by the host, {count}"


def _parity(parity: dict[str, Any]) -> str:
    if not parity:
        return ""
    figures = (f"{name} {value:.6g}" for name, value in parity.items() if isinstance(value, float))
    verdict = "passed" if parity.get("passed") else "FAILED"
    return f"{verdict} on {parity.get('source', 'unknown frames')}: {', '.join(figures)}"


def _size(size_wh: tuple[int, int]) -> str:
    return f"{size_wh[0]}x{size_wh[1]}"
