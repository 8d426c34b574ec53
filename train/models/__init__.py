"""Networks of the FairMOT family, found by name."""

from train.models.checkpoint import load_model, save_model
from train.models.heads import TrackingModel
from train.models.registry import REGISTRY, build_model

__all__ = ["REGISTRY", "TrackingModel", "build_model", "load_model", "save_model"]
