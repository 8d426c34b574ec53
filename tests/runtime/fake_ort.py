"""ONNX Runtime as it would be with a GPU: sessions compute on the CPU and say otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from runtime.engines.providers import CPU, CUDA, TENSORRT

REAL_VALUE = onnxruntime.OrtValue


class PretendedValue:
    """``OrtValue`` whose CUDA is ordinary memory."""

    ortvalue_from_numpy = REAL_VALUE.ortvalue_from_numpy

    @staticmethod
    def ortvalue_from_shape_and_type(shape: Sequence[int], kind: Any, device: str, index: int):
        assert (device, index) == ("cuda", 0)
        return REAL_VALUE.ortvalue_from_shape_and_type(shape, kind, "cpu", 0)


@dataclasses.dataclass
class PretendedGpu:
    """What ONNX Runtime has, and what it was asked for.

    Attributes:
        installed: Providers, the best first.
        working: Those that sessions really get.
        failing: Those that sessions cannot even be made with.
        asked: Providers of the sessions made, with their options.
    """

    installed: tuple[str, ...] = (TENSORRT, CUDA, CPU)
    working: tuple[str, ...] = (TENSORRT, CUDA, CPU)
    failing: tuple[str, ...] = ()
    asked: list[list[Any]] = dataclasses.field(default_factory=list)

    def session(self, path: str, options: Any, providers: list[Any], enable_fallback: bool) -> Any:
        assert enable_fallback is False  # it prints
        self.asked.append(providers)
        names = [entry if isinstance(entry, str) else entry[0] for entry in providers]
        if names[0] in self.failing:
            raise RuntimeError("libnvinfer.so.10: cannot open shared object file\nand so on")
        real = self.real(path, options, providers=[CPU])
        real.get_providers = lambda: [name for name in names if name in self.working]
        return real

    real = onnxruntime.InferenceSession


def pretend_gpu(monkeypatch: pytest.MonkeyPatch, cache: Path) -> PretendedGpu:
    """Put a pretended GPU behind ONNX Runtime; engines are kept in ``cache``."""
    pretended = PretendedGpu()
    monkeypatch.setattr(onnxruntime, "InferenceSession", pretended.session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(pretended.installed))
    monkeypatch.setattr(onnxruntime, "OrtValue", PretendedValue)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return pretended
