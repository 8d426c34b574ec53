"""A folder of images as a sequence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from runtime.errors import UserError
from runtime.opencv import cv2
from runtime.sources.base import DEFAULT_FPS, Frame, FrameSource

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts numbers inside names by value.

    Examples:
        >>> sorted(["f10.png", "f9.png", "f1.png"], key=natural_key)
        ['f1.png', 'f9.png', 'f10.png']
    """
    parts = re.split(r"([0-9]+)", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def list_images(folder: Path) -> list[Path]:
    """Return the images of ``folder`` in natural order; hidden files do not count."""
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    ]
    return sorted(files, key=lambda file: natural_key(file.name))


def read_image(file: Path) -> Frame:
    """Read one image as uint8 BGR ``[H, W, 3]``.

    Raises:
        UserError: It cannot be decoded.
    """
    image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{file} cannot be read as an image: replace or remove it")
    return image  # type: ignore[return-value]  # IMREAD_COLOR gives uint8


class ImageSource(FrameSource):
    """The images of a folder, all of one size.

    Args:
        files: Images in order, at least one.
        name: Name of the sequence.
        fps: Frames per second; images carry none, so 30 when not given.

    Raises:
        UserError: The first image cannot be decoded.
    """

    def __init__(self, files: Sequence[Path], name: str, fps: float | None = None) -> None:
        self.files = list(files)
        self.name = name
        self.fps = fps or DEFAULT_FPS
        self.length = len(self.files)
        height, width = read_image(self.files[0]).shape[:2]
        self.size_wh = (width, height)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the images.

        Raises:
            UserError: One cannot be decoded or differs in size from the first.
        """
        for file in self.files:
            image = read_image(file)
            height, width = image.shape[:2]
            if (width, height) != self.size_wh:
                raise UserError(
                    f"{file} is {width}x{height}, the images before it are "
                    f"{self.size_wh[0]}x{self.size_wh[1]}: give one folder per sequence"
                )
            yield image
