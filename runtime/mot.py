"""The MOTChallenge formats: ground truth and result rows, and ``seqinfo.ini``.

Source: https://motchallenge.net/instructions. Boxes are kept as the files hold them: left, top and
size in pixels, not shifted by the format's count from 1.
"""

from __future__ import annotations

import configparser
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.files import existing_file


@dataclass
class MotRows:
    """Rows of one MOTChallenge file, sorted by frame.

    Attributes:
        frames: ``[N]`` int64, counted from 1.
        ids: ``[N]`` int64 identities; -1 where the file gives none.
        boxes_ltwh: ``[N, 4]`` float64, left, top, width, height in pixels.
        marks: ``[N]`` float64: the seventh column. Score in results; in ground truth 0 means that
            the row does not count.
        classes: ``[N]`` int64: the eighth column where a ground-truth file has nine or fewer
            columns (MOT16 and later), else 1 (pedestrian).
        visibility: ``[N]`` float64 in 0..1: the ninth column of such a file, else 1.
    """

    frames: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    boxes_ltwh: npt.NDArray[np.float64]
    marks: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]
    visibility: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> MotRows:
        """Return the rows that a mask or an index array selects."""
        return MotRows(
            self.frames[index],
            self.ids[index],
            self.boxes_ltwh[index],
            self.marks[index],
            self.classes[index],
            self.visibility[index],
        )


@dataclass(frozen=True)
class SequenceInfo:
    """``seqinfo.ini``: name, frame rate in Hz, number of frames, frame size in pixels."""

    name: str
    fps: float
    length: int
    size_wh: tuple[int, int]
    image_dir: str = "img1"
    image_extension: str = ".jpg"


def read_mot(path: str | os.PathLike[str], what: str = "MOTChallenge file") -> MotRows:
    """Read a ground-truth or result file.

    Args:
        path: Text file with comma-separated rows of 6 to 10 columns.
        what: What the file is, for error messages.

    Returns:
        Its rows sorted by frame; an empty file gives no rows.

    Raises:
        UserError: A row does not parse; the message names its line.
    """
    file = existing_file(path, what)
    rows: list[list[float]] = []
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{what} {file} is not a text file: give a MOTChallenge text file"
        ) from error
    columns = 0
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = [float(cell) for cell in line.split(",")]
        except ValueError:
            values = []
        if len(values) < 6 or not all(map(math.isfinite, values[:6])) or values[0] < 1:
            raise UserError(
                f"{what} {file}, line {number}: expected frame,id,left,top,width,height,... "
                f"and found {line[:60]!r}"
            )
        columns = max(columns, len(values))
        rows.append((values + [1.0, -1.0, -1.0, -1.0][len(values) - 6 :])[:10])
    table = np.array(rows, np.float64).reshape(-1, 10)
    table = table[np.argsort(table[:, 0], kind="stable")]
    # MOT15 and result files have ten columns: world coordinates stand where class and visibility
    # stand in the nine columns of MOT16 and later.
    has_classes = columns in (8, 9)
    return MotRows(
        frames=table[:, 0].astype(np.int64),
        ids=table[:, 1].astype(np.int64),
        boxes_ltwh=table[:, 2:6],
        marks=table[:, 6],
        classes=table[:, 7].astype(np.int64) if has_classes else np.ones(len(table), np.int64),
        visibility=table[:, 8] if columns == 9 else np.ones(len(table)),
    )


def check_unique_ids(rows: MotRows, file: Path) -> None:
    """Prove that an identity occurs once per frame, as every metric needs it.

    Args:
        rows: The rows.
        file: Where they come from, for the message.

    Raises:
        UserError: One occurs more often.
    """
    keys = np.stack([rows.frames, rows.ids], axis=1)
    known, counts = np.unique(keys, axis=0, return_counts=True)
    repeated = np.flatnonzero(counts > 1)
    if len(repeated):
        frame, identity = known[repeated[0]]
        raise UserError(
            f"{file}, frame {frame}: identity {identity} occurs {counts[repeated[0]]} times, and "
            "each may occur once per frame: correct the file"
        )


def read_sequence_info(path: str | os.PathLike[str]) -> SequenceInfo:
    """Read a ``seqinfo.ini``.

    Args:
        path: The file.

    Raises:
        UserError: It lacks a section or key, or a value is not a number.
    """
    file = existing_file(path, "sequence description")
    parser = configparser.ConfigParser()
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
        section = parser["Sequence"]
        return SequenceInfo(
            name=section.get("name", file.parent.name),
            fps=float(section["frameRate"]),
            length=int(section["seqLength"]),
            size_wh=(int(section["imWidth"]), int(section["imHeight"])),
            image_dir=section.get("imDir", "img1"),
            image_extension=section.get("imExt", ".jpg"),
        )
    except (configparser.Error, KeyError, ValueError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file} is not a whole seqinfo.ini ({error}): it needs a [Sequence] section with "
            "frameRate, seqLength, imWidth and imHeight"
        ) from error


def write_sequence_info(directory: Path, info: SequenceInfo) -> None:
    """Write ``seqinfo.ini`` into ``directory``."""
    fps = int(info.fps) if float(info.fps).is_integer() else info.fps
    (directory / "seqinfo.ini").write_text(
        "[Sequence]\n"
        f"name={info.name}\nimDir={info.image_dir}\nframeRate={fps}\nseqLength={info.length}\n"
        f"imWidth={info.size_wh[0]}\nimHeight={info.size_wh[1]}\nimExt={info.image_extension}\n",
        encoding="utf-8",
    )
