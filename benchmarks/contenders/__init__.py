"""Everything that goes from a frame to tracks, behind one interface, so that it can be compared.

A recipe is plain data and can be sent to another process; opening it gives the contender itself.
"""

from __future__ import annotations

from benchmarks.contenders.base import STAGES, Contender, Description, Recipe, Step
from benchmarks.contenders.exported import ExportedModel, exported_models

__all__ = [
    "STAGES",
    "Contender",
    "Description",
    "ExportedModel",
    "Recipe",
    "Step",
    "exported_models",
]
