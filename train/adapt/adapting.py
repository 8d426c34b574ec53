"""From a student and recordings to a student that is better on them, or to the old one."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from runtime.console import console
from runtime.errors import UserError
from runtime.files import (
    atomic_path,
    existing_file,
    file_sha256,
    output_directory,
    write_json,
)
from train.adapt.gate import (
    Decision,
    Judgement,
    decide,
    judge,
    print_judgements,
    teacher_truth,
)
from train.adapt.plan import AdaptSettings, Part, count, split, training_config
from train.adapt.teachers import survey, teacher_detector
from train.config import TrainConfig, load_config
from train.data.video import VideoFrames
from train.models import TrackingModel, load_model
from train.models.checkpoint import checkpoint_path
from train.settings import in_words
from train.state import MODEL_FILE, STATE_FILE
from train.teachers.config import FairMOTTeacherConfig, OnnxTeacherConfig, TeacherConfig
from train.trainer import Trainer

RECORD_FILE = "adapt.json"
CONFIG_FILE = "training.yaml"
TRAINING = "training"
CACHE = "teacher-cache"


def adapt(settings: AdaptSettings, out: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Specialise a student to a camera, and keep it only if held-out frames say that it is better.

    The last fifth of each quarter of a video is held out. There the teacher's tracks stand for the
    truth: the student is judged by them before and after. What the teacher takes for objects though
    it never moves (``train.teachers.fixtures``) counts nowhere. When the same command is given
    again, the training goes on from its last checkpoint; the teacher's tracks alone are found anew.

    Args:
        settings: What to adapt, to what, and within which bounds.
        out: Folder for ``model.safetensors``, the student that is kept, ``adapt.json``, the
            figures, and ``training/``, the run.
        overwrite: Start anew in a folder that holds another adaptation.

    Returns:
        The content of ``adapt.json``: ``settings``, ``fixtures``, ``before``, ``after``, ``kept``,
        ``gain``, ``reason`` and ``minutes``.

    Raises:
        UserError: A video, the student or the teacher cannot be used, or ``out`` holds another
            adaptation.
    """
    started = time.monotonic()
    checkpoint = existing_file(checkpoint_path(settings.checkpoint), "model")
    teacher = read_teacher(settings.teacher)
    parts = split([(video, frame_count(video)) for video in settings.videos])
    directory = output_directory(out)
    record = _begin(settings, checkpoint, directory, overwrite)
    if "kept" in record:
        show(record)
        return record
    spent = float(record.get("minutes", 0.0))

    def minutes() -> float:
        return spent + (time.monotonic() - started) / 60

    student = load_model(checkpoint)
    if student.input_wh is None:
        raise UserError(f"{checkpoint} does not say its input size: give a model of kd-train")
    if "fixtures" not in record:
        record["fixtures"] = [list(map(list, things)) for things in survey(teacher, parts)]
        write_json(directory / RECORD_FILE, record | {"minutes": minutes()})
    parts = [
        replace(part, fixtures=tuple((left, top, right, low) for left, top, right, low in things))
        for part, things in zip(parts, record["fixtures"], strict=True)
    ]
    _tell_fixtures(parts)
    detect, tracker = teacher_detector(teacher)
    looking = time.monotonic()
    sure = teacher.sure_score if isinstance(teacher, OnnxTeacherConfig) else 0.0
    truth = teacher_truth(detect, parts, tracker, sure)
    seconds = (time.monotonic() - looking) / sum(count(part.gate) for part in parts)
    if not sum(map(len, truth)):
        raise UserError(
            f"the teacher sees nobody in the held-out parts of {settings.videos[0]}: give "
            "recordings with more people, or another teacher"
        )
    config_file = directory / CONFIG_FILE
    if not config_file.exists():
        before_judging = minutes()
        record |= {"before": asdict(judge(student, parts, truth))}
        reserve = 1.5 * (minutes() - before_judging)
        write_json(directory / RECORD_FILE, record | {"minutes": minutes()})
        left = settings.hours * 60 - minutes() - reserve
        config = training_config(
            settings, parts, describe(student), left, seconds, directory / CACHE
        )
        with atomic_path(config_file) as temporary:
            entries = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
            temporary.write_text(entries, encoding="utf-8")
    before = Judgement(**record["before"])
    new_file = _train(load_config(config_file, settings.overrides), directory)
    after = judge(load_model(new_file), parts, truth)
    decision = decide(before, after)
    with atomic_path(directory / MODEL_FILE) as temporary:
        shutil.copyfile(new_file if decision else checkpoint, temporary)
    record |= {
        "after": asdict(after),
        "kept": decision.kept,
        "gain": decision.gain,
        "reason": decision.reason,
        "minutes": minutes(),
    }
    write_json(directory / RECORD_FILE, record)
    show(record)
    return record


def read_teacher(entries: dict[str, Any]) -> OnnxTeacherConfig | FairMOTTeacherConfig:
    """Check a teacher's configuration.

    Raises:
        UserError: It is wrong, or it is of a kind that sees no objects.
    """
    try:
        teacher = TypeAdapter[TeacherConfig](TeacherConfig).validate_python(entries)
    except ValidationError as error:
        raise UserError(f"the teacher: {in_words(error)}") from error
    if isinstance(teacher, FairMOTTeacherConfig):
        return teacher
    if isinstance(teacher, OnnxTeacherConfig) and teacher.detector is not None:
        return teacher
    raise UserError("adapting wants a teacher that finds objects: give --detector or --teacher")


def frame_count(video: Path) -> int:
    """Count a video's frames; containers only estimate them.

    Raises:
        UserError: The file is missing, no video, or cut short.
    """
    frames = VideoFrames(existing_file(video, "video"))
    count = len(frames)
    frames.close()
    return count


def _begin(
    settings: AdaptSettings, checkpoint: Path, directory: Path, overwrite: bool
) -> dict[str, Any]:
    """Return what an earlier run of the same command has written, or what a new one begins with."""
    file = directory / RECORD_FILE
    told = json.loads(json.dumps(settings.to_dict() | {"sha256": file_sha256(checkpoint)}))
    fresh = {"settings": told}
    if file.exists() and not overwrite:
        try:
            record = dict(json.loads(file.read_text(encoding="utf-8")))
        except ValueError as error:
            raise UserError(f"{file} is damaged: add --overwrite to start anew") from error
        if record.get("settings") != told:
            raise UserError(
                f"{directory} holds another adaptation: add --overwrite to start anew, or choose "
                "another --out"
            )
        return record
    for name in (RECORD_FILE, CONFIG_FILE, MODEL_FILE):
        (directory / name).unlink(missing_ok=True)
    shutil.rmtree(directory / TRAINING, ignore_errors=True)
    write_json(file, fresh)
    return fresh


def describe(student: TrackingModel) -> dict[str, Any]:
    """Return what ``training_config`` wants to know of a student."""
    return {
        "name": student.name,
        "num_classes": student.num_classes,
        "embedding_dim": student.embedding_dim,
        "options": student.options,
        "input_wh": student.input_wh,
        "classes": list(student.classes),
    }


def _tell_fixtures(parts: Sequence[Part]) -> None:
    """Say what the teacher takes for an object and the student shall not."""
    for part in parts:
        for left, top, right, bottom in part.fixtures:
            console().print(
                f"{part.video.name}: what stays at {left:.0f},{top:.0f} to {right:.0f},{bottom:.0f}"
                " throughout, the teacher never being sure of it, does not count as an object",
                markup=False,
                soft_wrap=True,
            )


def _train(config: TrainConfig, directory: Path) -> Path:
    """Train, from the last checkpoint if there is one."""
    folder = output_directory(directory / TRAINING)
    return Trainer(config, folder, resume=(folder / STATE_FILE).exists()).run()


def show(record: dict[str, Any]) -> None:
    """Print both judgements and the decision."""
    before, after = (Judgement(**record[when]) for when in ("before", "after"))
    print_judgements(before, after)
    decision = Decision(record["kept"], record["gain"], record["reason"])
    kept = "kept the new model" if decision else "kept the old model"
    console().print(f"{kept}: {decision.reason}", markup=False, soft_wrap=True)
