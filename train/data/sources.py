"""Where training pictures come from, and the sources that are small enough for memory.

MOTChallenge sequences and folders of photographs are kept as JPEG: a thousand frames take 80 MB,
and one takes about 2 ms to decode. Prepared datasets (``train.data.prepared``) stay on disk.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.console import progress
from runtime.errors import UserError
from runtime.mot import read_mot
from runtime.opencv import cv2
from runtime.sources import open_source
from train.data.config import (
    DataConfig,
    DatasetDataConfig,
    MixDataConfig,
    PhotoDataConfig,
    UnlabelledDataConfig,
)
from train.data.labels import read_yolo_labels
from train.data.mix import open_mix
from train.data.pictures import (
    JoinedSource,
    PictureSource,
    decode_picture,
    encode_picture,
)
from train.data.prepared import open_dataset
from train.data.sample import Sample
from train.data.unlabelled import WithoutLabels, open_unlabelled

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
JPEG_QUALITY = 92
MOT_PEDESTRIAN = 1
LONG_SEQUENCE = 300  # frames; reading them takes about a second


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
        self.people = {(self.name, int(each)): place for place, each in enumerate(identities)}
        self._pictures: list[npt.NDArray[np.uint8]] = []
        self._labels: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]] = []
        first, last = frames or (1, 1 << 60)
        with ExitStack() as opened:
            source = opened.enter_context(open_source(directory))
            # Many short sequences would only make the screen flicker.
            long = (source.length or 0) >= LONG_SEQUENCE
            bar = opened.enter_context(progress(transient=True, shown=long))
            task = bar.add_task(f"reading {self.name}", total=source.length)
            for number, frame in enumerate(source, 1):
                bar.advance(task)
                if number > last:
                    break
                if number < first or (number - first) % every:
                    continue
                shrunk, scale = _shrink(frame, longest_side)
                self._pictures.append(encode_picture(shrunk, JPEG_QUALITY))
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
        picture = decode_picture(self._pictures[index], f"frame {index} of {self.name}")
        return Sample(picture, boxes.copy(), np.zeros_like(ids), ids.copy())


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
        labels = root / "labels" / split
        self._labels = [read_yolo_labels(labels / f"{file.stem}.txt") for file in files]
        self.num_classes = 1 + max(int(each.classes.max(initial=0)) for each in self._labels)

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Sample:
        image = decode_picture(self._pictures[index], str(self._files[index]))
        labels = self._labels[index]
        boxes = labels.boxes_xyxy((image.shape[1], image.shape[0]))
        return Sample(image, boxes, labels.classes.copy(), labels.ids.copy())


def _shrink(image: npt.NDArray[np.uint8], longest_side: int) -> tuple[npt.NDArray[np.uint8], float]:
    """Shrink a picture so that its longest side is ``longest_side``; return it and the scale."""
    scale = longest_side / max(image.shape[:2]) if longest_side else 1.0
    if scale >= 1.0:
        return image, 1.0
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def open_pictures(entry: DataConfig) -> PictureSource:
    """Open what a configuration entry describes as one source.

    Args:
        entry: The entry. The path of a ``mot`` entry is a sequence, or a folder of sequences.

    Raises:
        UserError: There is no such data.
    """
    source = _open(entry)
    return source if entry.labels or not source.labelled else WithoutLabels(source)


def _open(entry: DataConfig) -> PictureSource:
    """Open what a configuration entry describes as one source, with labels where it has any."""
    if isinstance(entry, UnlabelledDataConfig):
        pictures = open_unlabelled(entry.path, entry.ranges, entry.every, entry.video_cache_mb)
        pictures.fixtures_xyxy = entry.fixtures
        return pictures
    if isinstance(entry, MixDataConfig):
        return JoinedSource(entry.path.stem, [part.source for part in open_mix(entry)])
    if isinstance(entry, DatasetDataConfig):
        return open_dataset(entry.path, entry.split, entry.every, entry.video_cache_mb)
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


def open_weighted(entry: DataConfig) -> list[tuple[PictureSource, float]]:
    """Open the sources of an entry, each with its share of the entry's weight.

    Raises:
        UserError: There is no such data.
    """
    if not isinstance(entry, MixDataConfig):
        return [(open_pictures(entry), entry.weight)]
    parts = open_mix(entry)
    total = sum(part.weight for part in parts)
    return [
        (
            part.source if entry.labels else WithoutLabels(part.source),
            entry.weight * part.weight / total,
        )
        for part in parts
    ]
