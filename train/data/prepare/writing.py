"""Writing labels, lists and links so that a prepared dataset is whole whenever it has an index.

Labels of a part are written to a temporary folder that takes its name when it is whole; lists and
links are replaced one by one; the index comes last. The first change to anything an existing index
speaks of removes that index, so an interrupted run never leaves one that is wrong. What is there
already and right is left alone, and a second run completes an interrupted one to the same bytes.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import UserError
from train.data.index import INDEX_FILE, write_list
from train.data.labels import IMAGES, LABELS, label_path
from train.data.prepare.base import MARK_FILE, Part

MARK_TEXT = "Written by kd-data prepare, which may replace anything in this folder.\n"
# .NAME.PROCESS.part and a suffix, as atomic_path makes them, and what output_directory tries.
TEMPORARY_NAME = re.compile(r"\..+\.[0-9]+\.part(\.\w+)?|\.write-probe-[0-9]+")


def sweep(parts: Sequence[Part], out: Path) -> None:
    """Remove what a killed run left under temporary names."""
    linked = {(out / place).parent for part in parts for place in part.links}
    labelled = {
        (out / label_folder(part.folder)).parent for part in parts if not part.labels_published
    }
    for folder in {out, *linked, *labelled}:
        if not folder.is_dir():
            continue
        for entry in folder.iterdir():
            if not TEMPORARY_NAME.fullmatch(entry.name):
                continue
            if entry.is_symlink() or (folder == out and entry.is_file()):
                entry.unlink()
            elif folder in labelled or entry.name.startswith(f".{LABELS}."):
                shutil.rmtree(entry)


def claim_labels(out: Path) -> None:
    """Make the folder of labels, or refuse one that somebody else filled."""
    folder = out / LABELS
    if (folder / MARK_FILE).is_file():
        return
    if folder.is_symlink() or (folder.exists() and any(folder.iterdir())):
        raise UserError(
            f"{folder} holds labels that kd-data did not write: give another folder with --out"
        )
    temporary = out / f".{LABELS}.{os.getpid()}.part"
    temporary.mkdir()
    (temporary / MARK_FILE).write_text(MARK_TEXT, encoding="utf-8")
    temporary.replace(folder)


def link(out: Path, place: str, published: Path) -> None:
    """Make ``out/place`` a relative symbolic link to ``published``, if it is not that itself."""
    final = out / place
    target = Path(os.path.realpath(published))
    if not final.is_symlink() and final.exists():
        if final.samefile(target):
            return
        raise UserError(f"{final} is in the way of a link to {published}: remove it or use --out")
    final.parent.mkdir(parents=True, exist_ok=True)
    relative = os.path.relpath(target, os.path.realpath(final.parent))
    if final.is_symlink():
        if str(final.readlink()) == relative:
            return
        (out / INDEX_FILE).unlink(missing_ok=True)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        temporary.symlink_to(relative)
    except OSError as error:
        raise UserError(
            f"cannot make the link {final} ({error.strerror or error}): choose a folder with "
            "--out on a file system that has symbolic links"
        ) from error
    temporary.replace(final)


def label_files(part: Part) -> dict[str, str]:
    """Return the text of each label file by its path below the part's label folder.

    Raises:
        UserError: Two pictures have the same label file.
    """
    prefix = len(label_folder(part.folder)) + 1
    texts: dict[str, str] = {}
    for picture, labels in zip(part.pictures, part.labels, strict=True):
        name = label_path(picture)[prefix:]
        if name in texts:
            raise UserError(
                f"{picture} and another picture that differs in the suffix alone would share "
                "their labels: rename one of them"
            )
        texts[name] = labels.to_text()
    return texts


def label_folder(folder: str) -> str:
    """Return where the labels of a folder of pictures stand.

    Examples:
        >>> label_folder("images/train/S1")
        'labels_with_ids/train/S1'
    """
    return folder.replace(IMAGES, LABELS, 1)


def write_label_folder(out: Path, folder: str, texts: dict[str, str]) -> None:
    """Write the label files of one part as a whole, unless they are there already.

    Args:
        out: Folder of the prepared dataset.
        folder: The part's folder of pictures.
        texts: Text of each file, by its path below the part's label folder.
    """
    final = out / label_folder(folder)
    if _holds(final, texts):
        return
    if final.exists():
        (out / INDEX_FILE).unlink(missing_ok=True)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.part")
    temporary.mkdir()
    folders = {temporary}
    for name, text in texts.items():
        file = temporary / name
        if file.parent not in folders:
            file.parent.mkdir(parents=True, exist_ok=True)
            folders.add(file.parent)
        file.write_text(text, encoding="utf-8")
    if final.exists():
        old = final.with_name(f".{final.name}.old.{os.getpid()}.part")
        final.replace(old)
        temporary.replace(final)
        shutil.rmtree(old)
    else:
        temporary.replace(final)


def _holds(folder: Path, texts: dict[str, str]) -> bool:
    """Return whether a folder holds exactly these files."""
    if not folder.is_dir():
        return False
    there = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    return there == texts.keys() and all(
        (folder / name).read_bytes() == text.encode() for name, text in texts.items()
    )


def replace_list(out: Path, name: str, pictures: list[str]) -> None:
    """Write a list file unless it is there already."""
    file = out / name
    if file.exists():
        if file.read_bytes() == "".join(f"{picture}\n" for picture in pictures).encode():
            return
        (out / INDEX_FILE).unlink(missing_ok=True)
    write_list(file, pictures)
