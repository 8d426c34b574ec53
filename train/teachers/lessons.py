"""What a label-free teacher sees in all pictures of a training set, found out before it begins.

The teacher is much slower than the student, and what it sees in a picture never changes. So it goes
over all pictures once; its boxes and embeddings then follow the student's augmentations by
arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from runtime.console import progress
from runtime.errors import UserError
from train.data.pictures import PictureSource
from train.data.sample import Sample
from train.teachers.cache import TeacherCache, content_key
from train.teachers.config import OnnxTeacherConfig
from train.teachers.fixtures import is_object
from train.teachers.onnx.teacher import OnnxTeacherModel, SeenObjects

SLOW = 20  # pictures; a teacher on a processor takes about 0.1 s for one
FIRST_CAPACITY = 1024

Arrays = tuple[npt.NDArray[Any], ...]


class LabelFreeTeacher(Protocol):
    """What ``teach`` needs of a teacher."""

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding, 0 without."""

    def __call__(
        self,
        image: npt.NDArray[np.uint8],
        /,
        boxes_xyxy: npt.NDArray[np.float32] | None = None,
        classes: npt.NDArray[np.int64] | None = None,
    ) -> SeenObjects:
        """Look at a picture, ``[H, W, 3]`` BGR, or at boxes ``[M, 4]`` in it."""


@dataclass
class Lessons:
    """The objects a teacher saw in the pictures of several sources, one row each.

    A row takes 28 bytes and 2 for each number of its embedding: 100,000 pictures of ten objects
    with embeddings of 256 numbers take 540 MB.

    Attributes:
        boxes_xyxy: ``[T, 4]`` float32, left, top, right, bottom in pixels of the picture.
        scores: ``[T]`` float32 in 0..1.
        classes: ``[T]`` int64.
        embeddings: ``[T, E]`` float16; all 0 for an object whose embedding is not known.
        starts: Of each source ``[pictures + 1]`` int64, where its pictures' rows begin and, at
            last, end; those of cutouts behind all others.
        computed: Pictures the teacher looked at for this; the others were known.
    """

    boxes_xyxy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    embeddings: npt.NDArray[np.float16]
    starts: list[npt.NDArray[np.int64]]
    computed: int = 0

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding, 0 without."""
        return self.embeddings.shape[1]

    def rows(self, which: int, index: int) -> slice:
        """Return the rows of one picture.

        Args:
            which: The source.
            index: The picture in it.
        """
        starts = self.starts[which]
        return slice(int(starts[index]), int(starts[index + 1]))

    def rows_of(self, which: int) -> range:
        """Return the rows of all pictures of a source."""
        return range(int(self.starts[which][0]), int(self.starts[which][-1]))

    def added_to(self, sample: Sample, which: int, index: int) -> Sample:
        """Return a picture with its labels and, behind them, what the teacher saw in it.

        Args:
            sample: As the source gives it.
            which: The source.
            index: The picture in it.
        """
        rows = self.rows(which, index)
        own = np.arange(rows.start, rows.stop)
        return replace(
            sample,
            boxes_xyxy=np.concatenate([sample.boxes_xyxy, self.boxes_xyxy[rows]]),
            classes=np.concatenate([sample.classes, self.classes[rows]]),
            ids=np.concatenate([sample.ids, np.full(len(own), -1, np.int64)]),
            lesson_rows=np.concatenate([sample.rows, own]),
        )


class TaughtSource(PictureSource):
    """A source whose labels are what a teacher saw, for validation without labels.

    Args:
        source: The pictures.
        lessons: What the teacher saw.
        which: The source's place in them.
        min_score: Objects below it do not count as labels.
    """

    num_ids = 0

    def __init__(
        self, source: PictureSource, lessons: Lessons, which: int, min_score: float
    ) -> None:
        self.name = f"{source.name} as the teacher sees it"
        self._source = source
        self._lessons = lessons
        self._which = which
        self._min_score = min_score
        starts = lessons.starts[which]
        classes = lessons.classes[starts[0] : starts[-1]]
        self.num_classes = 1 + int(classes.max(initial=0))

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        lessons = self._lessons
        rows = lessons.rows(self._which, index)
        kept = np.flatnonzero(lessons.scores[rows] >= self._min_score) + rows.start
        return Sample(
            image=self._source[index].image,
            boxes_xyxy=lessons.boxes_xyxy[kept],
            classes=lessons.classes[kept],
            ids=np.full(len(kept), -1, np.int64),
        )


def prepare_lessons(
    config: OnnxTeacherConfig,
    sources: Sequence[PictureSource],
    num_classes: int,
    threads: int | None = None,
    cutouts: PictureSource | None = None,
) -> Lessons:
    """Let the teacher of a configuration look at all pictures.

    Args:
        config: The teacher.
        sources: Where the pictures come from.
        num_classes: Classes the student tells apart.
        threads: CPU threads; ONNX Runtime's choice when None.
        cutouts: People who will be pasted into the pictures, one labelled object in each; the
            teacher is told where they are.

    Raises:
        UserError: The teacher cannot be used, does not suit the student or the data, or sees
            nothing in any picture; or a picture cannot be read.
    """
    if config.detector is not None and len(config.detector.classes) != num_classes:
        raise UserError(
            f"detector.classes of the onnx teacher names {len(config.detector.classes)}, the "
            f"student tells {num_classes} classes apart: name one of the detector's for each"
        )
    at_labels = config.detector is None
    if at_labels and not any(source.labelled for source in sources):
        raise UserError(
            "the onnx teacher has no detector and the data no labels: it has nothing to look at, "
            "give it a detector"
        )
    model = OnnxTeacherModel(config, threads)
    with TeacherCache(config.cache, model.fingerprint, config.cache_mb) as cache:
        told = [] if cutouts is None else [cutouts]
        lessons = teach(
            sources, model, cache, at_labels=at_labels, told=told, sure_score=config.sure_score
        )
    if not sum(len(lessons.rows_of(which)) for which in range(len(sources))):
        pictures = sum(map(len, sources))
        raise UserError(
            f"the onnx teacher sees nothing in any of {pictures} pictures: check how its input is "
            "scaled (colour, scale, mean, std), or lower detector.score_threshold"
        )
    return lessons


def teach(
    sources: Sequence[PictureSource],
    model: LabelFreeTeacher,
    cache: TeacherCache,
    *,
    at_labels: bool = False,
    told: Sequence[PictureSource] = (),
    sure_score: float = 0.0,
) -> Lessons:
    """Let a teacher look at every picture that the cache does not know.

    After Ctrl-C the cache has what was found out until then.

    Args:
        sources: Where the pictures come from.
        model: The teacher.
        cache: Of this teacher's outputs; the caller closes it.
        at_labels: Have it look at the labelled boxes; pictures of unlabelled sources then teach
            nothing and are not read.
        told: More sources, where it looks at the labelled boxes in any case.
        sure_score: What it sees at a source's fixtures is left out below this score.

    Raises:
        UserError: A picture cannot be read, or the teacher fails at it.
    """
    table = _Table(model.embedding_dim)
    tasks = [(source, at_labels) for source in sources] + [(source, True) for source in told]
    starts = [np.zeros(len(source) + 1, np.int64) for source, _ in tasks]
    lengths = [len(source) if source.labelled or not labels else 0 for source, labels in tasks]
    total = sum(lengths)
    done = computed = 0
    with progress("known", shown=total >= SLOW) as bar:
        task = bar.add_task("teacher", total=total, known="")
        try:
            for (source, labels), own, length in zip(tasks, starts, lengths, strict=True):
                own[:] = len(table)
                for index in range(length):
                    rows, new = _look(source[index], model, cache, table, labels)
                    if source.fixtures_xyxy:
                        kept = is_object(rows[0], rows[1], source.fixtures_xyxy, sure_score)
                        rows = tuple(column[kept] for column in rows)
                    table.add(rows)
                    computed += new
                    own[index + 1] = len(table)
                    done += 1
                    known = f"{done - computed} known, {computed} new"
                    bar.update(task, completed=done, known=known)
        finally:
            cache.flush()
    return table.lessons(starts, computed)


def _look(
    sample: Sample, model: LabelFreeTeacher, cache: TeacherCache, table: _Table, at_labels: bool
) -> tuple[Arrays, bool]:
    """Return what the teacher sees in a picture, as the table's columns, and if it had to look."""
    boxes = sample.boxes_xyxy if at_labels else None
    classes = sample.classes if at_labels else None
    key = content_key(sample.image, boxes, classes)
    rows = cache.find(key)
    known = rows is not None and table.suits(rows)
    if rows is None or not known:
        seen = model(sample.image, boxes_xyxy=boxes, classes=classes)
        rows = (seen.boxes_xyxy, seen.scores, seen.classes, seen.embeddings)
        cache.keep(key, rows)
    return rows, not known


class _Table:
    """The arrays of ``Lessons`` while they grow; objects of Python would take ten times as much."""

    def __init__(self, embedding_dim: int) -> None:
        self._columns: Arrays = (
            np.zeros((FIRST_CAPACITY, 4), np.float32),
            np.zeros(FIRST_CAPACITY, np.float32),
            np.zeros(FIRST_CAPACITY, np.int64),
            np.zeros((FIRST_CAPACITY, embedding_dim), np.float16),
        )
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def suits(self, rows: Arrays) -> bool:
        """Return whether arrays from elsewhere have the columns' types and shapes."""
        return len(rows) == len(self._columns) and all(
            row.dtype == column.dtype and row.shape == (len(rows[1]), *column.shape[1:])
            for row, column in zip(rows, self._columns, strict=True)
        )

    def add(self, rows: Arrays) -> None:
        """Put the objects of a picture behind the others."""
        end = self._length + len(rows[1])
        if end > len(self._columns[1]):
            self._resize(max(end, len(self._columns[1]) * 3 // 2))
        for column, row in zip(self._columns, rows, strict=True):
            column[self._length : end] = row
        self._length = end

    def lessons(self, starts: list[npt.NDArray[np.int64]], computed: int) -> Lessons:
        """Hand the columns over; the table must not grow any more."""
        self._resize(self._length)
        boxes_xyxy, scores, classes, embeddings = self._columns
        return Lessons(boxes_xyxy, scores, classes, embeddings, starts, computed)

    def _resize(self, length: int) -> None:
        for column in self._columns:
            # In place, without a second copy where the system can help it; nothing else refers to
            # the columns yet.
            column.resize((length, *column.shape[1:]), refcheck=False)
