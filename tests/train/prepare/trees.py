"""Small datasets laid out as the published ones, and what a prepared one holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from runtime.mot import SequenceInfo, write_sequence_info
from train.data.labels import Labels, label_path, read_labels

SIZE = (64, 48)
PICTURE = cv2.imencode(".jpg", np.zeros((SIZE[1], SIZE[0], 3), np.uint8))[1].tobytes()


def make_sequence(
    folder: Path,
    rows: Iterable[str],
    frames: int = 4,
    *,
    size_wh: tuple[int, int] | None = SIZE,
    digits: int = 6,
) -> Path:
    """Make a sequence of black pictures; without a size it has no ``seqinfo.ini``."""
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    for number in range(1, frames + 1):
        (folder / "img1" / f"{number:0{digits}d}.jpg").write_bytes(PICTURE)
    (folder / "gt" / "gt.txt").write_text("".join(f"{row}\n" for row in rows))
    if size_wh:
        write_sequence_info(folder, SequenceInfo(folder.name, 25, frames, size_wh))
    return folder


def contents(folder: Path) -> dict[str, bytes | str]:
    """Return the bytes of every file and the target of every link, links not followed."""
    found: dict[str, bytes | str] = {}
    for entry in sorted(folder.rglob("*")):
        name = entry.relative_to(folder).as_posix()
        if entry.is_symlink():
            found[name] = str(entry.readlink())
        elif entry.is_file():
            found[name] = entry.read_bytes()
    return found


def labels_of(out: Path, picture: str) -> Labels:
    """Return the labels of a picture of a prepared dataset; their file must be there."""
    file = out / label_path(picture)
    assert file.is_file(), file
    return read_labels(file)
