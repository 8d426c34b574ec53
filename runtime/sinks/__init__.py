"""Where tracks go: a MOTChallenge file, a video to look at."""

from __future__ import annotations

from runtime.sinks.base import FileSink
from runtime.sinks.mot import MotWriter
from runtime.sinks.overlay import OverlayWriter, Trails, draw_tracks

__all__ = ["FileSink", "MotWriter", "OverlayWriter", "Trails", "draw_tracks"]
