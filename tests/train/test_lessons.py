"""A label-free teacher's pass over the pictures, and what becomes of what it saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from runtime.errors import UserError
from train.data.pictures import PictureSource
from train.data.sample import Sample
from train.data.unlabelled import WithoutLabels
from train.teachers import lessons as lessons_module
from train.teachers.cache import TeacherCache
from train.teachers.config import OnnxTeacherConfig
from train.teachers.lessons import Lessons, TaughtSource, prepare_lessons, teach
from train.teachers.onnx import SeenObjects

DIM = 4


class Pictures(PictureSource):
    """Pictures of one shade each; picture ``n`` has ``n`` labels."""

    def __init__(self, shades: Sequence[int], labelled: bool = True) -> None:
        self.name = "pictures"
        self.num_ids = 0
        self.labelled = labelled
        self._shades = shades

    def __len__(self) -> int:
        return len(self._shades)

    def __getitem__(self, index: int) -> Sample:
        count = index if self.labelled else 0
        return Sample(
            image=np.full((6, 8, 3), self._shades[index], np.uint8),
            boxes_xyxy=np.full((count, 4), index, np.float32),
            classes=np.ones(count, np.int64),
            ids=np.arange(count),
            pixel_aspect=1.5,
        )


class FakeTeacher:
    """Sees as many objects as the picture is bright, each with the shade in its numbers."""

    embedding_dim = DIM
    fingerprint = "fake"

    def __init__(self, stop_at: int | None = None) -> None:
        self.looked: list[int] = []
        self._stop_at = stop_at

    def __call__(
        self,
        image: npt.NDArray[np.uint8],
        boxes_xyxy: npt.NDArray[np.float32] | None = None,
        classes: npt.NDArray[np.int64] | None = None,
    ) -> SeenObjects:
        shade = int(image[0, 0, 0])
        if shade == self._stop_at:
            raise KeyboardInterrupt
        self.looked.append(shade)
        count = shade if boxes_xyxy is None else len(boxes_xyxy)
        scores = 1 / (1 + np.arange(count, dtype=np.float32))
        return SeenObjects(
            boxes_xyxy=np.full((count, 4), shade, np.float32) if boxes_xyxy is None else boxes_xyxy,
            scores=scores if boxes_xyxy is None else np.ones(count, np.float32),
            classes=np.zeros(count, np.int64) if classes is None else classes,
            embeddings=np.full((count, DIM), shade, np.float16),
        )


def taught(
    folder: Path,
    sources: Sequence[PictureSource],
    teacher: FakeTeacher | None = None,
    at_labels: bool = False,
) -> Lessons:
    with TeacherCache(folder, "fake", 8) as cache:
        return teach(sources, teacher or FakeTeacher(), cache, at_labels=at_labels)


def test_nothing_to_look_at(tmp_path: Path) -> None:
    for sources in ([], [Pictures([])]):
        lessons = taught(tmp_path, sources)
        assert len(lessons) == lessons.computed == 0
        assert lessons.boxes_xyxy.shape == (0, 4)
        assert lessons.embeddings.shape == (0, DIM)


def test_pictures_without_objects(tmp_path: Path) -> None:
    lessons = taught(tmp_path, [Pictures([0, 0])])
    assert len(lessons) == 0
    assert lessons.rows(0, 1) == slice(0, 0)
    sample = lessons.added_to(Pictures([0, 0])[1], 0, 1)
    assert sample.rows.tolist() == [-1]


def test_every_picture_has_its_rows(tmp_path: Path) -> None:
    lessons = taught(tmp_path, [Pictures([3, 0, 2]), Pictures([]), Pictures([1])])
    places = [(which, index) for which, length in enumerate((3, 0, 1)) for index in range(length)]
    rows = [lessons.rows(*place) for place in places]
    assert rows == [slice(0, 3), slice(3, 3), slice(3, 5), slice(5, 6)]
    assert lessons.boxes_xyxy[:, 0].tolist() == [3, 3, 3, 2, 2, 1]
    assert lessons.embeddings[:, 0].tolist() == [3, 3, 3, 2, 2, 1]
    assert lessons.scores.tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1, 1 / 2, 1])
    kinds = [lessons.boxes_xyxy, lessons.scores, lessons.classes, lessons.embeddings]
    assert [str(kind.dtype) for kind in kinds] == ["float32", "float32", "int64", "float16"]
    assert lessons.embedding_dim == DIM


def test_more_rows_than_the_arrays_begin_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lessons_module, "FIRST_CAPACITY", 2)
    shades = [1, 9, 0, 4, 30, 2]
    lessons = taught(tmp_path, [Pictures(shades)])
    assert lessons.boxes_xyxy[:, 3].tolist() == np.repeat(shades, shades).tolist()
    assert len(lessons) == len(lessons.classes) == len(lessons.embeddings) == sum(shades)


def test_the_second_time_nothing_is_looked_at(tmp_path: Path) -> None:
    first, second, more = FakeTeacher(), FakeTeacher(), FakeTeacher()
    one = taught(tmp_path, [Pictures([3, 1, 2, 1])], first)
    assert first.looked == [3, 1, 2]  # the same picture once
    assert one.computed == 3
    two = taught(tmp_path, [Pictures([3, 1, 2, 1])], second)
    assert second.looked == [] and two.computed == 0
    for name in ("boxes_xyxy", "scores", "classes", "embeddings"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert taught(tmp_path, [Pictures([2, 5])], more).computed == 1
    assert more.looked == [5]


def test_ctrl_c_keeps_what_was_found_out(tmp_path: Path) -> None:
    shades = [3, 1, 2]
    with pytest.raises(KeyboardInterrupt):
        taught(tmp_path, [Pictures(shades)], FakeTeacher(stop_at=2))
    again = FakeTeacher()
    assert len(taught(tmp_path, [Pictures(shades)], again)) == 6
    assert again.looked == [2]


def test_records_of_other_shapes_are_computed_again(tmp_path: Path) -> None:
    class Wider(FakeTeacher):
        embedding_dim = DIM + 1

        def __call__(self, *given: object, **more: object) -> SeenObjects:
            seen = super().__call__(*given, **more)  # type: ignore[arg-type]
            seen.embeddings = np.ones((len(seen), DIM + 1), np.float16)
            return seen

    taught(tmp_path, [Pictures([3])])
    assert taught(tmp_path, [Pictures([3])], Wider()).embeddings.shape == (3, DIM + 1)


def test_a_teacher_that_looks_at_labels(tmp_path: Path) -> None:
    teacher = FakeTeacher()
    sources = [Pictures([7, 7, 7]), Pictures([8], labelled=False), WithoutLabels(Pictures([9]))]
    lessons = taught(tmp_path, sources, teacher, at_labels=True)
    # One picture with other boxes is another thing to look at; without labels there is nothing.
    assert teacher.looked == [7, 7, 7]
    assert lessons.boxes_xyxy[:, 0].tolist() == [1, 2, 2]
    assert lessons.classes.tolist() == [1, 1, 1]
    assert lessons.rows(0, 2) == slice(1, 3)
    assert lessons.rows(1, 0) == lessons.rows(2, 0) == slice(3, 3)
    assert taught(tmp_path, sources, at_labels=True).computed == 0


def test_objects_stand_behind_the_labels(tmp_path: Path) -> None:
    source = Pictures([5, 2, 3])
    lessons = taught(tmp_path, [source])
    sample = lessons.added_to(source[2], 0, 2)
    assert sample.boxes_xyxy[:, 0].tolist() == [2, 2, 3, 3, 3]
    assert sample.classes.tolist() == [1, 1, 0, 0, 0]
    assert sample.ids.tolist() == [0, 1, -1, -1, -1]
    assert sample.rows.tolist() == [-1, -1, 7, 8, 9]
    assert sample.pixel_aspect == 1.5 and sample.labelled
    assert [array.dtype for array in (sample.boxes_xyxy, sample.classes, sample.rows)] == [
        np.float32,
        np.int64,
        np.int64,
    ]


def test_what_the_teacher_saw_as_labels(tmp_path: Path) -> None:
    source = Pictures([5, 0, 3], labelled=False)
    lessons = taught(tmp_path, [Pictures([4]), source])
    labels = TaughtSource(source, lessons, 1, min_score=0.4)
    assert (len(labels), labels.num_ids, labels.num_classes) == (3, 0, 1)
    assert labels.labelled
    assert [len(labels[index].boxes_xyxy) for index in range(3)] == [2, 0, 2]
    sample = labels[2]
    assert sample.boxes_xyxy[:, 0].tolist() == [3, 3]
    assert sample.ids.tolist() == [-1, -1]
    assert sample.rows.tolist() == [-1, -1]
    sample.boxes_xyxy += 1  # the lessons stay as they are
    assert lessons.boxes_xyxy[lessons.rows(1, 2)].max() == 3


def test_an_unreadable_picture_is_named_and_the_others_kept(tmp_path: Path) -> None:
    class Broken(Pictures):
        def __getitem__(self, index: int) -> Sample:
            if index == 1:
                raise UserError("b.jpg is not a readable image: remove or replace it")
            return super().__getitem__(index)

    with pytest.raises(UserError, match=r"b\.jpg"):
        taught(tmp_path, [Broken([1, 2])])
    assert taught(tmp_path, [Pictures([1])]).computed == 0


def config(tmp_path: Path, **parts: object) -> OnnxTeacherConfig:
    return OnnxTeacherConfig.model_validate(
        {"kind": "onnx", "cache": tmp_path, "cache_mb": 8, **parts}
    )


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons_module, "OnnxTeacherModel", lambda config, threads: FakeTeacher())


@pytest.mark.usefixtures("fake_model")
def test_lessons_of_a_configured_teacher(tmp_path: Path) -> None:
    detector = {"path": "d.onnx", "classes": [0, 2]}
    with pytest.raises(UserError, match=r"names 2, the student tells 1 classes apart"):
        prepare_lessons(config(tmp_path, detector=detector), [Pictures([3])], 1)
    lessons = prepare_lessons(config(tmp_path, detector=detector), [Pictures([3])], 2, threads=1)
    assert (len(lessons), lessons.computed) == (3, 1)
    again = prepare_lessons(config(tmp_path, detector=detector), [Pictures([3])], 2)
    assert (len(again), again.computed) == (3, 0)


@pytest.mark.usefixtures("fake_model")
def test_a_teacher_that_cannot_teach_anything(tmp_path: Path) -> None:
    embedder = config(tmp_path, embedder={"path": "e.onnx"})
    with pytest.raises(UserError, match="no detector and the data no labels"):
        prepare_lessons(embedder, [Pictures([3], labelled=False)], 1)
    assert len(prepare_lessons(embedder, [Pictures([3, 3])], 1)) == 1
    detector = config(tmp_path, detector={"path": "d.onnx"})
    with pytest.raises(UserError, match="sees nothing in any of 2 pictures"):
        prepare_lessons(detector, [Pictures([0, 0])], 1)
