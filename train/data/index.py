"""The index of a prepared dataset: which pictures make up each split.

``dataset.json`` names the dataset, its classes and its splits; a split is a list file of pictures,
one path a line, relative to the folder of the index. Such lists are what FairMOT's own data files
refer to, so both codes can train on the same folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from runtime.errors import UserError
from runtime.files import atomic_path, existing_file, write_json

INDEX_FILE = "dataset.json"
FORMAT = 1


@dataclass(frozen=True)
class Split:
    """A split of a prepared dataset.

    Attributes:
        list_file: Name of the list file.
        pictures: How many pictures it lists.
        boxes: Objects in them.
        ids: Different identities in them; objects whose identity is unknown do not count.
    """

    list_file: str
    pictures: int
    boxes: int
    ids: int


@dataclass(frozen=True)
class DatasetIndex:
    """A prepared dataset.

    Attributes:
        root: Folder of the index; paths in list files are relative to it.
        name: Name of the dataset, e.g. ``mot17``.
        classes: Class names, by number.
        num_ids: Identities of the whole dataset; they are numbered ``0 .. num_ids - 1``.
        splits: By name, e.g. ``train``, ``train_half``, ``val_half``.
        source: Folder of the dataset as published.
        command: The command that made it.
    """

    root: Path
    name: str
    classes: tuple[str, ...]
    num_ids: int
    splits: Mapping[str, Split]
    source: str = ""
    command: str = ""

    def pictures(self, split: str) -> list[str]:
        """Return the pictures of a split, relative to ``root``.

        Raises:
            UserError: There is no such split, or its list cannot be read.
        """
        if split not in self.splits:
            raise UserError(
                f"{self.root / INDEX_FILE} has no split {split!r}: choose "
                f"{', '.join(self.splits) or 'another dataset, this one is empty'}"
            )
        return read_list(self.root / self.splits[split].list_file)

    def save(self, file: Path | None = None) -> None:
        """Write the index, whole or not at all; list files must be there already."""
        content: dict[str, Any] = {"format": FORMAT, **asdict(self)}
        del content["root"]
        write_json(file or self.root / INDEX_FILE, content)


def read_index(path: str | os.PathLike[str]) -> DatasetIndex:
    """Read an index.

    Args:
        path: ``dataset.json`` or its folder.

    Raises:
        UserError: It is missing, damaged, or of a newer format.
    """
    given = Path(path)
    file = existing_file(given / INDEX_FILE if given.is_dir() else given, "dataset index")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise UserError(
                f"dataset index {file} has format {content['format']}, this version reads "
                f"{FORMAT}: prepare the dataset again"
            )
        splits = {str(name): Split(**entry) for name, entry in content["splits"].items()}
        return DatasetIndex(
            root=file.parent,
            name=str(content["name"]),
            classes=tuple(str(label) for label in content["classes"]),
            num_ids=int(content["num_ids"]),
            splits=splits,
            source=str(content["source"]),
            command=str(content["command"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"dataset index {file} is damaged ({error}): prepare the dataset again"
        ) from error


def write_list(file: Path, pictures: Sequence[str]) -> None:
    """Write a list file, whole or not at all."""
    with atomic_path(file) as temporary:
        temporary.write_text("".join(f"{picture}\n" for picture in pictures), encoding="utf-8")


def read_list(path: str | os.PathLike[str]) -> list[str]:
    """Read a list file: one picture a line, empty lines left out.

    Raises:
        UserError: It is missing or no text, or a path in it leads out of its folder.
    """
    file = existing_file(path, "picture list")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"picture list {file} is not a text file") from error
    pictures = [line.strip() for line in lines if line.strip()]
    for number, picture in enumerate(pictures, 1):
        if escapes(picture):
            raise UserError(
                f"picture list {file}, line {number}: {picture[:80]!r} leads out of the dataset's "
                "folder: use paths relative to it"
            )
    return pictures


def escapes(picture: str) -> bool:
    """Return whether a path leads out of the folder it is relative to.

    Examples:
        >>> [escapes(path) for path in ("images/a.jpg", "/etc/passwd", "images/../../x")]
        [False, True, True]
    """
    path = PurePosixPath(picture)
    depth = 0
    for part in path.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return path.is_absolute()
