"""A picture made small, with its boxes, identities and classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from runtime.opencv import cv2
from runtime.sinks.drawing import track_colour
from train.data.labels import Labels

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.int64]
Colour = tuple[int, int, int]

FONT = cv2.FONT_HERSHEY_SIMPLEX
TEXT_SCALE = 0.38
INK: Colour = (40, 40, 40)
NO_IDENTITY: Colour = (255, 255, 255)
LABEL_PAD = 2
TALLEST = 1.3  # a tile's height in widths at most
LARGEST_SCALE = 2.0
LARGE_BOX = 80  # shorter side in pixels of the tile from which lines are thicker
COVERED = 0.25  # the share of a box that a label may hide


def draw_tile(image: Image, labels: Labels, width: int, classes: Sequence[str] = ()) -> Image:
    """Draw a picture at the width of a tile, with its labels.

    Boxes without identity are white. Where objects crowd, a label shrinks to the identity and is
    left out at last, rather than hide a box or another label; those of large boxes come first.

    Args:
        image: ``[H, W, 3]`` uint8 BGR; not changed.
        labels: Its objects.
        width: Width of a tile in pixels; tall pictures come out narrower.
        classes: Class names; shown when there are several.

    Returns:
        ``[h, w, 3]`` uint8 BGR with ``w <= width``.
    """
    scale = min(width / image.shape[1], TALLEST * width / image.shape[0], LARGEST_SCALE)
    size_wh = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    tile = np.asarray(cv2.resize(image, size_wh, interpolation=method), np.uint8)
    boxes_xyxy = np.rint(labels.boxes_xyxy(size_wh)).astype(np.int64)
    shorter = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).min(axis=1)
    order = np.argsort(-shorter, kind="stable").tolist()
    for index in order:
        thickness = 2 if shorter[index] >= LARGE_BOX else 1
        _draw_box(tile, boxes_xyxy[index].tolist(), int(labels.ids[index]), thickness)
    taken = np.zeros((0, 4), np.int64)
    for index in order:
        for words in _words(labels, index, classes):
            patch = _place(words, index, boxes_xyxy, taken, size_wh)
            if patch is not None:
                _draw_label(tile, words, patch, _colour(int(labels.ids[index])))
                taken = np.concatenate([taken, [patch]])
                break
    return tile


def _colour(identity: int) -> Colour:
    return track_colour(identity) if identity >= 0 else NO_IDENTITY


def _draw_box(tile: Image, box_xyxy: list[int], identity: int, thickness: int) -> None:
    left, top, right, bottom = box_xyxy
    if identity < 0:
        # White vanishes on a bright ground without an edge.
        edge = (left - thickness, top - thickness), (right + thickness, bottom + thickness)
        cv2.rectangle(tile, *edge, INK, 1)
    cv2.rectangle(tile, (left, top), (right, bottom), _colour(identity), thickness)


def _words(labels: Labels, index: int, classes: Sequence[str]) -> list[str]:
    """Return what may stand at a box, best first: class (where there are several) and identity."""
    label, identity = int(labels.classes[index]), int(labels.ids[index])
    choices = [str(identity)] if identity >= 0 else []
    if len(classes) > 1:
        name = classes[label] if label < len(classes) else f"class {label}"
        choices.insert(0, " ".join([name, *choices]))
    return choices


def _place(
    words: str, index: int, boxes_xyxy: Boxes, taken: Boxes, size_wh: tuple[int, int]
) -> list[int] | None:
    """Find room for a label above its box, below it, or inside.

    Args:
        words: The label.
        index: Its box.
        boxes_xyxy: ``[M, 4]`` all boxes of the tile.
        taken: ``[K, 4]`` the patches of the labels that are there.
        size_wh: Of the tile.

    Returns:
        Its patch xyxy, or None if there is no room.
    """
    (width, height), base = cv2.getTextSize(words, FONT, TEXT_SCALE, 1)
    width, height = width + 2 * LABEL_PAD, height + base // 2 + 2 * LABEL_PAD
    limit = np.array([*size_wh, *size_wh])
    visible = np.clip(boxes_xyxy, 0, limit)
    left, top, _, bottom = boxes_xyxy[index].tolist()
    left = min(max(left, 0), max(size_wh[0] - width, 0))
    for start in (top - height, bottom, max(top, 0)):
        patch = [left, start, left + width, start + height]
        if start < 0 or patch[3] > size_wh[1] or _shared(patch, taken).any():
            continue
        areas = np.maximum((visible[:, 2:] - visible[:, :2]).prod(axis=1), 1)
        if (_shared(patch, visible) <= COVERED * areas).all():
            return patch
    return None


def _shared(patch_xyxy: list[int], boxes_xyxy: Boxes) -> npt.NDArray[np.int64]:
    """Return the area that a patch shares with each box, in pixels, ``[M]``."""
    corner = np.maximum(patch_xyxy[:2], boxes_xyxy[:, :2])
    opposite = np.minimum(patch_xyxy[2:], boxes_xyxy[:, 2:])
    return np.maximum(opposite - corner, 0).prod(axis=1)


def _draw_label(tile: Image, words: str, patch_xyxy: list[int], colour: Colour) -> None:
    left, top, right, bottom = patch_xyxy
    base = cv2.getTextSize(words, FONT, TEXT_SCALE, 1)[1]
    cv2.rectangle(tile, (left, top), (right - 1, bottom - 1), colour, cv2.FILLED)
    luma = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2]
    ink = (20, 20, 20) if luma > 120 else (255, 255, 255)
    write_text(tile, words, (left + LABEL_PAD, bottom - LABEL_PAD - base // 2), ink)


def write_text(
    image: Image, words: str, corner: tuple[int, int], colour: Colour, scale: float = TEXT_SCALE
) -> None:
    """Write words with their lower left corner at ``corner``.

    OpenCV's own font has no letters beyond ASCII; a question mark stands for them.
    """
    plain = words.encode("ascii", "replace").decode()
    cv2.putText(image, plain, corner, FONT, scale, colour, 1, cv2.LINE_AA)
