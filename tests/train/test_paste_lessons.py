"""What a teacher is taken to see of people who are pasted in, and what it really sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runtime.errors import UserError
from tests.train.test_paste import COLOURS, canvas, strengths, with_run, write_cutouts
from tests.train.tiny_onnx import answering, mean_colour
from train.data.batch import collate
from train.data.cutouts.cutting import CutoutOptions
from train.data.cutouts.library import CutoutLibrary
from train.data.cutouts.making import make_cutouts
from train.data.cutouts.pasting import paste_people
from train.data.cutouts.watching import overlap
from train.data.loader import TrainingSet
from train.teachers.cache import TeacherCache
from train.teachers.config import OnnxTeacherConfig
from train.teachers.lessons import prepare_lessons, teach
from train.teachers.onnx import OnnxTeacherModel
from train.trainer import Trainer

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
STREET, MODELS = SHARED / "data" / "TUD-Stadtmitte", SHARED / "models"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_cutouts(tmp_path / "cutouts")


def onnx_teacher(folder: Path, **more: Any) -> OnnxTeacherConfig:
    """A detector that sees one person on the left, and an embedder that tells the mean colour."""
    boxes = np.array([[[4, 4, 20, 28]]], np.float32)
    detector = answering(folder / "d.onnx", boxes=boxes, scores=np.array([[0.9]], np.float32))
    embedder = mean_colour(folder / "e.onnx", [1, 3, 32, 16])
    content: dict[str, Any] = {
        "kind": "onnx",
        "detector": {"path": str(detector), "output": "boxes", "fit": "stretch"},
        "embedder": {"path": str(embedder)},
        "cache": str(folder / "cache"),
    }
    return OnnxTeacherConfig.model_validate({**content, **more})


def test_a_teacher_is_taken_to_see_who_was_pasted(
    folder: Path, tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    source = {"kind": "unlabelled", "path": tiny_config["data"][0]["path"]}
    dataset = TrainingSet(with_run(tiny_config, folder, data=[source]), 8)
    teacher = onnx_teacher(tmp_path)
    lessons = prepare_lessons(teacher, dataset.sources, 1, 1, dataset.cutouts)
    assert lessons.computed == 12 + 6
    again = prepare_lessons(teacher, dataset.sources, 1, 1, dataset.cutouts)
    assert again.computed == 0 and len(again) == len(lessons) == 12 + 6
    dataset.lessons = lessons
    colours = list(COLOURS.values())
    people = 0
    for place in range(12):
        batch = collate([dataset[place]])
        assert batch.taught is not None and batch.taught.scores is not None
        assert batch.taught.embeddings is not None and batch.taught.heatmap is not None
        assert not batch.labelled.any()
        used, cells = batch.mask[0], batch.taught.cells[0]
        for cell, identity in zip(batch.cells[0, used], batch.ids[0, used].tolist(), strict=True):
            row = int(torch.nonzero((cells == cell) & (batch.taught.scores[0] == 1))[0])
            if (batch.cells[0, used] == cell).sum() > 1:
                continue  # of two in a cell, nothing tells which is which
            assert batch.taught.heatmap[0, 0].flatten()[cell] == 1
            told = batch.taught.embeddings[0, row].float()
            assert int(told.argmax()) == colours[identity].index(255)
            people += 1
    assert people > 12


def test_a_teacher_who_sees_nobody_but_the_pasted_is_told_of(
    folder: Path, tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    dataset = TrainingSet(with_run(tiny_config, folder), 8)
    settings = onnx_teacher(tmp_path).model_dump(mode="json")
    blind = {**settings["detector"], "score_threshold": 0.95}
    teacher = onnx_teacher(tmp_path, detector=blind)
    with pytest.raises(UserError, match="sees nothing in any of 12 pictures"):
        prepare_lessons(teacher, dataset.sources, 1, 1, dataset.cutouts)


def test_without_labels_those_pasted_train_all_but_the_heatmap(
    folder: Path, tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    teacher = onnx_teacher(tmp_path).model_dump(mode="json")
    base = {
        **tiny_config,
        "data": [{"kind": "unlabelled", "path": tiny_config["data"][0]["path"]}],
        "distill": {"alpha": 0.4, "teachers": [teacher]},
    }
    (tmp_path / "run").mkdir()
    trainer = Trainer(with_run(base, folder), tmp_path / "run")
    assert trainer.alpha == 0.4
    assert trainer.data.num_ids == 3 and trainer.task_loss.identity is not None
    batch = collate([trainer.data[place] for place in range(4)])
    with torch.no_grad():
        _, parts = trainer.task_loss(trainer.model(batch.model_input()), batch)
    assert parts["hm"] == 0 and all(parts[name] > 0 for name in ("wh", "reg", "id"))


@pytest.mark.skipif(not (MODELS.exists() and STREET.exists()), reason="needs footage and models")
def test_real_teachers_see_about_what_they_are_taken_to_see(tmp_path: Path) -> None:
    """Lessons of pasted people against a look at the picture they are in."""
    make_cutouts([STREET], tmp_path / "cutouts", CutoutOptions(per_identity=1))
    library = CutoutLibrary(tmp_path / "cutouts")
    assert library.num_ids >= 5
    config = OnnxTeacherConfig.model_validate(
        {
            "kind": "onnx",
            "detector": {"path": MODELS / "yolox_nano.onnx"},
            "embedder": {"path": MODELS / "person-reid-0248.onnx"},
        }
    )
    model = OnnxTeacherModel(config, threads=1)
    with TeacherCache(tmp_path / "cache", model.fingerprint, 8) as cache:
        lessons = teach([], model, cache, told=[library])
    ids, rows = np.arange(library.num_ids), lessons.rows_of(0)
    augment = strengths(tmp_path / "cutouts", count=[1, 1], height=[0.5, 0.8])
    found, own, others = [], [], []
    for seed in range(16):
        sample = replace(canvas(), image=np.full((320, 512, 3), (110, 130, 120), np.uint8))
        rng = np.random.default_rng(seed)
        sample = paste_people(sample, library, ids, augment, rng, rows)
        row = int(sample.rows.max())
        box = sample.boxes_xyxy[-1]
        assert lessons.scores[row] == 1 and int(sample.ids[0]) == library.identity(row)
        found.append(overlap(box, model(sample.image).boxes_xyxy).max(initial=0) > 0.5)
        told = model(sample.image, box[None]).embeddings.astype(np.float32)
        likeness = lessons.embeddings.astype(np.float32) @ told[0]
        own.append(likeness[row])
        others.append(np.delete(likeness, row).mean())
    assert np.mean(found) > 0.7
    assert np.mean(own) > 0.5 and np.mean(others) < 0.4
