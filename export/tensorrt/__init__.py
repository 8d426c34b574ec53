"""From an ONNX file to an engine of TensorRT or TensorRT-RTX, on the device that will run it.

Nothing here needs torch or onnx: a Jetson with TensorRT builds its own engines.
"""

from __future__ import annotations

from export.tensorrt.build import build_engine
from export.tensorrt.options import EngineOptions

__all__ = ["EngineOptions", "build_engine"]
