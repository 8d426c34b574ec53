"""Cutouts in memory, as a source of pictures with one person each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from runtime.errors import UserError
from runtime.files import existing_file
from runtime.opencv import cv2
from train.data.pictures import PictureSource
from train.data.sample import Sample
from train.settings import Positive, Settings, in_words, one_line

Image = npt.NDArray[np.uint8]

INDEX_FILE = "cutouts.json"
VERSION = 1
GROUND_TRUTH = "ground truth"
OPAQUE = 128  # alpha from which on a pixel counts as the person's
# Loader processes share what was decoded before they were forked; the rest is decoded when drawn.
DECODED_BYTES = 256 << 20


class _Source(Settings, extra="ignore"):
    name: str
    identities: str


class _Entry(Settings, extra="ignore"):
    file: str
    source: str
    identity: int
    frame: Positive


class _Index(Settings, extra="ignore"):
    sources: list[_Source]
    cutouts: list[_Entry] = Field(min_length=1)


@dataclass(frozen=True)
class Cutout:
    """A person cut out.

    Attributes:
        bgr: ``[h, w, 3]`` uint8, behind the transparent part the scene as it was.
        alpha: ``[h, w]`` uint8.
    """

    bgr: Image
    alpha: Image

    @property
    def box_xyxy(self) -> tuple[int, int, int, int]:
        """The pixels that are at least half opaque lie within."""
        left, top, width, height = cv2.boundingRect((self.alpha >= OPAQUE).astype(np.uint8))
        return left, top, left + width, top + height


class CutoutLibrary(PictureSource):
    """The cutouts of a folder, numbered by source, identity and frame.

    As a source of pictures each is one with the scene it was cut from and one labelled person.

    Args:
        folder: Folder of ``cutouts.json``.
        only: Sources to take; None for all.
        leave_out: Sources to leave out.

    Attributes:
        members: Of each identity the numbers of its cutouts.

    Raises:
        UserError: There are no cutouts, one is damaged, or a source is unknown.
    """

    def __init__(
        self, folder: Path, only: Sequence[str] | None = None, leave_out: Sequence[str] = ()
    ) -> None:
        index = _read_index(folder)
        self.name = f"cutouts of {folder.name}"
        names = [source.name for source in index.sources]
        for name in (*(only or ()), *leave_out):
            if name not in names:
                raise UserError(
                    f"cutouts {folder} have no source {name!r}: choose {', '.join(names)}"
                )
        wanted = set(names if only is None else only) - set(leave_out)
        entries = sorted(
            (entry for entry in index.cutouts if entry.source in wanted),
            key=lambda entry: (entry.source, entry.identity, entry.frame),
        )
        if not entries:
            raise UserError(f"cutouts {folder}: only and leave_out leave none, take more sources")
        true = {source.name for source in index.sources if source.identities == GROUND_TRUTH}
        numbers: dict[tuple[str, int], int] = {}
        self._identities = [
            numbers.setdefault((entry.source, entry.identity), len(numbers)) for entry in entries
        ]
        self.num_ids = len(numbers)
        # A tracker's number means nothing elsewhere.
        self._known = [person if person[0] in true else None for person in numbers]
        self.members: list[list[int]] = [[] for _ in numbers]
        for place, identity in enumerate(self._identities):
            self.members[identity].append(place)
        self._files = [_inside(folder, entry.file) for entry in entries]
        self._kept: list[Image | bytes] = []
        free = DECODED_BYTES
        for file in self._files:
            encoded = existing_file(file, "cutout").read_bytes()
            image = _decode(encoded, file)
            free -= image.nbytes
            self._kept.append(image if free >= 0 else encoded)

    def __len__(self) -> int:
        return len(self._files)

    def cutout(self, place: int) -> Cutout:
        """Return a cutout; not to be written to."""
        kept = self._kept[place]
        image = _decode(kept, self._files[place]) if isinstance(kept, bytes) else kept
        return Cutout(image[..., :3], image[..., 3])

    def identity(self, place: int) -> int:
        """Return whom a cutout shows, counted over the library."""
        return self._identities[place]

    def __getitem__(self, index: int) -> Sample:
        cutout = self.cutout(index)
        return Sample(
            np.ascontiguousarray(cutout.bgr),
            np.array([cutout.box_xyxy], np.float32),
            np.zeros(1, np.int64),
            np.array([self._identities[index]]),
        )

    def numbered(
        self, people: Mapping[tuple[str, int], int], first: int
    ) -> tuple[npt.NDArray[np.int64], int]:
        """Number the identities over all sources of a training set.

        Whoever a source knows by ground truth keeps its number there: nobody should have to be
        told apart from himself.

        Args:
            people: Numbers of known people, by source and identity.
            first: The first free number.

        Returns:
            Of each identity its number, ``[num_ids]``, and how many are new.
        """
        known = [people.get(person) if person else None for person in self._known]
        fresh = iter(range(first, first + len(known)))
        numbers = [next(fresh) if number is None else number for number in known]
        return np.array(numbers, np.int64), known.count(None)


def _read_index(folder: Path) -> _Index:
    if not (folder / INDEX_FILE).is_file():
        raise UserError(f"{folder} has no {INDEX_FILE}: make cutouts with kd-data cutouts")
    file = existing_file(folder / INDEX_FILE, "index of cutouts")
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        version = content.get("version") if isinstance(content, dict) else None
        if version == VERSION:
            return _Index.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{file}: {in_words(error)}: make the cutouts again") from error
    except ValueError as error:
        raise UserError(
            f"{file} is not JSON ({one_line(error)}): make the cutouts again"
        ) from error
    raise UserError(f"{file} is of version {version}, not {VERSION}: make the cutouts again")


def _inside(folder: Path, name: str) -> Path:
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{folder / INDEX_FILE} names {name}, which is outside of the folder")
    return folder / name


def _decode(encoded: bytes, file: Path) -> Image:
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # of an empty file
        image = None
    if image is None or image.dtype != np.uint8 or image.shape[2:] != (4,):
        raise UserError(f"{file} is no picture with transparency: make the cutouts again")
    if not (image[..., 3] >= OPAQUE).any():
        raise UserError(f"{file} shows nobody, all is transparent: make the cutouts again")
    return np.asarray(image, np.uint8)
