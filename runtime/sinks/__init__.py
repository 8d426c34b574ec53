"""Where tracks go: text, JSON Lines, a video, cut-outs, a window."""

from __future__ import annotations

from runtime.sinks.base import FileSink, Sink, StopRequested
from runtime.sinks.crops import CropWriter
from runtime.sinks.drawing import Painter, Trails, draw_tracks
from runtime.sinks.jsonl import JsonLinesWriter
from runtime.sinks.mot import MotWriter
from runtime.sinks.opening import SINK_NAMES, Sinks, open_sinks
from runtime.sinks.overlay import OverlayWriter
from runtime.sinks.window import WindowSink

__all__ = [
    "SINK_NAMES",
    "CropWriter",
    "FileSink",
    "JsonLinesWriter",
    "MotWriter",
    "OverlayWriter",
    "Painter",
    "Sink",
    "Sinks",
    "StopRequested",
    "Trails",
    "WindowSink",
    "draw_tracks",
    "open_sinks",
]
