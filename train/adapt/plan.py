"""What an adaptation does with its videos, its time and its disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.files import existing_file
from train.config import TrainConfig
from train.settings import read_yaml

# Light and people change in the course of a recording: of each of so many sections the end is held
# out, so that the verdict is about all of it.
SECTIONS = 4
GATE_SHARE = 0.2
# Before it comes a part that the score threshold is chosen on.
THRESHOLD_SHARE = 0.1
# Held-out frames of all videos together: with more the verdict is no surer, only later.
MOST_GATE_FRAMES = 3000
# Shorter videos say too little about tracking.
LEAST_FRAMES = 100
TEACHER_SHARE = 0.2
MOST_PICTURES = 8000
# Over 80 seconds of a square 40 passes gained 3 points of IDF1 against labels, 120 gained 11.
MOST_PASSES = 120
LEAST_STEPS = 200
BATCH = 16
EPOCHS = 10

Box = tuple[float, float, float, float]
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class AdaptSettings:
    """What to adapt, to what, and within which bounds.

    Attributes:
        videos: Recordings of the camera, without labels.
        checkpoint: The student to start from.
        teacher: A teacher as a training configuration holds it, ``kind`` ``onnx`` or ``fairmot``.
        hours: Bound on the time for everything.
        overrides: Sections of the training configuration to replace parts of.
        seed: Of the training.
    """

    videos: tuple[Path, ...]
    checkpoint: Path
    teacher: dict[str, Any]
    hours: float = 1.0
    overrides: tuple[str, ...] = ()
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, to tell a run by."""
        return {
            "videos": [str(video) for video in self.videos],
            "checkpoint": str(self.checkpoint),
            "teacher": self.teacher,
            "hours": self.hours,
            "overrides": list(self.overrides),
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Part:
    """How the frames of a video are used, a range of each section for each purpose.

    All numbers count from 1, both ends included.

    Attributes:
        video: The video.
        train: Frames to learn from.
        threshold: Frames to choose the score threshold on.
        gate: Frames that the model is judged on before and after.
        fixtures: Boxes, left, top, right, bottom in pixels, of things fixed to the scene that the
            teacher takes for objects.
    """

    video: Path
    train: Ranges
    threshold: Ranges
    gate: Ranges
    fixtures: tuple[Box, ...] = ()


def teacher_entries(
    detector: Path | None, embedder: Path | None, teacher: Path | None
) -> dict[str, Any]:
    """Return a teacher's configuration from files.

    Args:
        detector: ONNX detector with raw YOLOX output.
        embedder: ONNX re-identification model.
        teacher: Instead of both, a model of the family, or a YAML file with the configuration, for
            other detectors and what else a teacher can be told.

    Raises:
        UserError: There is none of them, or too many.
    """
    if teacher is not None:
        if detector or embedder:
            raise UserError("--teacher stands alone: leave out --detector and --embedder")
        if teacher.suffix.lower() in (".yaml", ".yml"):
            return read_yaml(existing_file(teacher, "teacher"))
        return {"kind": "fairmot", "checkpoint": str(teacher)}
    if detector is None:
        raise UserError(
            "nobody teaches: give --detector with an ONNX file (and --embedder), or --teacher"
        )
    entries: dict[str, Any] = {"kind": "onnx", "detector": {"path": str(detector)}}
    if embedder is not None:
        entries["embedder"] = {"path": str(embedder)}
    return entries


def split(videos: Sequence[tuple[Path, int]]) -> list[Part]:
    """Divide videos into what is learned from and what is held out.

    Args:
        videos: The videos and how many frames each has.

    Raises:
        UserError: A video is too short.

    Examples:
        >>> split([(Path("a.mp4"), 300)])[0].train, split([(Path("a.mp4"), 300)])[0].gate
        (((1, 210),), ((241, 300),))
        >>> split([(Path("a.mp4"), 1000)])[0].gate
        ((201, 250), (451, 500), (701, 750), (951, 1000))
    """
    parts = []
    most = MOST_GATE_FRAMES // len(videos)
    for video, frames in videos:
        if frames < LEAST_FRAMES:
            raise UserError(
                f"{video} has {frames} frames, adapting wants {LEAST_FRAMES} at least: record a "
                "few minutes"
            )
        sections = SECTIONS if frames >= SECTIONS * LEAST_FRAMES else 1
        train, threshold, gate = [], [], []
        for section in range(sections):
            begin, end = (frames * edge // sections for edge in (section, section + 1))
            judged_from = end + 1 - min(round((end - begin) * GATE_SHARE), most // sections)
            learned_to = (
                judged_from - 1 - min(round((end - begin) * THRESHOLD_SHARE), most // sections)
            )
            train.append((begin + 1, learned_to))
            threshold.append((learned_to + 1, judged_from - 1))
            gate.append((judged_from, end))
        parts.append(Part(video, tuple(train), tuple(threshold), tuple(gate)))
    return parts


def count(ranges: Ranges) -> int:
    """Return how many frames ranges hold."""
    return sum(last + 1 - first for first, last in ranges)


def training_config(
    settings: AdaptSettings,
    parts: Sequence[Part],
    model: dict[str, Any],
    minutes: float,
    teacher_seconds: float,
    cache: Path,
) -> TrainConfig:
    """Return the training of an adaptation.

    Frames are taken so that the teacher needs a fifth of the time at most; a camera that stands
    still shows the same for long, so nothing is lost by leaving frames out. The learning rate is
    low, since the student knows what people look like, and the augmentation mild, since it will
    never see another camera.

    Args:
        settings: What to adapt, to what.
        parts: The videos' frames.
        model: ``name``, ``num_classes``, ``embedding_dim``, ``options``, ``input_wh`` and
            ``classes`` of the student.
        minutes: Minutes that are left for teacher and training.
        teacher_seconds: What the teacher takes for a picture.
        cache: Folder for what an ONNX teacher sees.

    Returns:
        The configuration before overrides are applied.
    """
    frames = sum(count(part.train) for part in parts)
    affordable = int(TEACHER_SHARE * minutes * 60 / max(teacher_seconds, 1e-3))
    every = max(1, math.ceil(frames / max(1, min(MOST_PICTURES, affordable))))
    pictures = frames // every
    per_epoch = max(LEAST_STEPS * BATCH, MOST_PASSES * pictures) // EPOCHS
    teacher = dict(settings.teacher)
    if teacher["kind"] == "onnx":
        # Such a teacher looks at all pictures before the training begins.
        teacher["cache"] = str(cache)
        minutes -= pictures * teacher_seconds / 60
    entries: dict[str, Any] = {
        "model": {key: model[key] for key in ("name", "num_classes", "embedding_dim", "options")},
        "input_wh": model["input_wh"],
        "classes": model["classes"],
        "init": str(settings.checkpoint),
        "data": [
            {
                "kind": "unlabelled",
                "path": str(part.video),
                "frames": part.train,
                "every": every,
                "weight": float(count(part.train)),
                "fixtures": part.fixtures,
            }
            for part in parts
        ],
        "augment": {"scale": (0.8, 1.25), "aspect": 1.1, "colour": 0.25},
        "distill": {"alpha": 1.0, "teachers": [teacher]},
        "schedule": {
            "epochs": EPOCHS,
            "images_per_epoch": max(BATCH, per_epoch),
            "batch": BATCH,
            "learning_rate": 5e-4,
            "max_minutes": max(0.1, minutes),
        },
        "seed": settings.seed,
    }
    if teacher["kind"] == "onnx" and teacher.get("detector"):
        entries["validation"] = [
            {
                "kind": "unlabelled",
                "path": str(part.video),
                "frames": part.threshold,
                "every": max(1, count(part.threshold) // 50),
                "fixtures": part.fixtures,
            }
            for part in parts
        ]
    return TrainConfig.model_validate(entries)
