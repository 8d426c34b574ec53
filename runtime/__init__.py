"""The tracker on the device: NumPy, OpenCV and an inference engine, never torch.

Names are loaded on first use, so that ``import runtime`` and ``kd-run --help`` cost nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from runtime.errors import UserError
from runtime.version import __version__

if TYPE_CHECKING:
    from runtime.detector import Detector, load
    from runtime.pipeline import run
    from runtime.tracking.config import TrackerConfig
    from runtime.tracking.tracker import Tracker
    from runtime.types import Detections, FrameResult, Tracks

_HOMES = {
    "Detections": "runtime.types",
    "Detector": "runtime.detector",
    "FrameResult": "runtime.types",
    "Tracker": "runtime.tracking.tracker",
    "TrackerConfig": "runtime.tracking.config",
    "Tracks": "runtime.types",
    "load": "runtime.detector",
    "run": "runtime.pipeline",
}

__all__ = [
    "Detections",
    "Detector",
    "FrameResult",
    "Tracker",
    "TrackerConfig",
    "Tracks",
    "UserError",
    "__version__",
    "load",
    "run",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'runtime' has no attribute {name!r}")
