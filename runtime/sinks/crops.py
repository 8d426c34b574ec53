"""Cut-outs of every identity: the few best, spread over time."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.opencv import cv2
from runtime.sinks.base import Sink
from runtime.sinks.growing import keep_aside, lock
from runtime.types import FrameResult

Frame = npt.NDArray[np.uint8]

# What is smaller, narrower or mostly outside the frame shows nobody.
SMALLEST_SIDE = 16
LARGEST_ASPECT = 6.0
SMALLEST_VISIBLE_SHARE = 0.6
# How much better a cut-out must be to replace one.
CLEARLY_BETTER = 1.2
LOOKS_PER_SPACING = 4
# Identities unseen for so long do not come back: no tracker keeps a lost one that long.
FORGET_SECONDS = 300.0
JPEG_QUALITY = 92


@dataclass
class _Crop:
    seconds: float
    quality: float
    file: Path


@dataclass
class _Identity:
    """What is known of one identity: its cut-outs, oldest first."""

    looked: float = -np.inf
    crops: list[_Crop] = field(default_factory=list)


class CropWriter(Sink):
    """Writes ``FOLDER/ID/FRAME.jpg``, with frame numbers as in ``tracks.txt``.

    A cut-out is worth its score, times the square root of its area, times its sharpness. Between
    any two of an identity lie at least ``spacing_seconds``: a better one within that time replaces
    the last. When an identity has ``most`` of them, a clearly better one replaces the worst. Each
    file is whole from the moment it has its name. A folder that an earlier run left is kept as
    ``crops.earlier-1``, or the next free number, since its identities are others.

    Args:
        folder: The folder.
        most: Highest number of cut-outs of an identity.
        spacing_seconds: Shortest time between two of them.

    Raises:
        UserError: On entering the block: the folder cannot be written, or another run writes it.
    """

    def __init__(
        self, folder: str | os.PathLike[str], most: int = 5, spacing_seconds: float = 2.0
    ) -> None:
        self.folder = Path(folder)
        self.paths = (self.folder,)
        self._most = most
        self._spacing = spacing_seconds
        self._identities: dict[int, _Identity] = {}
        self._forgotten_at = 0.0
        self._lock = -1

    def __enter__(self) -> CropWriter:
        try:
            self.folder.mkdir(exist_ok=True)
            self._claim()
            if any(self.folder.iterdir()):
                keep_aside(self.folder, self.folder, "earlier")
                os.close(self._lock)
                self.folder.mkdir()
                self._claim()
        except OSError as error:
            raise self._cannot_write(self.folder, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)
        with suppress(OSError):
            # Nobody was seen: no folder.
            self.folder.rmdir()

    def write(self, result: FrameResult) -> None:
        """Look at the tracks of the next frame and keep what is worth it.

        Raises:
            UserError: The disk is full; the cut-outs before are kept.
        """
        tracks, now = result.tracks, result.timestamp
        self._forget(now)
        boxes, usable = clip_boxes(tracks.boxes_xyxy, result.frame.shape[:2])
        for row in np.flatnonzero(usable).tolist():
            track_id = int(tracks.ids[row])
            identity = self._identities.setdefault(track_id, _Identity())
            if now - identity.looked < self._spacing / LOOKS_PER_SPACING:
                continue
            identity.looked = now
            left, top, right, bottom = boxes[row].tolist()
            crop = result.frame[top:bottom, left:right]
            quality = float(tracks.scores[row]) * crop_quality(crop)
            worse = self._to_replace(identity, now, quality)
            if worse is None and not self._has_room(identity, now):
                continue
            file = self.folder / str(track_id) / f"{result.index + 1:06d}.jpg"
            self._save(file, crop)
            if worse is not None:
                worse.file.unlink(missing_ok=True)
                identity.crops.remove(worse)
            identity.crops.append(_Crop(now, quality, file))

    def _has_room(self, identity: _Identity, now: float) -> bool:
        crops = identity.crops
        return not crops or (len(crops) < self._most and now - crops[-1].seconds >= self._spacing)

    def _to_replace(self, identity: _Identity, now: float, quality: float) -> _Crop | None:
        """Return the cut-out that one of this quality shall replace."""
        crops = identity.crops
        if not crops or self._has_room(identity, now):
            return None
        is_near = now - crops[-1].seconds < self._spacing
        rival = crops[-1] if is_near else min(crops, key=lambda crop: crop.quality)
        return rival if quality > CLEARLY_BETTER * rival.quality else None

    def _save(self, file: Path, crop: Frame) -> None:
        _, encoded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        temporary = file.with_name(f".{file.stem}.part.jpg")
        try:
            file.parent.mkdir(exist_ok=True)
            temporary.write_bytes(encoded.tobytes())
            temporary.replace(file)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise self._cannot_write(file, error) from error

    def _forget(self, now: float) -> None:
        if now - self._forgotten_at > FORGET_SECONDS:
            self._forgotten_at = now
            self._identities = {
                track_id: identity
                for track_id, identity in self._identities.items()
                if now - identity.looked <= FORGET_SECONDS
            }

    def _claim(self) -> None:
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            lock(self._lock, self.folder)
        except BaseException:
            os.close(self._lock)
            raise

    @staticmethod
    def _cannot_write(path: Path, error: OSError) -> UserError:
        return UserError(
            f"cannot write {path} ({error.strerror or error}): free space or choose another place"
        )


def clip_boxes(
    boxes_xyxy: npt.NDArray[np.float32], size_hw: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Clip boxes to the frame and find those that show something.

    Args:
        boxes_xyxy: ``[N, 4]`` in pixels, which may reach over the border.
        size_hw: Height and width of the frame.

    Returns:
        ``[N, 4]`` whole pixels within the frame, and ``[N]`` whether the box is usable: mostly in
        the frame, large enough and not a sliver.
    """
    limits = np.array([size_hw[1], size_hw[0]] * 2)
    finite = np.nan_to_num(boxes_xyxy.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    clipped = np.rint(finite.clip(0, limits)).astype(np.int64)
    sides = clipped[:, 2:] - clipped[:, :2]
    whole = (finite[:, 2:] - finite[:, :2]).prod(axis=1)
    usable = (
        (sides.min(axis=1) >= SMALLEST_SIDE)
        & (sides.max(axis=1) <= LARGEST_ASPECT * sides.min(axis=1))
        & (sides.prod(axis=1) >= SMALLEST_VISIBLE_SHARE * whole)
    )
    return clipped, usable


def crop_quality(crop: Frame) -> float:
    """Return how much a cut-out shows: the root of its area times that of its sharpness.

    Sharpness is the spread of the Laplacian, at one width so that size does not count twice.

    Args:
        crop: uint8 BGR ``[H, W, 3]``.
    """
    height, width = crop.shape[:2]
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(
        grey, (48, max(16, round(48 * height / width))), interpolation=cv2.INTER_AREA
    )
    return float(np.sqrt(height * width) * np.sqrt(cv2.Laplacian(small, cv2.CV_32F).std()))
