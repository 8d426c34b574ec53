"""What runs the network."""

from __future__ import annotations

from runtime.engines.base import Engine
from runtime.engines.opening import open_engine

__all__ = ["Engine", "open_engine"]
