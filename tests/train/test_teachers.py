"""A teacher speaks in the cells of its student, whatever its own stride and input size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from runtime.errors import UserError
from tests.export.test_export import trained_like
from train.config import TrainConfig
from train.models import TrackingModel, build_model
from train.models.decode import boxes_at, top_peaks
from train.teachers.fairmot import FairMOTTeacher, teacher_size
from train.teachers.output import TeacherOutput
from train.trainer import Trainer

HEIGHT, WIDTH = 64, 96


def nano(stride: int, embedding_dim: int = 8) -> TrackingModel:
    torch.manual_seed(stride)
    return trained_like(build_model("nano", stride=stride, embedding_dim=embedding_dim))


def boxes_of(seen: TeacherOutput, stride: int) -> torch.Tensor:
    """Return the boxes that a student of this stride is taught, in pixels of its input."""
    columns = WIDTH // stride
    corner = torch.stack([seen.cells % columns, seen.cells // columns], dim=-1)
    centres = corner + seen.offsets
    sides = seen.sides
    return torch.cat([centres - sides[..., :2], centres + sides[..., 2:]], dim=-1) * stride


def boxes_itself(model: TrackingModel, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the boxes and scores a model finds by itself, in pixels of what it is shown."""
    with torch.inference_mode():
        maps = model(images)
        scores, _, cells = top_peaks(maps["hm"], min(64, maps["hm"][0].numel()))
        return boxes_at(maps, cells, model.stride), scores


@pytest.mark.parametrize("teacher_stride", [4, 8])
@pytest.mark.parametrize("student_stride", [4, 8])
def test_boxes_are_the_teachers_own(teacher_stride: int, student_stride: int) -> None:
    model, images = nano(teacher_stride), torch.rand(2, 3, HEIGHT, WIDTH)
    expected, scores = boxes_itself(model, images)
    seen = FairMOTTeacher(model, 0.0, student_stride)(images)
    torch.testing.assert_close(seen.scores, scores, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(boxes_of(seen, student_stride), expected, atol=0.02, rtol=1e-4)
    grid = (HEIGHT // student_stride, WIDTH // student_stride)
    assert seen.heatmap.shape == (2, 1, *grid)
    assert seen.features.shape == (2, model.feature_channels, *grid)
    assert seen.cells.min() >= 0 and seen.cells.max() < grid[0] * grid[1]
    assert seen.embeddings is not None and seen.embeddings.shape == (*seen.cells.shape, 8)


@pytest.mark.parametrize(
    ("teacher_stride", "student_stride", "offsets"),
    [(8, 8, {0.5}), (4, 8, {0.25, 0.75}), (8, 4, {0.0})],
)
def test_a_centre_lies_in_the_cell_that_is_taught(
    teacher_stride: int, student_stride: int, offsets: set[float]
) -> None:
    model = nano(teacher_stride)
    output = model.heads["reg"][-1]
    with torch.no_grad():
        output.weight.zero_()
        output.bias.fill_(0.5)
    seen = FairMOTTeacher(model, 0.0, student_stride)(torch.rand(1, 3, HEIGHT, WIDTH))
    assert {round(value, 4) for value in seen.offsets.flatten().tolist()} == offsets


def test_a_peak_stays_a_peak_on_a_coarser_grid() -> None:
    model, images = nano(4), torch.rand(1, 3, HEIGHT, WIDTH)
    seen = FairMOTTeacher(model, 0.0, 8)(images)
    at_peaks = seen.heatmap.flatten(2).gather(2, seen.cells[:, None]).squeeze(1)
    assert (at_peaks >= seen.scores - 1e-6).all()
    assert at_peaks[0, 0] == pytest.approx(seen.scores[0, 0].item(), abs=1e-6)


def test_a_teacher_looks_at_its_own_larger_size() -> None:
    model, images = nano(8), torch.rand(1, 3, HEIGHT, WIDTH)
    model.input_wh = (2 * WIDTH, 2 * HEIGHT)
    enlarged = F.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
    expected, scores = boxes_itself(model, enlarged)
    seen = FairMOTTeacher(model, 0.0, 8)(images)
    torch.testing.assert_close(seen.scores, scores, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(boxes_of(seen, 8), expected / 2, atol=0.02, rtol=1e-4)


def test_peaks_below_the_threshold_teach_nothing() -> None:
    seen = FairMOTTeacher(nano(8), 1.0)(torch.rand(1, 3, HEIGHT, WIDTH))
    assert not seen.scores.any()


def test_a_detector_teaches_no_embedding() -> None:
    seen = FairMOTTeacher(nano(8, embedding_dim=0), 0.0)(torch.rand(1, 3, HEIGHT, WIDTH))
    assert seen.embeddings is None


@pytest.mark.parametrize(
    ("student", "teacher", "size"),
    [
        ((576, 320), None, (576, 320)),
        ((576, 320), (576, 320), (576, 320)),
        ((576, 320), (288, 160), (576, 320)),
        ((576, 320), (1088, 320), (576, 320)),
        ((416, 320), (1088, 608), (800, 608)),
    ],
)
def test_the_picture_keeps_its_shape(
    student: tuple[int, int], teacher: tuple[int, int] | None, size: tuple[int, int]
) -> None:
    assert teacher_size(student, teacher) == size


def test_a_student_learns_from_a_teacher_of_another_stride(
    tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    for folder in ("teacher", "student"):
        (tmp_path / folder).mkdir()
    fine = {"name": "nano", "embedding_dim": 8, "options": {"stride": 4}}
    run = TrainConfig.model_validate(tiny_config | {"model": fine})
    teacher = Trainer(run, tmp_path / "teacher").run()
    teachers = [{"kind": "fairmot", "checkpoint": str(teacher)}]
    learning = tiny_config | {"distill": {"teachers": teachers}}
    student = Trainer(TrainConfig.model_validate(learning), tmp_path / "student").run()
    assert student.exists()
    several = {"name": "nano", "embedding_dim": 8, "num_classes": 2}
    with pytest.raises(UserError, match="1 classes apart, the student 2"):
        Trainer(
            TrainConfig.model_validate(learning | {"model": several, "classes": ["a", "b"]}),
            tmp_path / "student",
        )
