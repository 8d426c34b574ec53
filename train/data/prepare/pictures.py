"""Sizes of pictures, from their first bytes where these tell."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from runtime.errors import UserError
from runtime.sources.images import list_images, natural_key, read_image

# Start-of-frame markers of JPEG; the three left out of C0..CF mean something else.
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HEAD_BYTES = 1 << 16


def image_size(file: Path) -> tuple[int, int]:
    """Return the width and height of a picture as OpenCV decodes it.

    JPEG, PNG, BMP and WebP tell their size in the first bytes. Where they carry a camera's notes,
    which may ask for a rotation, and for other formats, the picture is decoded.

    Args:
        file: The picture.

    Raises:
        UserError: It is missing or cannot be decoded.
    """
    try:
        with file.open("rb") as handle:
            head = handle.read(_HEAD_BYTES)
            if not (b"Exif" in head or b"eXIf" in head or b"EXIF" in head):
                size = _size_from(head, handle)
                if size is not None and min(size) > 0:
                    return size
    except FileNotFoundError as error:
        raise UserError(f"picture {file} does not exist: unpack the dataset again") from error
    height, width = read_image(file).shape[:2]
    return width, height


def _size_from(head: bytes, handle: BinaryIO) -> tuple[int, int] | None:
    if head.startswith(b"\xff\xd8"):
        return _jpeg_size(handle)
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    if head.startswith(b"BM") and len(head) >= 26 and struct.unpack("<I", head[14:18])[0] >= 40:
        # A negative height means that rows are stored from the top.
        width, height = struct.unpack("<ii", head[18:26])
        return width, abs(height)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP" and len(head) >= 30:
        return _webp_size(head)
    return None


def _jpeg_size(handle: BinaryIO) -> tuple[int, int] | None:
    """Follow the segments up to the start of frame."""
    handle.seek(2)
    while True:
        marker = handle.read(2)
        if len(marker) < 2 or marker[0] != 0xFF:
            return None
        while marker[1] == 0xFF:  # padding
            marker = b"\xff" + handle.read(1)
            if len(marker) < 2:
                return None
        length = handle.read(2)
        if len(length) < 2:
            return None
        if marker[1] in _JPEG_FRAMES:
            content = handle.read(5)
            if len(content) < 5:
                return None
            height, width = struct.unpack(">HH", content[1:])
            return width, height
        handle.seek(struct.unpack(">H", length)[0] - 2, 1)


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """Read the canvas, lossy or lossless header (RFC 9649)."""
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def pictures_below(folder: Path) -> list[str]:
    """Return the pictures in a folder and the folders in it, as sorted paths relative to it.

    Links are followed, but no folder is entered twice.
    """
    found, seen = [], set()
    for place, subfolders, _ in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        found += [image.relative_to(folder).as_posix() for image in list_images(Path(place))]
    return sorted(found, key=natural_key)


def frame_numbers(names: Sequence[str]) -> list[int]:
    """Return the number of each frame's picture: its name where that is one, else its place.

    Args:
        names: File names in natural order.

    Examples:
        >>> frame_numbers(["000007.jpg", "000009.jpg"]), frame_numbers(["a.jpg", "b.jpg"])
        ([7, 9], [1, 2])
    """
    stems = [Path(name).stem for name in names]
    numbers = [int(stem) if stem.isdecimal() else 0 for stem in stems]
    # Frames count from 1; a picture 000000 means that the names count from 0.
    if min(numbers, default=0) < 1 or len(set(numbers)) < len(numbers):
        return list(range(1, len(names) + 1))
    return numbers
