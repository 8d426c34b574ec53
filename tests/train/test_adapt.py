"""``kd-train adapt``: what is held out, what is planned, and which student is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from runtime.errors import UserError
from runtime.tracking.config import TrackerConfig
from runtime.types import Detections
from tests.runtime.conftest import write_video
from tests.train.tiny_onnx import answering
from train.adapt import AdaptSettings, Judgement, adapt, adapting, decide, judge
from train.adapt.gate import teacher_truth
from train.adapt.plan import LEAST_FRAMES, Part, count, split, teacher_entries, training_config
from train.models import build_model
from train.models.checkpoint import save_model
from train.state import STATE_FILE

TINY = ("schedule.epochs=1", "schedule.images_per_epoch=4", "schedule.batch=2", "workers=0")
OLD = Judgement(0.7, 0.7, 0.7, 0.5, 0.4, 9, 9, 3.0)
NOTHING = {"name": "nano", "num_classes": 1, "embedding_dim": 4, "options": {}}
STUDENT = {**NOTHING, "input_wh": (64, 32), "classes": ["person"]}


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """A recording, a detector that sees two people in whatever it is shown, and a student."""
    folder = tmp_path_factory.mktemp("camera")
    write_video(folder / "video.avi", LEAST_FRAMES)
    boxes = np.array([[[4, 4, 20, 28], [40, 2, 52, 30]]], np.float32)
    answering(folder / "d.onnx", boxes=boxes, scores=np.array([[0.9, 0.8]], np.float32))
    torch.manual_seed(0)
    model = build_model("nano", embedding_dim=4)
    save_model(folder / "m.safetensors", model, classes=("person",), input_wh=(64, 32))
    return folder


def settings(camera: Path, **changes) -> AdaptSettings:
    detector = {"path": str(camera / "d.onnx"), "output": "boxes", "fit": "stretch"}
    told = {"kind": "onnx", "detector": detector}
    values = {"teacher": told, "hours": 0.1, "overrides": TINY, **changes}
    return AdaptSettings((camera / "video.avi",), camera / "m.safetensors", **values)


def test_nothing_is_learned_from_what_is_held_out():
    (one,) = split([(Path("a"), 399)])
    assert (one.train, one.threshold, one.gate) == (((1, 279),), ((280, 319),), ((320, 399),))
    long = split([(Path("a"), 50_000), (Path("b"), 100)])
    assert [count(part.gate) for part in long] == [1500, 20]
    assert [gate[1] for gate in long[0].gate] == [12_500, 25_000, 37_500, 50_000]
    for part, frames in zip(long, (50_000, 100), strict=True):
        used = [
            number
            for ranges in zip(part.train, part.threshold, part.gate, strict=True)
            for first, last in ranges
            for number in range(first, last + 1)
        ]
        assert used == list(range(1, frames + 1)), "in order, every frame for one purpose"
    with pytest.raises(UserError, match="has 99 frames, adapting wants 100"):
        split([(Path("a"), 99)])


@pytest.mark.parametrize(("minutes", "frames"), [(60.0, 100), (60.0, 200_000), (5.0, 200_000)])
def test_teacher_and_training_stay_within_the_time(camera, minutes, frames):
    part = Part(
        camera / "video.avi",
        ((1, frames),),
        ((frames + 1, frames + 9),),
        ((frames + 10, frames + 20),),
    )
    config = training_config(settings(camera), [part], STUDENT, minutes, 0.1, Path("cache"))
    looking = frames // config.data[0].every * 0.1 / 60
    assert looking <= 0.2 * minutes + 0.1
    assert looking + config.schedule.max_minutes == pytest.approx(minutes)
    assert config.data[0].ranges == [(1, frames)]
    assert config.distill.alpha == 1.0 and config.input_wh == (64, 32)


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, "old"),
        ({"F1": 0.714}, "old"),
        ({"F1": 0.716}, "new"),
        ({"IDF1": 0.6}, "new"),
        ({"F1": 0.9, "IDF1": 0.47}, "old"),
        ({"F1": 0.67, "IDF1": 0.9}, "old"),
        ({"HOTA": 0.6}, "new"),
        ({"F1": 0.9, "HOTA": 0.37}, "old"),
        # One more swap in a few hundred frames, of a student that is better at all else.
        ({"F1": 0.715, "IDF1": 0.492, "HOTA": 0.447, "switches": 10}, "new"),
        ({"switches": 0, "fragments": 0}, "old"),
    ],
)
def test_a_student_is_kept_if_it_gains_and_loses_nothing(changes, kept):
    decision = decide(OLD, Judgement(**{**vars(OLD), **changes}))
    assert decision.kept == kept and bool(decision) == (kept == "new")
    assert "on held-out frames" in decision.reason


def test_a_student_that_sees_what_the_teacher_sees_is_perfect(camera, monkeypatch):
    part = Part(camera / "video.avi", ((1, 70),), ((71, 80),), ((33, 42), (81, 100)))
    boxes = np.array([[8, 8, 30, 60], [50, 8, 70, 60]], np.float32)
    seen = Detections(boxes, np.array([0.9, 0.8], np.float32), classes=np.zeros(2, np.int64))
    truth = teacher_truth(lambda frame: seen, [part], TrackerConfig())
    assert [rows.frames[-1] for rows in truth] == [10, 20]
    assert [len(np.unique(rows.ids)) for rows in truth] == [2, 2]

    model = build_model("nano", embedding_dim=4)
    model.input_wh, model.classes = (64, 32), ("person",)
    monkeypatch.setattr("train.tracking.Detector.decode", lambda self, *_: seen)
    found = judge(model, [part], truth)
    assert (found.F1, found.IDF1, found.switches) == (1.0, 1.0, 0)
    assert found.track_seconds == pytest.approx(1.5)


def test_the_student_that_is_kept_is_the_one_in_the_folder(camera, tmp_path, monkeypatch, capsys):
    for kept, source in (("old", camera / "m.safetensors"), ("new", None)):
        out = tmp_path / kept
        after = vars(OLD) | {"F1": 0.9 if kept == "new" else 0.1}
        answers = iter([OLD, Judgement(**after)])
        monkeypatch.setattr(adapting, "judge", lambda *_, told=answers: next(told))
        record = adapt(settings(camera), out)
        assert record["kept"] == kept
        assert record == json.loads((out / "adapt.json").read_text())
        source = source or out / "training" / "model.safetensors"
        assert (out / "model.safetensors").read_bytes() == source.read_bytes()
        assert f"kept the {kept} model" in capsys.readouterr().err


def test_a_stopped_adaptation_goes_on_and_a_finished_one_is_told_again(
    camera, tmp_path, monkeypatch
):
    train = adapting.Trainer.run

    def stopped(self):
        self._save()
        raise KeyboardInterrupt

    monkeypatch.setattr(adapting.Trainer, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        adapt(settings(camera), tmp_path)
    assert (tmp_path / "training" / STATE_FILE).exists()
    assert not (tmp_path / "model.safetensors").exists()
    config = (tmp_path / "training.yaml").read_text()

    monkeypatch.setattr(adapting.Trainer, "run", train)
    record = adapt(settings(camera), tmp_path)
    assert (tmp_path / "training.yaml").read_text() == config
    assert record["before"]["F1"] >= 0 and record["kept"] in ("old", "new")

    monkeypatch.setattr(adapting, "load_model", None)
    assert adapt(settings(camera), tmp_path) == record
    with pytest.raises(UserError, match="holds another adaptation: add --overwrite"):
        adapt(settings(camera, hours=0.2), tmp_path)


def test_a_teacher_that_sees_nobody(camera, tmp_path):
    boxes = np.array([[[4, 4, 20, 28]]], np.float32)
    answering(tmp_path / "d.onnx", boxes=boxes, scores=np.array([[0.01]], np.float32))
    detector = {"path": str(tmp_path / "d.onnx"), "output": "boxes", "fit": "stretch"}
    blind = settings(camera, teacher={"kind": "onnx", "detector": detector})
    with pytest.raises(UserError, match="the teacher sees nobody in the held-out parts"):
        adapt(blind, tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((None, None, None), "nobody teaches"),
        ((None, Path("e.onnx"), None), "nobody teaches"),
        ((Path("d.onnx"), None, Path("t")), "--teacher stands alone"),
        ((None, None, Path("t.yaml")), "t.yaml does not exist"),
    ],
)
def test_teachers_that_are_refused(arguments, said):
    with pytest.raises(UserError, match=said):
        teacher_entries(*arguments)


def test_a_teacher_that_finds_nothing_by_itself_is_refused():
    embedder = {"kind": "onnx", "embedder": {"path": "e.onnx"}}
    with pytest.raises(UserError, match="wants a teacher that finds objects"):
        adapting.read_teacher(embedder)
    with pytest.raises(UserError, match="the teacher: "):
        adapting.read_teacher({"kind": "oracle"})
