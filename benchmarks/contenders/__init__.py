"""Everything that goes from a frame to tracks, behind one interface, so that it can be compared.

A recipe is plain data and can be sent to another process; opening it gives the contender itself.
"""

from __future__ import annotations

from benchmarks.contenders.base import STAGES, Contender, Description, Recipe, Step
from benchmarks.contenders.detector import DetectorWithTracker
from benchmarks.contenders.exported import ExportedModel, exported_models
from benchmarks.contenders.opening import rivals
from benchmarks.contenders.original import OriginalFairMOT

__all__ = [
    "STAGES",
    "Contender",
    "Description",
    "DetectorWithTracker",
    "ExportedModel",
    "OriginalFairMOT",
    "Recipe",
    "Step",
    "exported_models",
    "rivals",
]
