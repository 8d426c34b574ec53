"""A contact sheet of a dataset: pictures with their boxes, identities and names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.errors import UserError
from runtime.files import atomic_path, output_directory
from runtime.opencv import cv2
from train.data.checking.opening import Listing, open_listing
from train.data.labels import label_path, read_labels, split_frame
from train.data.pictures import read_picture
from train.data.tile import FONT, INK, TEXT_SCALE, Image, draw_tile, write_text
from train.data.video import FrameCache, VideoFrames

SHEET_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
GAP = 12  # pixels between tiles
CAPTION = 20  # pixels below a picture, for its name
HEADING = 40
PAPER, FAINT = (250, 250, 250), (120, 120, 120)
# Frames on a sheet are few; none of them may be pushed out before it is drawn.
CACHE_MB = 1024


@dataclass(frozen=True)
class SheetOptions:
    """How a contact sheet looks.

    Attributes:
        pictures: How many pictures at most.
        seed: Draws which; they are spread evenly over the split for any seed.
        columns: Pictures side by side.
        width: Of the sheet in pixels.
    """

    pictures: int = 24
    seed: int = 0
    columns: int = 4
    width: int = 1600


def write_sheet(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    split: str | None = None,
    options: SheetOptions | None = None,
) -> tuple[str, int]:
    """Draw a contact sheet of a split.

    Args:
        path: A prepared dataset, its ``dataset.json``, or a folder with ``images`` and
            ``labels_with_ids``.
        out: The sheet: a PNG, JPEG or WebP file by its suffix.
        split: The split; the first when None.
        options: How the sheet looks.

    Returns:
        The split and the number of pictures on the sheet.

    Raises:
        UserError: There is no such dataset, split or format, a label file is damaged, or the sheet
            cannot be written. Pictures that cannot be read are no error: their place says so.
    """
    options = options or SheetOptions()
    final = Path(out)
    if final.suffix.lower() not in SHEET_SUFFIXES:
        raise UserError(
            f"sheet {final} has no suffix of a picture: name it {', '.join(SHEET_SUFFIXES)}"
        )
    output_directory(final.parent)
    listing = open_listing(Path(path))
    split = _choose_split(listing, split)
    names = listing.splits[split]
    chosen = [names[index] for index in spread(len(names), options.pictures, options.seed)]
    heading = f"{listing.name}   {split}   {len(chosen)} of {len(names)} pictures"
    sheet = draw_sheet(listing, chosen, heading, options)
    with atomic_path(final) as temporary:
        if not cv2.imwrite(str(temporary), sheet):
            raise UserError(f"sheet {final} cannot be written: choose another place")
    return split, len(chosen)


def _choose_split(listing: Listing, split: str | None) -> str:
    if not listing.splits:
        raise UserError(f"{listing.root} has no pictures: prepare it again")
    if split is None:
        return next((name for name, names in listing.splits.items() if names), "") or next(
            iter(listing.splits)
        )
    if split not in listing.splits:
        raise UserError(
            f"{listing.root} has no split {split!r}: choose {', '.join(listing.splits)}"
        )
    return split


def spread(length: int, count: int, seed: int) -> list[int]:
    """Draw places that are spread evenly: one of each of ``count`` equal stretches.

    Args:
        length: Places to choose from.
        count: How many at most.
        seed: Draws the place in each stretch.

    Examples:
        >>> spread(0, 4, 0), spread(3, 4, 0)
        ([], [0, 1, 2])
        >>> [place // 25 for place in spread(100, 4, 7)]
        [0, 1, 2, 3]
    """
    if length <= count:
        return list(range(length))
    edges = np.linspace(0, length, count + 1).astype(np.int64)
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:]).tolist()


def draw_sheet(
    listing: Listing, pictures: Sequence[str], heading: str, options: SheetOptions
) -> Image:
    """Draw pictures of a dataset in rows, names below.

    Args:
        listing: The dataset.
        pictures: Names of the pictures, in order.
        heading: Text above them.
        options: How the sheet looks.

    Returns:
        The sheet, ``[H, options.width, 3]`` uint8 BGR.
    """
    width = (options.width - GAP) // options.columns - GAP
    tiles = []
    for picture, image in zip(pictures, _read_all(listing.root, pictures), strict=True):
        if image is None:
            tiles.append(_unreadable(width))
        else:
            labels = read_labels(listing.root / label_path(picture))
            tiles.append(draw_tile(image, labels, width, listing.classes or ()))
    rows = [
        (tiles[start : start + options.columns], pictures[start : start + options.columns])
        for start in range(0, len(tiles), options.columns)
    ]
    heights = [max(tile.shape[0] for tile in row) + CAPTION + GAP for row, _ in rows]
    sheet = np.full((HEADING + sum(heights), options.width, 3), PAPER, np.uint8)
    write_text(sheet, heading, (GAP, HEADING - 14), INK, 0.55)
    top = HEADING
    for (row, names), height in zip(rows, heights, strict=True):
        for column, (tile, name) in enumerate(zip(row, names, strict=True)):
            left = GAP + column * (width + GAP) + (width - tile.shape[1]) // 2
            sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
            caption = _fitting(name, width)
            write_text(
                sheet, caption, (GAP + column * (width + GAP), top + tile.shape[0] + 14), FAINT
            )
        top += height
    return sheet


def _read_all(root: Path, pictures: Sequence[str]) -> list[Image | None]:
    """Read pictures and frames; None stands for one that cannot be read."""
    wanted: dict[str, list[int]] = {}
    for picture in pictures:
        path, number = split_frame(picture)
        if number is not None:
            wanted.setdefault(path, []).append(number)
    cache, videos = FrameCache(CACHE_MB), {}
    for path, numbers in wanted.items():
        try:
            videos[path] = VideoFrames(root / path, cache, numbers)
        except UserError:
            continue
    images: list[Image | None] = []
    for picture in pictures:
        path, number = split_frame(picture)
        try:
            if number is None:
                images.append(read_picture(root / path))
            else:
                images.append(videos[path].read(number) if path in videos else None)
        except UserError:
            images.append(None)
    return images


def _unreadable(width: int) -> Image:
    tile = np.full((round(width * 0.6), width, 3), (225, 225, 225), np.uint8)
    write_text(
        tile, "cannot be read: see kd-data check", (12, tile.shape[0] // 2), (60, 60, 190), 0.42
    )
    return tile


def _fitting(name: str, width: int) -> str:
    """Shorten a name at its front so that it is no wider than a tile."""
    shown = name.partition("images/")[2] or name
    short = shown
    while len(short) > 4 and cv2.getTextSize(short, FONT, TEXT_SCALE, 1)[0][0] > width:
        shown = shown[1:]
        short = f"...{shown}"
    return short
