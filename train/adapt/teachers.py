"""A teacher as a detector with tracker settings, to follow people through held-out frames."""

from __future__ import annotations

from runtime.detector import Detector
from runtime.errors import UserError
from runtime.tracking.config import TrackerConfig
from train.adapt.gate import Detect
from train.models import load_model
from train.models.checkpoint import checkpoint_path
from train.teachers.config import FairMOTTeacherConfig, OnnxTeacherConfig
from train.teachers.onnx import OnnxTeacherModel
from train.tracking import TorchEngine
from train.validation import tracker_settings


def teacher_detector(
    teacher: OnnxTeacherConfig | FairMOTTeacherConfig,
) -> tuple[Detect, TrackerConfig]:
    """Open a teacher.

    Args:
        teacher: ONNX files with a detector among them, or a model of the family.

    Returns:
        From a frame to detections, and tracker settings that suit it.

    Raises:
        UserError: The teacher cannot be used.
    """
    if isinstance(teacher, OnnxTeacherConfig):
        model = OnnxTeacherModel(teacher)
        return model.detect, TrackerConfig.for_model(tracker_settings(teacher.label_threshold))
    checkpoint = checkpoint_path(teacher.checkpoint)
    family = load_model(checkpoint, teacher.name)
    if family.input_wh is None:
        raise UserError(f"{checkpoint} does not say its input size: give a model of kd-train")
    detector = Detector(TorchEngine(family, family.input_wh, family.tracker))
    return detector, TrackerConfig.for_model(family.tracker)
