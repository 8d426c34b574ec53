"""Losses against their formulas, written out."""

from __future__ import annotations

import math

import pytest
import torch

from train.config import LossConfig
from train.data.batch import Batch
from train.losses.distillation import (
    DistillationLoss,
    embedding_cosine_loss,
    soft_focal_loss,
    weighted_l1_loss,
)
from train.losses.fairmot import FairMOTLoss, heatmap_focal_loss, masked_l1_loss
from train.losses.features import pearson_feature_loss
from train.losses.relations import similarity_distribution_loss
from train.models.decode import gather_cells
from train.teachers.config import FairMOTLosses
from train.teachers.output import TeacherOutput


def batch_of(objects: int, ids: list[int] | None = None) -> Batch:
    mask = torch.zeros(1, 4, dtype=torch.bool)
    mask[0, :objects] = True
    known = torch.full((1, 4), -1)
    if ids:
        known[0, : len(ids)] = torch.tensor(ids)
    heatmap = torch.zeros(1, 1, 6, 8)
    for index in range(objects):
        heatmap[0, 0, index, index] = 1
    return Batch(
        images=torch.zeros(1, 24, 32, 3, dtype=torch.uint8),
        heatmap=heatmap,
        cells=torch.arange(4).mul(9)[None],
        sizes_ltrb=torch.ones(1, 4, 4),
        offsets=torch.full((1, 4, 2), 0.5),
        ids=known,
        mask=mask,
        labelled=torch.ones(1, dtype=torch.bool),
    )


def outputs_of(seed: int, embedding_dim: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"hm": 1, "wh": 4, "reg": 2, "id": embedding_dim}
    return {
        name: torch.randn(1, channels, 6, 8, generator=generator).requires_grad_()
        for name, channels in shapes.items()
    }


def test_a_batch_without_objects_has_a_finite_loss_and_gradient() -> None:
    outputs = outputs_of(0)
    loss, parts = FairMOTLoss(LossConfig(), 8, 5)(outputs, batch_of(0))
    loss.backward()
    assert math.isfinite(loss.item())
    assert parts["wh"] == parts["reg"] == parts["id"] == 0
    assert outputs["hm"].grad is not None and torch.isfinite(outputs["hm"].grad).all()


def test_focal_loss_equals_its_formula() -> None:
    logits = torch.randn(2, 3, 4, 5)
    target = torch.rand(2, 3, 4, 5)
    target[0, 1, 2, 3] = target[1, 0, 0, 0] = 1
    total, centres = 0.0, 0
    for logit, wanted in zip(logits.flatten().tolist(), target.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        if wanted == 1:
            centres += 1
            total -= (1 - p) ** 2 * math.log(p)
        else:
            total -= (1 - wanted) ** 4 * p**2 * math.log(1 - p)
    assert heatmap_focal_loss(logits, target).item() == pytest.approx(total / centres, rel=1e-4)


def test_masked_l1_counts_only_places_in_use() -> None:
    prediction = torch.tensor([[[1.0, 2.0], [9.0, 9.0]]])
    target = torch.tensor([[[0.0, 0.0], [0.0, 0.0]]])
    mask = torch.tensor([[True, False]])
    assert masked_l1_loss(prediction, target, mask).item() == pytest.approx(1.5)


def test_gather_reads_the_cell_it_names() -> None:
    maps = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).float()
    cells = torch.tensor([[7, 0], [19, 3]])
    gathered = gather_cells(maps, cells)
    assert gathered.shape == (2, 2, 3)
    assert torch.equal(gathered[0, 0], maps[0, :, 1, 2])
    assert torch.equal(gathered[1, 0], maps[1, :, 3, 4])


def test_unknown_identities_teach_nothing() -> None:
    loss = FairMOTLoss(LossConfig(), 8, 5)
    outputs = outputs_of(1)
    _, parts = loss(outputs, batch_of(3))
    assert parts["id"] == 0
    _, parts = loss(outputs, batch_of(3, ids=[0, -1, 4]))
    assert parts["id"] > 0


def test_without_embedding_there_is_no_identity_loss() -> None:
    outputs = outputs_of(1)
    del outputs["id"]
    _, parts = FairMOTLoss(LossConfig(), 0, 5)(outputs, batch_of(2))
    assert set(parts) == {"hm", "wh", "reg"}


def test_a_student_equal_to_its_teacher_has_nothing_to_learn() -> None:
    same = torch.randn(6, 8)
    assert embedding_cosine_loss(same, 3 * same).item() == pytest.approx(0, abs=1e-6)
    assert similarity_distribution_loss(same, 2 * same).item() == pytest.approx(0, abs=1e-6)
    features = torch.randn(2, 5, 4, 4)
    assert pearson_feature_loss(features, 3 * features + 1).item() == pytest.approx(0, abs=1e-5)
    boxes = torch.randn(1, 6, 4)
    assert weighted_l1_loss(boxes, boxes, torch.ones(1, 6)).item() == 0
    logits = torch.randn(1, 1, 4, 4)
    assert soft_focal_loss(logits, logits.sigmoid()).item() == pytest.approx(0, abs=1e-12)


def test_a_student_unlike_its_teacher_has() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 6, 8, generator=generator)
    assert embedding_cosine_loss(first, second) > 0.1
    assert similarity_distribution_loss(first, second) > 0.1
    assert pearson_feature_loss(first.view(1, 6, 4, 2), second.view(1, 6, 4, 2)) > 0.1
    assert soft_focal_loss(torch.full((1, 1, 2, 2), -4.0), torch.full((1, 1, 2, 2), 0.98)) > 1


def test_relation_compares_embeddings_of_different_width() -> None:
    teacher = torch.randn(5, 16)
    assert similarity_distribution_loss(torch.randn(5, 4), teacher).isfinite()
    assert similarity_distribution_loss(torch.randn(2, 4), torch.randn(2, 16)) == 0


def test_boxes_are_weighted_by_the_teachers_score() -> None:
    student, teacher = torch.zeros(1, 2, 4), torch.tensor([[[1.0] * 4, [3.0] * 4]])
    weights = torch.tensor([[0.75, 0.25]])
    assert weighted_l1_loss(student, teacher, weights).item() == pytest.approx(1.5)
    assert weighted_l1_loss(student, teacher, torch.zeros(1, 2)).item() == 0


@pytest.mark.parametrize("teacher_dim", [8, 12, 0])
def test_distillation_adds_up_its_parts(teacher_dim: int) -> None:
    outputs, seen = outputs_of(2), {k: v.detach() for k, v in outputs_of(3, teacher_dim).items()}
    if not teacher_dim:
        del seen["id"]
    weights = FairMOTLosses(heatmap=2, box=0.5, embedding=3, relation=0.25, feature=1.5)
    loss = DistillationLoss(
        weights, student_channels=4, teacher_channels=6, student_dim=8, teacher_dim=teacher_dim
    )
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.0]])
    cells = torch.tensor([[3, 9, 20, 0]])
    teacher = TeacherOutput(
        heatmap=seen["hm"].sigmoid(),
        cells=cells,
        scores=scores,
        sides=gather_cells(seen["wh"], cells),
        offsets=gather_cells(seen["reg"], cells),
        embeddings=gather_cells(seen["id"], cells) if teacher_dim else None,
        features=torch.randn(1, 6, 6, 8),
    )
    total, parts = loss(outputs, torch.randn(1, 4, 6, 8), teacher)
    expected = sum(getattr(weights, name) * part.item() for name, part in parts.items())
    assert total.item() == pytest.approx(expected, rel=1e-5)
    assert ("embedding" in parts) == ("relation" in parts) == (teacher_dim > 0)


def test_pictures_without_labels_have_no_task_loss() -> None:
    labelled, mixed = batch_of(2), batch_of(2)
    mixed = Batch(
        **{
            name: torch.cat([part, torch.zeros_like(part)])
            for name, part in vars(mixed).items()
            if part is not None
        }
    )
    assert mixed.labelled.tolist() == [True, False]
    outputs = outputs_of(1)
    doubled = {
        name: torch.cat([part, torch.full_like(part, 9.0)]) for name, part in outputs.items()
    }
    loss = FairMOTLoss(LossConfig(), 8, 0)
    assert loss(doubled, mixed)[0].item() == pytest.approx(loss(outputs, labelled)[0].item())
    # A batch without any labels has a loss, of nothing.
    mixed.labelled[:], mixed.mask[:] = False, False
    total, parts = loss(doubled, mixed)
    assert total.item() == 0 and all(part == 0 for part in parts.values())
    total.backward()
