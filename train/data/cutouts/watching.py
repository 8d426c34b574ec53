"""Who is where in the footage of a static camera, and what the scene looks like without them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.console import progress
from runtime.errors import UserError
from runtime.mot import MotRows, read_mot
from runtime.sources import FrameSource, open_source
from runtime.tracking.tracker import Tracker
from train.data.cutouts.background import Background, FrameSample, learn_background
from train.data.cutouts.library import GROUND_TRUTH
from train.teachers.onnx import OnnxTeacherModel

Frame = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]

TRACKER = "tracker"
PEDESTRIAN = 1
# Of ground truth that tells it: less of a person is no whole one.
MIN_VISIBILITY = 0.9
# A track's box is worth cutting along from this score of its detection on.
MIN_SCORE = 0.7
# A detection from this score on may be somebody who stands in front, tracked or not.
MIN_SCORE_OF_OTHERS = 0.25
LONG = 300  # frames


@dataclass
class Sightings:
    """Who was seen in a sequence, one row each time, by frame.

    Attributes:
        frames: ``[S]`` int64, counted from 1.
        ids: ``[S]`` int64 identities.
        boxes_xyxy: ``[S, 4]`` float32 in pixels.
        crowd: Of each frame ``[K, 4]`` float32, all boxes that something may be behind.
    """

    frames: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    boxes_xyxy: Boxes
    crowd: dict[int, Boxes]

    def others(self, row: int) -> Boxes:
        """Return the boxes of all others in the frame of a sighting, ``[K - 1, 4]``."""
        crowd = self.crowd[int(self.frames[row])]
        return np.delete(crowd, int(np.argmax(overlap(self.boxes_xyxy[row], crowd))), axis=0)


@dataclass
class Scene:
    """The footage of a static camera, watched to its end.

    Attributes:
        name: Of the source.
        path: Where it is.
        frames: Number of its frames.
        fps: Frames per second.
        size_wh: Of its frames in pixels.
        identities: Where identities come from: ``ground truth`` or ``tracker``.
        sightings: Who was seen.
        background: What it looks like without them.
    """

    name: str
    path: Path
    frames: int
    fps: float
    size_wh: tuple[int, int]
    identities: str
    sightings: Sightings
    background: Background

    def read(self, wanted: set[int]) -> Iterator[tuple[int, Frame]]:
        """Yield the frames of these numbers, counted from 1, in order."""
        last = max(wanted, default=0)
        with open_source(self.path) as source:
            for number, frame in numbered(source, f"cutting {self.name}"):
                if number in wanted:
                    yield number, frame
                if number >= last:
                    return


def watch(path: Path, model: OnnxTeacherModel | None = None) -> Scene:
    """Watch the footage of a static camera.

    Args:
        path: A MOTChallenge sequence with ground truth, or any footage.
        model: Who finds the people where there is no ground truth.

    Raises:
        UserError: It cannot be read, there is nobody to find people, or the camera moves.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: give a MOTChallenge sequence, a video or a folder")
    truth = path / "gt" / "gt.txt"
    rows = read_mot(truth, "ground truth") if truth.is_file() else None
    if rows is None and model is None:
        raise UserError(
            f"{path} has no gt/gt.txt that tells where people are: give --detector with an ONNX "
            "detector, or a MOTChallenge sequence"
        )
    sample = FrameSample()
    with ExitStack() as opened:
        source = opened.enter_context(open_source(path))
        if source.is_live:
            raise UserError(f"{source.name} is live: record it, and give the video")
        # Labels of a sequence go by the name of its folder, as in a training.
        name = source.name if rows is None else path.resolve().name
        size_wh, fps, length = source.size_wh, source.fps, 0
        finder = None
        if rows is None and model is not None:
            finder = _Finder(model, source.fps)
        for number, frame in numbered(source, f"watching {name}"):
            length = number
            sample.add(number, frame)
            if finder is not None:
                finder.look(number, frame)
    if finder is not None:
        sightings = finder.sightings()
    else:
        assert rows is not None, "either there is ground truth or a model"
        sightings = _by_ground_truth(rows, length)
    background = learn_background(sample, sightings.crowd, name)
    kind = GROUND_TRUTH if rows is not None else TRACKER
    return Scene(name, path, length, fps, size_wh, kind, sightings, background)


def numbered(source: FrameSource, what: str) -> Iterator[tuple[int, Frame]]:
    """Yield the frames of a source with their numbers from 1, under a progress bar."""
    with progress(transient=True, shown=(source.length or 0) >= LONG) as bar:
        task = bar.add_task(what, total=source.length)
        for number, frame in enumerate(source, 1):
            yield number, frame
            bar.advance(task)


def overlap(box_xyxy: Boxes, boxes_xyxy: Boxes) -> npt.NDArray[np.float32]:
    """Return the IoU of one box ``[4]`` with others ``[K, 4]``, as ``[K]``."""
    shared = shared_area(box_xyxy, boxes_xyxy)
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    own = (box_xyxy[2:] - box_xyxy[:2]).prod()
    return np.asarray(shared / np.maximum(own + areas - shared, 1e-6), np.float32)


def shared_area(box_xyxy: Boxes, boxes_xyxy: Boxes) -> npt.NDArray[np.float32]:
    """Return the area that one box ``[4]`` shares with each of ``[K, 4]``, in pixels, ``[K]``."""
    corner = np.maximum(box_xyxy[:2], boxes_xyxy[:, :2])
    opposite = np.minimum(box_xyxy[2:], boxes_xyxy[:, 2:])
    return np.asarray(np.maximum(opposite - corner, 0).prod(axis=1), np.float32)


def _by_ground_truth(rows: MotRows, length: int) -> Sightings:
    """Take the pedestrians that count; everything else that is labelled may stand in front."""
    rows = rows[rows.frames <= length]
    boxes = rows.boxes_ltwh.astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    whole = (rows.marks > 0) & (rows.classes == PEDESTRIAN) & (rows.visibility >= MIN_VISIBILITY)
    crowd = {number: boxes[rows.frames == number] for number in range(1, length + 1)}
    return Sightings(rows.frames[whole], rows.ids[whole], boxes[whole], crowd)


class _Finder:
    """Finds people with an ONNX teacher and follows them with the runtime's tracker."""

    def __init__(self, model: OnnxTeacherModel, fps: float) -> None:
        self._model = model
        self._tracker = Tracker(fps=fps)
        self._crowd: dict[int, Boxes] = {}
        self._rows: list[tuple[int, int, list[float]]] = []

    def look(self, number: int, frame: Frame) -> None:
        """Take in the next frame."""
        seen = self._model.detect(frame)
        found = seen[seen.classes == 0]
        tracks = self._tracker.update(found, frame)
        others = found.boxes_xyxy[found.scores >= MIN_SCORE_OF_OTHERS]
        self._crowd[number] = others if len(others) else tracks.boxes_xyxy
        for identity, box, score in zip(tracks.ids, tracks.boxes_xyxy, tracks.scores, strict=True):
            if score >= MIN_SCORE:
                self._rows.append((number, int(identity), box.tolist()))

    def sightings(self) -> Sightings:
        """Return all that was seen."""
        return Sightings(
            np.array([row[0] for row in self._rows], np.int64),
            np.array([row[1] for row in self._rows], np.int64),
            np.array([row[2] for row in self._rows], np.float32).reshape(-1, 4),
            self._crowd,
        )
