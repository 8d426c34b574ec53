"""ETH pedestrians: boxes in video from a stroller (Ess et al., ICCV 2007 and CVPR 2008).

As published, a sequence has its left camera's pictures in ``seqXX/left/image_00000000_0.png`` and
its annotation in an ``.idl`` file, a line per annotated picture::

    "left/image_00000000_0.png": (x1, y1, x2, y2):score, (...);

Some annotations leave out the ``_0`` of the file's name, or give corners in the other order; both
are put right. Only annotated pictures are taken, since some sequences are annotated in every fourth
picture only. There are no identities. Some of the sequences are part of MOTChallenge 2015 to 2017
as well; the distribution that FairMOT uses leaves those out.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np

from runtime.errors import UserError
from runtime.files import existing_file
from runtime.sources.images import natural_key
from train.data.prepare.base import Collection, Options, wrong_layout
from train.data.prepare.photos import Annotated, Photos, collect_photos
from train.data.prepare.ready import collect_ready

NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
BOX = re.compile(rf"\({NUMBER},{NUMBER},{NUMBER},{NUMBER}\)(?:\s*[:~]\s*-?\d+(?:\.\d+)?)?")
LINE = re.compile(r'"(?P<picture>[^"]+)"\s*(?::\s*(?P<boxes>.*?))?\s*[;.]?')


def collect(root: Path, options: Options) -> Collection:
    """Read the sequences of ETH; all belong to the split ``train``.

    Args:
        root: Folder of the sequences, or of one.
        options: Not looked at.

    Raises:
        UserError: The folder is laid out in another way, or an annotation is damaged.
    """
    files = sorted(root.glob("*/*.idl")) or sorted(root.glob("*.idl"))
    if not files:
        ready = collect_ready(root, options)
        if ready is not None:
            return ready
        raise wrong_layout("eth", root, ["seqXX/*.idl with seqXX/left/image_00000000_0.png"])
    sequences: dict[Path, Path] = {}
    for file in files:
        if file.parent in sequences:
            raise UserError(
                f"{file.parent} has the annotations {sequences[file.parent].name} and {file.name}: "
                "keep one"
            )
        sequences[file.parent] = file
    return collect_photos([_sequence(folder, file) for folder, file in sequences.items()])


def read_idl(file: Path) -> list[Annotated]:
    """Read an annotation file.

    Args:
        file: The file.

    Returns:
        One per line, without the picture's folder.

    Raises:
        UserError: A line does not parse; the message names it.
    """
    try:
        lines = existing_file(file, "annotation file").read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not a text file: copy the annotations again") from error
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(_read_line(line.strip()))
        except ValueError as error:
            raise UserError(
                f"{file}, line {number}: expected '\"left/picture.png\": (x1, y1, x2, y2), ...;', "
                f"found {line[:60]!r}"
            ) from error
    return found


def _read_line(line: str) -> Annotated:
    match = LINE.fullmatch(line)
    boxes = match["boxes"] or "" if match else ""
    if match is None or BOX.sub("", boxes).strip(" ,"):
        raise ValueError("not a line of an idl file")
    corners = np.array(BOX.findall(boxes), np.float64).reshape(-1, 2, 2)
    low, high = corners.min(axis=1), corners.max(axis=1)
    return Annotated.without_ids(
        PurePosixPath(match["picture"]).name, np.concatenate([low, high - low], axis=1)
    )


def _sequence(folder: Path, file: Path) -> Photos:
    annotated = read_idl(file)
    pictures = folder / "left" if (folder / "left").is_dir() else folder
    for entry in annotated:
        path = PurePosixPath(entry.picture)
        published = f"{path.stem}_0{path.suffix}"
        if not (pictures / entry.picture).exists() and (pictures / published).exists():
            entry.picture = published
    annotated.sort(key=lambda entry: natural_key(entry.picture))
    name = folder.resolve().name
    return Photos("train", f"images/train/{name}", pictures, annotated, is_sequence=True)
