"""A teacher as a detector with tracker settings, and what it wrongly takes for objects."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.console import progress
from runtime.detector import Detector
from runtime.errors import UserError
from runtime.tracking.config import TrackerConfig
from train.adapt.gate import Detect
from train.adapt.plan import Box, Part, count
from train.data.unlabelled import open_unlabelled
from train.models import load_model
from train.models.checkpoint import checkpoint_path
from train.teachers.config import FairMOTTeacherConfig, OnnxTeacherConfig
from train.teachers.fixtures import find_fixtures
from train.teachers.onnx import OnnxTeacherModel
from train.teachers.onnx.detector import OnnxDetector
from train.tracking import TorchEngine
from train.validation import tracker_settings

# Frames of a video that are looked at for fixtures; a detector takes some seconds for them.
SURVEY_FRAMES = 200


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


def survey(
    teacher: OnnxTeacherConfig | FairMOTTeacherConfig, parts: Sequence[Part]
) -> list[tuple[Box, ...]]:
    """Look for things fixed to the scenes that a teacher takes for objects.

    Only frames that are learned from are looked at.

    Args:
        teacher: ONNX files with a detector among them; of a model of the family nothing is asked.
        parts: The videos' frames.

    Returns:
        Of each video the things' boxes: left, top, right, bottom in its pixels.

    Raises:
        UserError: The teacher cannot be used.
    """
    if not isinstance(teacher, OnnxTeacherConfig) or teacher.detector is None:
        return [() for _ in parts]
    detector = OnnxDetector(teacher.detector)
    found = []
    with progress(transient=True) as bar:
        task = bar.add_task("teacher's survey of the scene", total=SURVEY_FRAMES * len(parts))
        for part in parts:
            every = max(1, count(part.train) // SURVEY_FRAMES)
            frames = []
            pictures = open_unlabelled(part.video, part.train, every)
            for index in range(len(pictures)):
                boxes_xyxy, scores, _ = detector(pictures[index].image)
                frames.append((boxes_xyxy, scores))
                bar.advance(task)
            found.append(
                tuple(
                    (round(left, 1), round(top, 1), round(right, 1), round(bottom, 1))
                    for left, top, right, bottom in find_fixtures(
                        frames, teacher.sure_score
                    ).tolist()
                )
            )
    return found
