"""Where training pictures come from: MOTChallenge sequences and folders of photographs.

A source keeps its pictures in memory as JPEG, which is what fits: a thousand frames take 80 MB, and
one takes about 2 ms to decode.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.console import progress
from runtime.errors import UserError
from runtime.mot import read_mot
from runtime.opencv import cv2
from runtime.sources import open_source
from train.config import DataConfig, PhotoDataConfig
from train.data.sample import Sample

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
JPEG_QUALITY = 92
MOT_PEDESTRIAN = 1
LONG_SEQUENCE = 300  # frames; reading them takes about a second


class PictureSource(ABC):
    """Labelled pictures with random access.

    Attributes:
        name: For messages.
        num_ids: Identities it knows; they are numbered ``0 .. num_ids - 1``.
    """

    name: str
    num_ids: int

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of pictures."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Return a picture with its labels."""


class MotSource(PictureSource):
    """A MOTChallenge sequence with ground truth.

    Rows with mark 0 and, where the file tells classes, rows that are not pedestrians are left out.

    Args:
        directory: Folder with ``gt/gt.txt``, and frames as ``img1/`` or one video.
        frames: First and last frame to use, counted from 1; None for all.
        every: Use every n-th frame.
        min_visibility: Rows below it are left out: nobody could see that person.
        longest_side: Pictures are shrunk to it, in pixels; 0 keeps them.

    Raises:
        UserError: The folder is not a sequence with ground truth.
    """

    def __init__(
        self,
        directory: Path,
        *,
        frames: tuple[int, int] | None = None,
        every: int = 1,
        min_visibility: float = 0.1,
        longest_side: int = 0,
    ) -> None:
        self.name = directory.name
        rows = read_mot(directory / "gt" / "gt.txt", "ground truth")
        keep = (rows.marks > 0) & (rows.classes == MOT_PEDESTRIAN)
        rows = rows[keep & (rows.visibility >= min_visibility)]
        identities, numbered = np.unique(rows.ids, return_inverse=True)
        self.num_ids = len(identities)
        self._pictures: list[npt.NDArray[np.uint8]] = []
        self._labels: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]] = []
        first, last = frames or (1, 1 << 60)
        with open_source(directory) as source, progress(transient=True) as bar:
            # Many short sequences would only make the screen flicker.
            bar.disable = (source.length or 0) < LONG_SEQUENCE
            task = bar.add_task(f"reading {self.name}", total=source.length)
            for number, frame in enumerate(source, 1):
                bar.advance(task)
                if number > last:
                    break
                if number < first or (number - first) % every:
                    continue
                shrunk, scale = _shrink(frame, longest_side)
                self._pictures.append(_encode(shrunk))
                now = rows.frames == number
                boxes = rows.boxes_ltwh[now].astype(np.float32)
                boxes[:, 2:] += boxes[:, :2]
                self._labels.append((boxes * scale, numbered[now].astype(np.int64)))
        if not self._pictures:
            raise UserError(f"{directory} has no frame in {frames}: check the range")

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Sample:
        boxes, ids = self._labels[index]
        picture = _decode(self._pictures[index], f"frame {index} of {self.name}")
        return Sample(picture, boxes.copy(), np.zeros_like(ids), ids.copy())


class JoinedSource(PictureSource):
    """Several sources as one; identities of different sources stay different.

    Args:
        name: For messages.
        parts: The sources.
    """

    def __init__(self, name: str, parts: Sequence[PictureSource]) -> None:
        self.name = name
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self._first_ids = np.cumsum([0, *(part.num_ids for part in parts)])
        self.num_ids = int(self._first_ids[-1])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:
        which = int(np.searchsorted(self._ends, index, side="right"))
        part = self._parts[which]
        sample = part[index - int(self._ends[which]) + len(part)]
        sample.ids = np.where(sample.ids >= 0, sample.ids + self._first_ids[which], -1)
        return sample


class PhotoSource(PictureSource):
    """Photographs with boxes in YOLO text: ``class x_center y_center w h``, normalised.

    Looks for ``ROOT/images/SPLIT/*`` and ``ROOT/labels/SPLIT/*.txt``. No identities.

    Args:
        root: The dataset's folder.
        split: Name of the split.

    Raises:
        UserError: There are no pictures, or a label line does not parse.
    """

    num_ids = 0

    def __init__(self, root: Path, split: str = "train") -> None:
        self.name = f"{root.name}/{split}"
        folder = root / "images" / split
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder of images: check the path and the split")
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise UserError(f"{folder} holds no images: check the path and the split")
        self._pictures = [np.fromfile(file, np.uint8) for file in files]
        self._files = files
        self._boxes = [_read_yolo(root / "labels" / split / f"{file.stem}.txt") for file in files]

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Sample:
        image = _decode(self._pictures[index], str(self._files[index]))
        height, width = image.shape[:2]
        boxes = self._boxes[index] * np.array([width, height, width, height], np.float32)
        count = len(boxes)
        return Sample(image, boxes, np.zeros(count, np.int64), np.full(count, -1, np.int64))


def _read_yolo(file: Path) -> npt.NDArray[np.float32]:
    """Return the boxes of a label file as normalised xyxy ``[M, 4]``; a missing file has none."""
    if not file.exists():
        return np.zeros((0, 4), np.float32)
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            _, x_center, y_center, width, height = (float(cell) for cell in line.split())
        except ValueError as error:
            raise UserError(
                f"{file}, line {number}: expected 'class x_center y_center w h', "
                f"found {line[:60]!r}"
            ) from error
        rows.append(
            (
                x_center - width / 2,
                y_center - height / 2,
                x_center + width / 2,
                y_center + height / 2,
            )
        )
    return np.array(rows, np.float32).reshape(-1, 4)


def _shrink(image: npt.NDArray[np.uint8], longest_side: int) -> tuple[npt.NDArray[np.uint8], float]:
    """Shrink a picture so that its longest side is ``longest_side``; return it and the scale."""
    scale = longest_side / max(image.shape[:2]) if longest_side else 1.0
    if scale >= 1.0:
        return image, 1.0
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def _encode(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(
        cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1], np.uint8
    )


def _decode(encoded: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.uint8]:
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if len(encoded) else None
    if image is None:
        raise UserError(f"{name} is not a readable image: remove or replace it")
    return np.asarray(image, np.uint8)


def open_pictures(entry: DataConfig) -> PictureSource:
    """Open the source that a configuration entry describes.

    Args:
        entry: The entry. The path of a ``mot`` entry is a sequence, or a folder of sequences.

    Raises:
        UserError: There is no such data.
    """
    if isinstance(entry, PhotoDataConfig):
        return PhotoSource(entry.path, entry.split)
    directory = entry.path
    if not directory.is_dir():
        raise UserError(f"{directory} is not a folder: give a MOTChallenge sequence")
    if (directory / "gt" / "gt.txt").exists():
        return MotSource(directory, frames=entry.frames, every=entry.every)
    sequences = sorted(file.parents[1] for file in directory.glob("*/gt/gt.txt"))
    if not sequences:
        raise UserError(f"{directory} holds no gt/gt.txt: give a MOTChallenge sequence")
    parts = [MotSource(part, frames=entry.frames, every=entry.every) for part in sequences]
    return JoinedSource(directory.name, parts)
