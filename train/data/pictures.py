"""What every source of training pictures is: labelled pictures with random access."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.opencv import cv2
from train.data.sample import Sample


class PictureSource(ABC):
    """Labelled pictures with random access.

    Attributes:
        name: For messages.
        num_ids: Identities it knows; they are numbered ``0 .. num_ids - 1``.
        num_classes: Classes it knows, counted like the identities.
        labelled: Whether its pictures have labels; all or none do.
        fixtures_xyxy: Boxes of things in every picture that a teacher may take for objects.
        people: Numbers of identities by sequence and identity there, where ground truth tells.
    """

    name: str
    num_ids: int
    num_classes: int = 1
    labelled: bool = True
    fixtures_xyxy: Sequence[tuple[float, float, float, float]] = ()
    people: Mapping[tuple[str, int], int] = MappingProxyType({})

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of pictures."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Return a picture with its labels."""


class JoinedSource(PictureSource):
    """Several sources as one; identities of different sources stay different.

    Args:
        name: For messages.
        parts: The sources.
    """

    def __init__(self, name: str, parts: Sequence[PictureSource]) -> None:
        self.name = name
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self._first_ids = np.cumsum([0, *(part.num_ids for part in parts)])
        self.num_ids = int(self._first_ids[-1])
        self.num_classes = max(part.num_classes for part in parts)
        self.labelled = all(part.labelled for part in parts)
        self.people = {
            person: number + int(first)
            for part, first in zip(parts, self._first_ids[:-1], strict=True)
            for person, number in part.people.items()
        }

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:
        which = int(np.searchsorted(self._ends, index, side="right"))
        part = self._parts[which]
        sample = part[index - int(self._ends[which]) + len(part)]
        sample.ids = np.where(sample.ids >= 0, sample.ids + self._first_ids[which], -1)
        return sample


def read_picture(file: Path) -> npt.NDArray[np.uint8]:
    """Read an image file as ``[H, W, 3]`` uint8 BGR.

    Raises:
        UserError: It is missing or damaged; the message names it.
    """
    try:
        encoded = np.fromfile(file, np.uint8)
    except OSError as error:
        raise UserError(
            f"picture {file} cannot be read ({error.strerror or error}): correct the list it is "
            "in, or the folder the list is relative to"
        ) from error
    return decode_picture(encoded, str(file))


def decode_picture(encoded: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.uint8]:
    """Decode an image held in memory, ``[N]`` bytes, as ``[H, W, 3]`` uint8 BGR.

    Raises:
        UserError: It is damaged; the message gives it this name.
    """
    try:
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if len(encoded) else None
    except cv2.error:  # e.g. beyond OpenCV's limit of pixels
        image = None
    if image is None:
        raise UserError(f"{name} is not a readable image: remove or replace it")
    return np.asarray(image, np.uint8)


def encode_picture(image: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """Encode a picture, ``[H, W, 3]`` uint8 BGR, as JPEG of a quality in 1..100."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return np.asarray(cv2.imencode(".jpg", image, options)[1], np.uint8)
