"""What crosses lines and stays in zones of the picture."""

from __future__ import annotations

from runtime.counting.counter import Counter
from runtime.counting.shapes import Line, Zone, parse_shapes
from runtime.counting.tally import LineTally, Tally, ZoneTally

__all__ = ["Counter", "Line", "LineTally", "Tally", "Zone", "ZoneTally", "parse_shapes"]
