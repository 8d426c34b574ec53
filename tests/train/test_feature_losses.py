"""Losses between feature maps and between the relations of objects, against plain formulas."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from train.losses.distillation import FEATURE_LOSSES, RELATION_LOSSES, DistillationLoss
from train.losses.features import (
    MaskedGenerativeLoss,
    channel_wise_loss,
    location_cosine_loss,
)
from train.losses.relations import relation_angle_loss, relation_distance_loss
from train.teachers.config import FairMOTLosses
from train.teachers.output import TeacherOutput


def maps(seed: int, channels: int = 3) -> torch.Tensor:
    return torch.randn(2, channels, 4, 5, generator=torch.Generator().manual_seed(seed))


def embeddings(seed: int, count: int = 5, width: int = 6) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("loss", RELATION_LOSSES.values())
@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_objects_have_no_relations(loss: object, count: int) -> None:
    student = embeddings(0)[:count].requires_grad_()
    value = loss(student, embeddings(1)[:count])  # type: ignore[operator]
    assert value.item() == 0
    value.backward()


@pytest.mark.parametrize("loss", [*FEATURE_LOSSES.values()])
def test_equal_features_have_nothing_to_learn(loss: object) -> None:
    assert loss(maps(0), maps(0)).item() == pytest.approx(0, abs=1e-5)  # type: ignore[operator]
    assert loss(maps(0), maps(1)).item() > 0.01  # type: ignore[operator]


@pytest.mark.parametrize("loss", [*RELATION_LOSSES.values()])
def test_rotated_and_scaled_embeddings_have_the_same_relations(loss: object) -> None:
    teacher = embeddings(0)
    rotation = torch.linalg.qr(embeddings(2, 6, 6)).Q
    assert loss(3 * teacher @ rotation, teacher).item() == pytest.approx(  # type: ignore[operator]
        0, abs=1e-5
    )
    assert loss(embeddings(1), teacher).item() > 1e-3  # type: ignore[operator]


def test_channel_wise_loss_is_the_formula() -> None:
    student, teacher, temperature = maps(0), maps(1), 2.0
    expected = 0.0
    for picture, channel in itertools.product(range(2), range(3)):
        ours = (student[picture, channel].flatten() / temperature).tolist()
        theirs = (teacher[picture, channel].flatten() / temperature).tolist()
        ours_total = sum(math.exp(value) for value in ours)
        theirs_total = sum(math.exp(value) for value in theirs)
        for a, b in zip(ours, theirs, strict=True):
            share = math.exp(b) / theirs_total
            expected += share * (math.log(share) - (a - math.log(ours_total)))
    expected *= temperature**2 / 6
    assert channel_wise_loss(student, teacher, temperature).item() == pytest.approx(expected)


def test_location_cosine_is_the_formula() -> None:
    student, teacher = maps(0), maps(1)
    cosines = []
    for picture, y, x in itertools.product(range(2), range(4), range(5)):
        a, b = student[picture, :, y, x], teacher[picture, :, y, x]
        cosines.append((a @ b / (a.norm() * b.norm())).item())
    expected = 1 - sum(cosines) / len(cosines)
    assert location_cosine_loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_distances_and_angles_are_the_formulas() -> None:
    student, teacher = embeddings(0), embeddings(1, width=9)

    def huber(a: float, b: float) -> float:
        return 0.5 * (a - b) ** 2 if abs(a - b) < 1 else abs(a - b) - 0.5

    def distances(rows: torch.Tensor) -> list[float]:
        unit = rows / rows.norm(dim=1, keepdim=True)
        between = [
            (unit[i] - unit[j]).norm().item() for i, j in itertools.combinations(range(5), 2)
        ]
        return [value / (sum(between) / len(between)) for value in between]

    pairs = [huber(a, b) for a, b in zip(distances(student), distances(teacher), strict=True)]
    assert relation_distance_loss(student, teacher).item() == pytest.approx(
        sum(pairs) / len(pairs), rel=1e-4
    )

    def cosine(rows: torch.Tensor, vertex: int, i: int, j: int) -> float:
        unit = rows / rows.norm(dim=1, keepdim=True)
        first, second = unit[i] - unit[vertex], unit[j] - unit[vertex]
        return (first @ second / (first.norm() * second.norm()).clamp(min=1e-9)).item()

    triples = list(itertools.product(range(5), repeat=3))
    total = sum(huber(cosine(student, *triple), cosine(teacher, *triple)) for triple in triples)
    assert relation_angle_loss(student, teacher).item() == pytest.approx(
        total / len(triples), rel=1e-4
    )


def test_equal_embeddings_do_not_explode() -> None:
    student = torch.ones(6, 4).requires_grad_()
    (
        relation_angle_loss(student, embeddings(0, 6))
        + relation_distance_loss(student, embeddings(0, 6))
    ).backward()
    assert student.grad is not None and student.grad.isfinite().all()


def test_many_objects_are_thinned_out() -> None:
    student = embeddings(0, 500)
    assert relation_angle_loss(student, embeddings(1, 500)).isfinite()


def test_the_generator_learns_to_fill_in_what_is_masked() -> None:
    torch.manual_seed(0)
    loss, teacher = MaskedGenerativeLoss(3, masked=0.5), maps(1)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-2)
    start = loss(teacher, teacher).item()
    for _ in range(200):
        optimizer.zero_grad()
        value = loss(teacher, teacher)
        value.backward()
        optimizer.step()
    assert value.item() < 0.6 * start
    # With everything masked only the biases are left.
    blank = MaskedGenerativeLoss(3, masked=1.0)
    assert blank(maps(0), teacher).item() == pytest.approx(blank(maps(2), teacher).item())


@pytest.mark.parametrize("name", ["distance", "angle", "channel", "location", "generative"])
def test_a_loss_is_computed_when_it_has_a_weight(name: str) -> None:
    def parts_with(**weights: float) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        loss = DistillationLoss(
            FairMOTLosses(relation=0, feature=0, **weights),
            student_channels=4,
            teacher_channels=3,
            student_dim=6,
            teacher_dim=6,
        )
        outputs = {"hm": maps(3, 1), "wh": maps(4, 4), "reg": maps(5, 2), "id": maps(6, 6)}
        cells = torch.arange(4).expand(2, 4)
        seen = TeacherOutput(
            heatmap=maps(7, 1).sigmoid(),
            cells=cells,
            scores=torch.ones(2, 4),
            sides=torch.ones(2, 4, 4),
            offsets=torch.ones(2, 4, 2),
            embeddings=F.normalize(torch.randn(2, 4, 6), dim=-1),
            features=maps(8),
        )
        total, parts = loss(outputs, maps(9, 4), seen)
        assert total.isfinite()
        return parts

    assert name not in parts_with()
    parts = parts_with(**{name: 1.0})
    assert parts[name] > 0
    assert set(parts) == {"heatmap", "box", "embedding", name}
