"""Label-free teachers from the pictures to the loss."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runtime.errors import UserError
from tests.train.tiny_onnx import answering, mean_colour
from train.config import TrainConfig
from train.data.batch import collate
from train.data.loader import TrainingSet
from train.data.pictures import PictureSource
from train.losses.distillation import soft_focal_loss
from train.losses.fairmot import heatmap_focal_loss
from train.state import LOG_FILE, VALIDATION_FILE
from train.teachers.lessons import Lessons
from train.trainer import Trainer

STYLES = {
    "collage": {"style": "collage", "scale": [0.7, 1.3]},
    "fairmot": {"style": "fairmot", "mosaic": 0.5, "mixup": 0.5},
}


def lessons_of_labels(sources: list[PictureSource]) -> Lessons:
    """What a teacher says that sees exactly the labels; each embedding tells the identity."""
    boxes, scores, embeddings, starts = [], [], [], []
    row = 0
    for source in sources:
        own = [row]
        for index in range(len(source)):
            sample = source[index]
            row += len(sample.ids)
            own.append(row)
            boxes.append(sample.boxes_xyxy)
            scores.append(0.5 + 0.1 * sample.ids)
            embeddings.append(np.eye(4)[sample.ids])
        starts.append(np.array(own))
    all_boxes = np.concatenate(boxes).astype(np.float32)
    return Lessons(
        boxes_xyxy=all_boxes,
        scores=np.concatenate(scores).astype(np.float32),
        classes=np.zeros(len(all_boxes), np.int64),
        embeddings=np.concatenate(embeddings).astype(np.float16),
        starts=starts,
    )


@pytest.fixture
def detector(tmp_path: Path) -> dict[str, Any]:
    """A detector that sees a person on the left and, less sure, one on the right."""
    boxes = np.array([[[4, 4, 20, 28], [40, 2, 52, 30]]], np.float32)
    path = answering(tmp_path / "d.onnx", boxes=boxes, scores=np.array([[0.9, 0.4]], np.float32))
    return {"path": str(path), "output": "boxes", "fit": "stretch"}


@pytest.fixture
def teacher(tmp_path: Path, detector: dict[str, Any]) -> dict[str, Any]:
    embedder = mean_colour(tmp_path / "e.onnx", [1, 3, 32, 16])
    return {
        "kind": "onnx",
        "detector": detector,
        "embedder": {"path": str(embedder)},
        "cache": str(tmp_path / "cache"),
    }


@pytest.fixture
def unlabelled(tiny_sequence: Path) -> dict[str, Any]:
    return {"kind": "unlabelled", "path": str(tiny_sequence)}


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_nothing_seen_gives_empty_parts(tiny_config: dict[str, Any]) -> None:
    dataset = TrainingSet(TrainConfig.model_validate(tiny_config), 8)
    pictures = len(dataset.sources[0])
    none = np.zeros(0, np.float32)
    dataset.lessons = Lessons(
        none.reshape(0, 4),
        none,
        none.astype(np.int64),
        np.zeros((0, 4), np.float16),
        [np.zeros(pictures + 1, np.int64)],
    )
    taught = collate([dataset[0], dataset[1]]).taught
    assert taught is not None and taught.scores is not None and taught.heatmap is not None
    assert not taught.scores.any() and not taught.heatmap.any()


@pytest.mark.parametrize("style", STYLES)
def test_what_the_teacher_saw_follows_the_augmentation(
    tiny_config: dict[str, Any], style: str
) -> None:
    config = TrainConfig.model_validate({**tiny_config, "augment": STYLES[style]})
    dataset = TrainingSet(config, 8)
    dataset.lessons = lessons_of_labels(dataset.sources)
    objects = 0
    for place in range(12):
        batch = collate([dataset[place]])
        taught = batch.taught
        assert taught is not None and taught.heatmap is not None and taught.nearness is not None
        assert taught.scores is not None and taught.embeddings is not None
        used = batch.mask
        objects += int(used.sum())
        assert torch.equal(taught.scores > 0, used)
        assert torch.equal(taught.cells, batch.cells)
        assert torch.equal(taught.sides, batch.sizes_ltrb)
        assert torch.equal(taught.offsets, batch.offsets)
        assert torch.equal(taught.nearness, batch.heatmap)
        assert torch.equal(taught.embeddings[used].argmax(dim=1), batch.ids[used])
        assert torch.allclose(taught.scores[used], 0.5 + 0.1 * batch.ids[used].float())
        # The heatmap tells scores at the centres and nothing elsewhere.
        flat = taught.heatmap.flatten(1)
        expected = torch.zeros_like(flat)
        for cell, score in zip(taught.cells[used], taught.scores[used], strict=True):
            expected[0, cell] = max(expected[0, cell], score)
        assert torch.equal(flat, expected)
    assert objects > 12


def test_labels_can_be_left_unread(tiny_config: dict[str, Any]) -> None:
    entry = {**tiny_config["data"][0], "labels": False}
    dataset = TrainingSet(TrainConfig.model_validate({**tiny_config, "data": [entry]}), 8)
    whole = TrainingSet(TrainConfig.model_validate(tiny_config), 8)
    dataset.lessons = lessons_of_labels(whole.sources)
    batch = collate([dataset[0]])
    assert dataset.num_ids == 0 and not batch.labelled.any() and not batch.mask.any()
    assert batch.taught is not None and batch.taught.scores is not None
    assert (batch.taught.scores > 0).any()


def test_scores_of_one_make_it_centernets_focal_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 6, 8, generator=generator)
    gaussians = torch.rand(2, 1, 6, 8, generator=generator) * 0.9
    gaussians[0, 0, 2, 3] = gaussians[1, 0, 4, 4] = gaussians[1, 0, 0, 0] = 1
    centres = (gaussians == 1).float()
    assert soft_focal_loss(logits, centres, gaussians).item() == pytest.approx(
        heatmap_focal_loss(logits, gaussians).item(), rel=1e-5
    )
    # A student that already says the teacher's score at a centre is not pushed any further.
    sure = torch.full((1, 1, 1, 1), 0.3)
    assert soft_focal_loss(torch.logit(sure), sure, torch.ones(1, 1, 1, 1)) == pytest.approx(0)


def test_a_student_learns_without_labels(
    tiny_config: dict[str, Any],
    teacher: dict[str, Any],
    unlabelled: dict[str, Any],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    config = TrainConfig.model_validate(
        {
            **tiny_config,
            "data": [unlabelled],
            "distill": {"teachers": [teacher]},
            "schedule": {"epochs": 4, "images_per_epoch": 32, "batch": 4},
        }
    )
    trainer = Trainer(config, out)
    assert trainer.data.lessons is not None and trainer.data.lessons.computed == 12
    trainer.run()
    rows = rows_of(out / LOG_FILE)
    names = {"kd_heatmap", "kd_box", "kd_embedding", "kd_relation"}
    assert names <= set(rows[0])
    # There is nothing but the teacher: the task has no part in the loss.
    assert all(float(row["hm"]) == float(row["wh"]) == 0 for row in rows)
    heatmap = [float(row["kd_heatmap"]) for row in rows]
    assert sum(heatmap[-5:]) < 0.6 * sum(heatmap[:5])
    # The next run asks the cache, not the teacher.
    again = Trainer(config, out)
    assert again.data.lessons is not None and again.data.lessons.computed == 0


def test_without_labels_the_teacher_stands_in_for_them_in_validation(
    tiny_config: dict[str, Any],
    teacher: dict[str, Any],
    unlabelled: dict[str, Any],
    tmp_path: Path,
) -> None:
    entries = {**tiny_config, "data": [unlabelled], "validation": [unlabelled]}
    config = TrainConfig.model_validate({**entries, "distill": {"teachers": [teacher]}})
    Trainer(config, tmp_path).run()
    rows = rows_of(tmp_path / VALIDATION_FILE)
    # Of its two detections in each of twelve frames the surer one.
    assert [(row["pictures"], row["objects"]) for row in rows] == [("12", "12")] * 2
    labelled = {**entries, "data": tiny_config["data"]}
    with pytest.raises(UserError, match="has no labels, and no onnx teacher with a detector"):
        Trainer(TrainConfig.model_validate(labelled), tmp_path)


def test_unlabelled_pictures_need_a_teacher(
    tiny_config: dict[str, Any], unlabelled: dict[str, Any], tmp_path: Path
) -> None:
    config = TrainConfig.model_validate({**tiny_config, "data": [unlabelled]})
    with pytest.raises(UserError, match="no source under data: has labels"):
        Trainer(config, tmp_path)


def test_teachers_of_two_kinds_and_both_kinds_of_pictures(
    tiny_config: dict[str, Any],
    tiny_run: TrainConfig,
    teacher: dict[str, Any],
    unlabelled: dict[str, Any],
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "teacher", tmp_path / "student"
    first.mkdir()
    second.mkdir()
    Trainer(tiny_run, first).run()
    family = {"kind": "fairmot", "checkpoint": str(first), "weight": 3.0}
    config = TrainConfig.model_validate(
        {
            **tiny_config,
            "data": [*tiny_config["data"], unlabelled],
            "distill": {"teachers": [teacher, family]},
        }
    )
    trainer = Trainer(config, second)
    assert trainer.distiller is not None
    assert trainer.distiller.shares == [0.25, 0.75]
    trainer.run()
    rows = rows_of(second / LOG_FILE)
    names = set(rows[0])
    assert {"hm", "id", "kd0_heatmap", "kd0_embedding", "kd1_heatmap", "kd1_feature"} <= names
    assert "kd0_feature" not in names
    assert any(float(row["hm"]) > 0 for row in rows)
