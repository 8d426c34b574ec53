"""FairMOT's label files: one text file per picture, beside the picture's folder.

A picture's labels stand where its path has ``labels_with_ids`` for ``images``, so
``images/train/S1/img1/000001.jpg`` has ``labels_with_ids/train/S1/img1/000001.txt``. A frame of a
video that was never unpacked is written ``images/train/S1.avi#1``, counted from 1, and has the same
label file as if it had been.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError

IMAGES = "images"
LABELS = "labels_with_ids"
UNKNOWN_ID = -1


@dataclass
class Labels:
    """The objects of one picture.

    Attributes:
        classes: ``[M]`` int64.
        ids: ``[M]`` int64, ``UNKNOWN_ID`` where unknown.
        boxes_cxcywh: ``[M, 4]`` float64: centre x, y, width, height, as shares of the picture's
            width and height. A box may reach out of the picture.
    """

    classes: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    boxes_cxcywh: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def empty(cls) -> Labels:
        """Return the labels of a picture without objects."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)))

    @classmethod
    def from_ltwh(
        cls,
        boxes_ltwh: npt.NDArray[np.float64],
        size_wh: tuple[int, int],
        ids: npt.NDArray[np.int64],
        classes: npt.NDArray[np.int64] | None = None,
    ) -> Labels:
        """Make labels of boxes in pixels.

        Args:
            boxes_ltwh: ``[M, 4]`` left, top, width, height in pixels.
            size_wh: Width and height of the picture in pixels.
            ids: ``[M]``.
            classes: ``[M]``; None means class 0.
        """
        scale = np.array([*size_wh, *size_wh], np.float64)
        boxes = np.asarray(boxes_ltwh, np.float64).reshape(-1, 4)
        centres = boxes[:, :2] + boxes[:, 2:] / 2
        return cls(
            np.zeros(len(boxes), np.int64) if classes is None else classes.astype(np.int64),
            np.asarray(ids, np.int64),
            np.concatenate([centres, boxes[:, 2:]], axis=1) / scale,
        )

    def boxes_xyxy(self, size_wh: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Return the boxes in pixels of a picture of this size, ``[M, 4]`` float32."""
        scale = np.array(size_wh, np.float64)
        centres, halves = self.boxes_cxcywh[:, :2] * scale, self.boxes_cxcywh[:, 2:] * scale / 2
        return np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)

    def to_text(self) -> str:
        """Return the lines ``class id x_center y_center w h`` with six decimals, as FairMOT's."""
        return "".join(
            f"{label} {identity} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n"
            for label, identity, (x, y, w, h) in zip(
                self.classes, self.ids, self.boxes_cxcywh, strict=True
            )
        )


def split_frame(picture: str) -> tuple[str, int | None]:
    """Split a picture's path from the number of a video's frame, counted from 1.

    Examples:
        >>> split_frame("images/train/S1.avi#12"), split_frame("images/a#b.jpg")
        (('images/train/S1.avi', 12), ('images/a#b.jpg', None))
    """
    path, separator, number = picture.rpartition("#")
    if separator and number.isdecimal():
        return path, int(number)
    return picture, None


def label_path(picture: str) -> str:
    """Return where the labels of a picture stand.

    Args:
        picture: Its path with forward slashes; the first folder called ``images`` counts.

    Raises:
        UserError: No folder in it is.

    Examples:
        >>> label_path("images/train/S1/img1/000001.jpg")
        'labels_with_ids/train/S1/img1/000001.txt'
        >>> label_path("images/train/S1.avi#12")
        'labels_with_ids/train/S1/img1/000012.txt'
    """
    path, frame = split_frame(picture)
    parts = list(PurePosixPath(path).parts)
    if IMAGES not in parts[:-1]:
        raise UserError(
            f"picture {picture} is in no folder called {IMAGES}: its labels have no place"
        )
    parts[parts.index(IMAGES)] = LABELS
    stem = PurePosixPath(*parts).with_suffix("")
    return f"{stem}/img1/{frame:06d}.txt" if frame is not None else f"{stem}.txt"


def read_labels(file: Path) -> Labels:
    """Read a label file; a missing or empty one has no objects.

    Raises:
        UserError: A line does not parse, or a number in it is not finite; the message names it.
    """
    table = _read_rows(file, "class id x_center y_center w h")
    return Labels(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:])


def read_yolo_labels(file: Path) -> Labels:
    """Read a label file of YOLO's, which knows no identities; a missing one has no objects.

    Raises:
        UserError: A line does not parse, or a number in it is not finite; the message names it.
    """
    table = _read_rows(file, "class x_center y_center w h")
    classes = table[:, 0].astype(np.int64)
    return Labels(classes, np.full(len(table), UNKNOWN_ID, np.int64), table[:, 1:])


def _read_rows(file: Path, columns: str) -> npt.NDArray[np.float64]:
    """Read lines of numbers, the last four being a box and those before it whole numbers."""
    count = len(columns.split())
    if not file.exists():
        return np.zeros((0, count))
    content = file.read_bytes()
    if not content.strip():
        return np.zeros((0, count))
    try:
        # Five times as fast as line by line, which a file with a fault is read by, for its message.
        table = np.loadtxt(io.BytesIO(content), comments=None, ndmin=2, encoding="utf-8")
    except ValueError:
        table = np.zeros((0, 0))
    if table.shape[1] == count and all(_is_row(row) for row in table.tolist()):
        return table
    return _read_lines(file, content, columns)


def _read_lines(file: Path, content: bytes, columns: str) -> npt.NDArray[np.float64]:
    count = len(columns.split())
    rows = []
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not a text file: write the labels again") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = [float(cell) for cell in line.split()]
        except ValueError:
            row = []
        if len(row) != count or not _is_row(row):
            raise UserError(f"{file}, line {number}: expected '{columns}', found {line[:60]!r}")
        rows.append(row)
    return np.array(rows, np.float64).reshape(-1, count)


def _is_row(row: list[float]) -> bool:
    """Tell whether numbers are finite, the class is none below 0, and class and identity whole."""
    return (
        all(map(math.isfinite, row))
        and row[0] >= 0
        and all(value == int(value) for value in row[:-4])
    )
