"""From the boxes of a picture, as a dataset's annotations give them, to a part of a collection."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt

from runtime.console import progress
from runtime.errors import UserError
from runtime.sources.images import IMAGE_SUFFIXES
from train.data.labels import UNKNOWN_ID, Labels
from train.data.prepare.base import Collection, Options, Part, count, drop_sizeless
from train.data.prepare.pictures import image_size

PERSON = ("person",)
# Reading the head of a picture takes some 50 us; below this many no bar is worth it.
MANY_PICTURES = 10_000
ADVANCE_EVERY = 100


@dataclass
class Annotated:
    """What a dataset's annotations say about one picture.

    Attributes:
        picture: File name of the picture in its folder.
        boxes_ltwh: ``[M, 4]`` float64, left, top, width, height in pixels.
        ids: ``[M]`` int64, the dataset's own numbers, or ``UNKNOWN_ID``.
        dropped: Boxes already left out, by reason.

    Raises:
        ValueError: ``picture`` is not a mere file name.
    """

    picture: str
    boxes_ltwh: npt.NDArray[np.float64]
    ids: npt.NDArray[np.int64]
    dropped: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if not is_file_name(self.picture):
            raise ValueError(f"{self.picture!r} is not a file name")

    @classmethod
    def without_ids(cls, picture: str, boxes_ltwh: npt.NDArray[np.float64]) -> Annotated:
        """Return boxes of people nobody knows."""
        return cls(picture, boxes_ltwh, np.full(len(boxes_ltwh), UNKNOWN_ID, np.int64))

    def keep(self, which: npt.NDArray[np.bool_], reason: str) -> Annotated:
        """Return the boxes that ``which`` ``[M]`` selects; the others count under the reason."""
        dropped = Counter(self.dropped)
        count(dropped, reason, ~which)
        return Annotated(self.picture, self.boxes_ltwh[which], self.ids[which], dropped)


@dataclass
class Photos:
    """Pictures of one published folder with what the annotations say about them.

    Attributes:
        split: Name of the split.
        folder: Folder in the prepared dataset, e.g. ``images/train``.
        source: The published folder of the pictures.
        annotated: What is known of each picture; those without a file are left out.
        scope: What the identities are unique in; empty for the folder itself.
        is_sequence: Whether the pictures follow each other in time. They then have one size, and
            only the first is looked at.
        linked_singly: Whether every picture is linked by itself, for a published folder whose
            pictures belong to several parts.
    """

    split: str
    folder: str
    source: Path
    annotated: Sequence[Annotated]
    scope: str = ""
    is_sequence: bool = False
    linked_singly: bool = False


def collect_photos(photos: Sequence[Photos]) -> Collection:
    """Make a collection of pictures and their boxes, all of class ``person``.

    Boxes without size are left out and counted. Pictures that are annotated but missing are left
    out and counted in a note, so that a part of a dataset can be prepared.

    Args:
        photos: In the order in which identities are numbered.

    Raises:
        UserError: A picture is damaged, or of the annotated pictures none is there.
    """
    parts: list[Part] = []
    missing: list[Path] = []
    total = sum(len(part.annotated) for part in photos)
    # Of a folder that several parts share there is one listing.
    pictures_in = functools.cache(_pictures_in)
    with progress(shown=total >= MANY_PICTURES) as bar:
        task = bar.add_task("reading sizes", total=total)
        for part in photos:
            there = pictures_in(part.source)
            missing += [
                part.source / entry.picture
                for entry in part.annotated
                if entry.picture not in there
            ]
            parts.append(_make_part(part, there, lambda count: bar.advance(task, count)))
    if total and len(missing) == total:
        raise UserError(
            f"none of the {total} annotated pictures is there, for example {missing[0]}: unpack "
            "the pictures as well"
        )
    notes = []
    if missing:
        notes.append(
            f"{len(missing)} of {total} annotated pictures are missing and were left out, for "
            f"example {missing[0]}"
        )
    return Collection(PERSON, [part for part in parts if part.pictures], notes)


def _make_part(photos: Photos, there: frozenset[str], advance: Callable[[int], None]) -> Part:
    dropped: Counter[str] = Counter()
    pictures: list[str] = []
    labels: list[Labels] = []
    names = Counter(entry.picture for entry in photos.annotated)
    twice = next((name for name, times in names.items() if times > 1), None)
    if twice is not None:
        raise UserError(f"{photos.source / twice} is annotated twice: repair the annotations")
    links = {} if photos.linked_singly else {photos.folder: photos.source}
    size_wh: tuple[int, int] | None = None
    for number, entry in enumerate(photos.annotated, 1):
        if number % ADVANCE_EVERY == 0 or number == len(photos.annotated):
            advance((number - 1) % ADVANCE_EVERY + 1)
        if entry.picture not in there:
            continue
        file, place = photos.source / entry.picture, f"{photos.folder}/{entry.picture}"
        if size_wh is None or not photos.is_sequence:
            size_wh = image_size(file)
        dropped.update(entry.dropped)
        keep = drop_sizeless(entry.boxes_ltwh, dropped)
        pictures.append(place)
        labels.append(Labels.from_ltwh(entry.boxes_ltwh[keep], size_wh, entry.ids[keep]))
        if photos.linked_singly:
            links[place] = file
    return Part(
        photos.split,
        photos.folder,
        pictures,
        labels,
        links,
        dropped,
        photos.scope,
        photos.is_sequence,
    )


def _pictures_in(folder: Path) -> frozenset[str]:
    """Return the names of the pictures directly in a folder, none if there is no such folder."""
    if not folder.is_dir():
        return frozenset()
    return frozenset(
        entry.name for entry in folder.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES
    )


def is_file_name(text: str) -> bool:
    r"""Return whether a text is the name of a file or folder, without a path before it.

    Examples:
        >>> [is_file_name(text) for text in ("a b.jpg", "", "..", "a/b.jpg", "a\n.jpg")]
        [True, False, False, False, False]
    """
    return text not in ("", "..") and PurePath(text).name == text and text.isprintable()


def has_pictures(folder: Path) -> bool:
    """Return whether there is a picture directly in a folder."""
    return folder.is_dir() and any(
        entry.suffix.lower() in IMAGE_SUFFIXES for entry in folder.iterdir()
    )


def chosen_labels(
    options: Options, known: Sequence[str], default: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the published labels that count as persons.

    Args:
        options: The user's choice in ``options.classes``.
        known: The dataset's labels.
        default: Labels to take where the user says nothing.

    Raises:
        UserError: The dataset has no label of a name.

    Examples:
        >>> chosen_labels(Options("caltech"), ["person", "people"], ("person",))
        ('person',)
    """
    if options.classes is None:
        return default
    unknown = [name for name in options.classes if name not in known]
    if unknown:
        raise UserError(
            f"{options.name} has no class {unknown[0]!r}: choose among {', '.join(known)}"
        )
    return options.classes
