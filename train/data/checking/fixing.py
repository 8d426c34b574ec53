"""Writing what is good of a dataset to a folder of its own.

The folder has the layout of any prepared dataset: links to the folders ``images`` of the original,
label files, lists, and ``dataset.json`` beside them. The original is only read. Left out are

- pictures that are missing, cannot be read, or are listed in a way that cannot be followed, and
  pictures whose label file is no text, since nobody knows what is in them;
- label lines that are wrong; the other lines of the picture stay as they are.

An identity that two boxes of a picture share becomes unknown in that picture, and identities from
``num_ids`` on get the next free numbers.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from runtime.console import progress
from runtime.errors import UserError
from runtime.files import output_directory
from train.data.checking.checking import Check
from train.data.checking.findings import Findings
from train.data.checking.scanning import Limits, Scan, scan_labels
from train.data.index import DatasetIndex, Split, write_list
from train.data.labels import IMAGES, LABELS, UNKNOWN_ID, label_path, split_frame

MANY_FILES = 5000  # about two seconds of writing


@dataclass
class FixedPicture:
    """What a cleaned picture holds: number of boxes, and the known identities among them."""

    boxes: int
    ids: set[int]


def write_fixed(check: Check, folder: Path) -> DatasetIndex:
    """Write a cleaned dataset.

    Args:
        check: A full check, not a quick one.
        folder: The folder to make; it appears under its name only when it is whole.

    Returns:
        The index of the cleaned dataset.

    Raises:
        UserError: The check was quick, the folder is in use or among the dataset's own folders, or
            it cannot be written.
    """
    if check.report.quick:
        raise UserError("a quick check does not know which pictures are whole: fix without --quick")
    final = new_folder(folder, check.listing.root)
    parent = output_directory(final.parent)
    temporary = parent / f".{final.name}.{os.getpid()}.part"
    try:
        temporary.mkdir()
        index = _write(check, temporary, final)
        if final.is_dir():  # empty, as was made sure of
            final.rmdir()
        temporary.replace(final)
    except OSError as error:
        raise UserError(
            f"cannot write {folder} ({error.strerror or error}): choose another place, on a file "
            "system that has symbolic links"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return index


def new_folder(folder: Path, root: Path) -> Path:
    """Return where a cleaned dataset really goes; its relative links are followed from there.

    Args:
        folder: As the user gave it.
        root: The dataset.

    Raises:
        UserError: The folder is in use, or among the dataset's own folders.
    """
    final = folder.resolve()
    if final.is_file() or (final.is_dir() and any(final.iterdir())):
        raise UserError(f"{folder} is not empty: give a new folder for the cleaned dataset")
    for name in (IMAGES, LABELS):
        if (root / name).resolve() in (final, *final.parents):
            raise UserError(f"{folder} is among the dataset's {name}: give a folder beside them")
    return final


def _write(check: Check, folder: Path, final: Path) -> DatasetIndex:
    listing, inspection = check.listing, check.inspection
    usable = {
        picture
        for picture, good in zip(inspection.pictures, inspection.usable.tolist(), strict=True)
        if good
    }
    splits = {
        name: [picture for picture in names if picture in usable]
        for name, names in listing.splits.items()
    }
    _link_images(sorted(usable), listing.root, folder, final)
    numbers = _new_numbers(check)
    written = _write_labels(check, sorted(usable), numbers, folder)
    classes = listing.classes
    if classes is None:
        count = int(inspection.classes.max(initial=0)) + 1
        classes = tuple(f"class{number}" for number in range(count)) if count > 1 else ("object",)
    known = inspection.ids[inspection.ids >= 0].tolist()
    num_ids = listing.num_ids
    if num_ids is None:
        num_ids = max(known, default=-1) + 1
    entries = {}
    for name, names in splits.items():
        list_file = f"{listing.name}.fixed.{name}"
        write_list(folder / list_file, names)
        parts = [written[picture] for picture in names]
        ids = set().union(*(part.ids for part in parts))
        entries[name] = Split(list_file, len(names), sum(part.boxes for part in parts), len(ids))
    index = DatasetIndex(
        root=folder,
        name=listing.name,
        classes=classes,
        num_ids=num_ids + len(numbers),
        splits=entries,
        source=os.path.relpath((listing.root / listing.source).resolve(), final),
        command=f"kd-data check {listing.root} --fix {final.name}",
    )
    index.save()
    return DatasetIndex(**{**vars(index), "root": final})


def _link_images(pictures: list[str], root: Path, folder: Path, final: Path) -> None:
    """Link every folder ``images`` that pictures are in, by a path that survives moving both."""
    for prefix in dict.fromkeys(_images_folder(picture) for picture in pictures):
        (folder / prefix).parent.mkdir(parents=True, exist_ok=True)
        target = os.path.relpath(root.resolve() / prefix, (final / prefix).parent)
        (folder / prefix).symlink_to(target, target_is_directory=True)


def _images_folder(picture: str) -> str:
    """Return the folder ``images`` that a picture is in.

    Examples:
        >>> _images_folder("images/train/a.jpg"), _images_folder("MOT17/images/S1.avi#3")
        ('images', 'MOT17/images')
    """
    parts = PurePosixPath(split_frame(picture)[0]).parts
    return "/".join(parts[: parts.index(IMAGES) + 1])


def _new_numbers(check: Check) -> dict[int, int]:
    """Return numbers for the identities that the index does not count."""
    num_ids = check.listing.num_ids
    if num_ids is None:
        return {}
    beyond = np.unique(check.inspection.ids[check.inspection.ids >= num_ids]).tolist()
    return {identity: num_ids + order for order, identity in enumerate(beyond)}


def _write_labels(
    check: Check, pictures: list[str], numbers: dict[int, int], folder: Path
) -> dict[str, FixedPicture]:
    """Write the label files of the pictures; those without one get none."""
    root = check.listing.root
    classes = check.listing.classes
    limits = Limits(None if classes is None else len(classes), check.listing.num_ids)
    written = {}
    with progress(shown=len(pictures) >= MANY_FILES) as bar:
        task = bar.add_task("writing labels", total=len(pictures))
        for picture in pictures:
            bar.advance(task)
            name = label_path(picture)
            scan = scan_labels(root / name, name, limits, Findings())
            if scan is None:
                raise UserError(f"{root / name} has changed since it was checked: check again")
            text, ids = _cleaned(scan, numbers)
            written[picture] = FixedPicture(len(scan.labels), ids)
            if (root / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text, encoding="utf-8")
    return written


def _cleaned(scan: Scan, numbers: dict[int, int]) -> tuple[str, set[int]]:
    """Return the text of a label file, and the known identities in it."""
    ids = np.where(scan.ambiguous | (scan.labels.ids < 0), UNKNOWN_ID, scan.labels.ids)
    ids = np.array([numbers.get(identity, identity) for identity in ids.tolist()], np.int64)
    lines = [
        f"{label} {identity} {box}\n"
        for label, identity, box in zip(
            scan.labels.classes.tolist(), ids.tolist(), scan.boxes_text, strict=True
        )
    ]
    return "".join(lines), set(ids[ids >= 0].tolist())
