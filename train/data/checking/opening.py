"""What there is to check: a dataset with an index, or the plain layout without one."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtime.errors import UserError
from runtime.sources.images import IMAGE_SUFFIXES, natural_key
from runtime.sources.opening import VIDEO_SUFFIXES
from runtime.sources.video import VideoSource
from train.data.checking.findings import Fault, Findings
from train.data.index import INDEX_FILE, Split, escapes, read_index
from train.data.labels import IMAGES, LABELS, split_frame


@dataclass
class Listing:
    """The pictures of a dataset as its lists name them, checked as far as names go.

    Attributes:
        root: Folder that the pictures are relative to.
        name: Name of the dataset.
        splits: Pictures by split; each is in a folder ``images`` and none leads out of ``root``.
        classes: Class names; None without an index.
        num_ids: Number of identities; None without an index.
        promised: What the index says about the splits.
        source: Folder of the dataset as published, relative to ``root``.
        findings: What was wrong with the lists.
    """

    root: Path
    name: str
    splits: dict[str, list[str]]
    classes: tuple[str, ...] | None = None
    num_ids: int | None = None
    promised: Mapping[str, Split] = field(default_factory=dict)
    source: str = ""
    findings: Findings = field(default_factory=Findings)

    def pictures(self) -> list[str]:
        """Return every picture once, in the order of the splits."""
        return list(dict.fromkeys(name for names in self.splits.values() for name in names))


def open_listing(path: Path) -> Listing:
    """Read the lists of a dataset, whatever is wrong with them.

    Args:
        path: A prepared dataset, its ``dataset.json``, or a folder with ``images`` and
            ``labels_with_ids``.

    Raises:
        UserError: It is none of these, or its index is damaged.
    """
    if path.is_dir() and not (path / INDEX_FILE).exists():
        return _open_folders(path)
    index = read_index(path)
    listing = Listing(
        index.root, index.name, {}, index.classes, index.num_ids, index.splits, index.source
    )
    for name, split in index.splits.items():
        listing.splits[name] = _read_names(index.root, split.list_file, listing.findings)
    return listing


def _read_names(root: Path, list_file: str, findings: Findings) -> list[str]:
    """Return the usable names of a list and report the others."""
    if escapes(list_file):
        findings.add(Fault.PATH_ESCAPES, f"{INDEX_FILE}: list {list_file!r}")
        return []
    try:
        lines = (root / list_file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        findings.add(Fault.LIST_UNREADABLE, f"{list_file}: {_reason(error)}")
        return []
    names: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        given = line.strip()
        if not given:
            continue
        place = f"{list_file}, line {number}: {given[:80]}"
        name = normalised(given)
        if escapes(given):
            findings.add(Fault.PATH_ESCAPES, place)
        elif IMAGES not in split_frame(name)[0].split("/")[:-1]:
            findings.add(Fault.PATH_WITHOUT_LABELS, place)
        elif name in names:
            findings.add(Fault.LISTED_TWICE, place)
        else:
            names[name] = None
    return list(names)


def normalised(picture: str) -> str:
    """Return the one name of a picture among all its spellings.

    Examples:
        >>> normalised("./images//a.jpg"), normalised("images/S1.avi#007")
        ('images/a.jpg', 'images/S1.avi#7')
    """
    path, frame = split_frame(picture)
    path = posixpath.normpath(path)
    return path if frame is None else f"{path}#{frame}"


def _open_folders(root: Path) -> Listing:
    if not (root / IMAGES).is_dir():
        raise UserError(
            f"{root} has neither {INDEX_FILE} nor a folder {IMAGES}: give a dataset that "
            "kd-data prepare made, or a folder with images and labels_with_ids"
        )
    splits: dict[str, list[str]] = {}
    for file in sorted(walk(root / IMAGES), key=lambda file: natural_key(file.as_posix())):
        relative = file.relative_to(root).as_posix()
        parts = relative.split("/")
        names = splits.setdefault(parts[1] if len(parts) > 2 else IMAGES, [])
        if file.suffix.lower() in IMAGE_SUFFIXES:
            names.append(relative)
        elif file.suffix.lower() in VIDEO_SUFFIXES:
            names += [f"{relative}#{number}" for number in range(1, _length(file) + 1)]
    splits = {name: names for name, names in splits.items() if names}
    return Listing(root, root.resolve().name, splits)


def _length(video: Path) -> int:
    """Return the frames of a video by its container; one if it is damaged, so that it is named."""
    try:
        with VideoSource(video) as source:
            return source.length or 1
    except UserError:
        return 1


def walk(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Yield the files below a folder, through links but never in circles; hidden ones are not."""
    real = os.path.realpath(folder)
    if real in above or not folder.is_dir():
        return
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from walk(entry, (*above, real))
        else:
            yield entry


def unlisted_labels(root: Path, listed: set[str]) -> Iterator[str]:
    """Yield label files in ``root/labels_with_ids`` that are not among ``listed``."""
    for file in walk(root / LABELS):
        relative = file.relative_to(root).as_posix()
        if file.suffix == ".txt" and relative not in listed:
            yield relative


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "not a text file"
