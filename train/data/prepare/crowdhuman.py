"""CrowdHuman: pictures of crowds with full, visible and head boxes (arXiv 1805.00123).

As published there are ``annotation_train.odgt`` and ``annotation_val.odgt``, a JSON object a line,
and the pictures in ``CrowdHuman_train01/Images`` to ``03`` and ``CrowdHuman_val/Images``. FairMOT
lays the pictures out as ``images/train`` and ``images/val``; one folder ``Images`` for all is met
as well.

Full boxes are taken. Ignore regions (groups, reflections, statues: tag ``mask``, or ``ignore`` set)
are not persons and are left out. For FairMOT's self-supervised pretraining (arXiv 2004.01888,
section 4.5) every person is an identity of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from runtime.console import progress
from runtime.errors import UserError
from runtime.files import existing_file
from train.data.prepare.base import Collection, Options, wrong_layout
from train.data.prepare.photos import Annotated, Photos, collect_photos, has_pictures
from train.data.prepare.ready import collect_ready

SPLITS = ("train", "val")
# Bytes; reading them takes about a second.
LARGE_FILE = 30_000_000


def collect(root: Path, options: Options) -> Collection:
    """Read CrowdHuman.

    Args:
        root: Folder with the annotations and the pictures.
        options: ``identities`` set to False makes every identity unknown, for mixes that do not
            train re-identification on it.

    Raises:
        UserError: The folder is laid out in another way, or an annotation is damaged.
    """
    files = {split: root / f"annotation_{split}.odgt" for split in SPLITS}
    files = {split: file for split, file in files.items() if file.is_file()}
    if not files:
        ready = collect_ready(root, options)
        if ready is not None:
            return ready
        raise wrong_layout("crowdhuman", root, ["annotation_train.odgt", "annotation_val.odgt"])
    photos: list[Photos] = []
    for split, file in files.items():
        annotated = list(read_odgt(file, options.identities is not False))
        photos += _by_folder(root, split, annotated)
    return collect_photos(photos)


def read_odgt(file: Path, identities: bool = True) -> Iterator[Annotated]:
    """Read the full boxes of an annotation file.

    Args:
        file: ``annotation_SPLIT.odgt``.
        identities: Whether persons are numbered 0, 1, ... in the order of the file; else all are
            unknown.

    Yields:
        One per line. Boxes keep their full extent, which reaches out of the picture often.

    Raises:
        UserError: A line does not parse; the message names it.
    """
    number = 0
    with (
        existing_file(file, "annotation file").open("rb") as handle,
        progress(transient=True, shown=file.stat().st_size >= LARGE_FILE) as bar,
    ):
        for line_number, line in enumerate(
            bar.track(handle, total=_lines(file), description=f"reading {file.name}"), 1
        ):
            if not line.strip():
                continue
            try:
                entry = _read_entry(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{file}, line {line_number}: expected an object with ID and gtboxes, each "
                    f"with tag and fbox ({type(error).__name__}: {error})"
                ) from error
            if identities:
                entry.ids = np.arange(number, number + len(entry.ids))
                number += len(entry.ids)
            yield entry


def _read_entry(content: dict[str, Any]) -> Annotated:
    boxes = content["gtboxes"]
    ltwh = np.array([box["fbox"] for box in boxes], np.float64).reshape(-1, 4)
    if not np.isfinite(ltwh).all() or len(ltwh) != len(boxes):
        raise ValueError("a box is not four numbers")
    persons = np.array([not _is_ignored(box) for box in boxes], bool)
    return Annotated.without_ids(f"{content['ID']}.jpg", ltwh).keep(persons, "ignore region")


def _is_ignored(box: dict[str, Any]) -> bool:
    return box["tag"] != "person" or box.get("extra", {}).get("ignore", 0) == 1


def _lines(file: Path) -> int:
    with file.open("rb") as handle:
        return sum(1 for _ in handle)


def _by_folder(root: Path, split: str, annotated: list[Annotated]) -> list[Photos]:
    """Return the pictures of a split, one entry for each published folder."""
    scope = f"crowdhuman/{split}"
    several = sorted(root.glob(f"CrowdHuman_{split}*/Images"))
    if several:
        where = {file.name: folder for folder in several for file in folder.iterdir()}
        by_folder: dict[Path, list[Annotated]] = {folder: [] for folder in several}
        for entry in annotated:
            by_folder[where.get(entry.picture, several[-1])].append(entry)
        return [
            Photos(split, f"images/{split}/{folder.parent.name}", folder, entries, scope)
            for folder, entries in by_folder.items()
        ]
    single = root / "Images"
    folder = single if has_pictures(single) else root / "images" / split
    return [Photos(split, f"images/{split}", folder, annotated, scope)]
