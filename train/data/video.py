"""Frames of a video by number, decoded on demand, exactly as reading it in order gives them.

Containers promise more than they keep: frame counts are estimates, and where a seek ends depends on
time stamps, key frames and delays of the codec. So a video is read once in order when it is opened,
which proves it whole and notes every frame's checksum. Each frame that a seek finds is compared
with its checksum; on a mismatch the seek begins earlier, at last at the first frame.
"""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.console import progress
from runtime.errors import UserError
from runtime.opencv import cv2
from runtime.sources.base import FrameSource
from runtime.sources.video import VideoSource
from train.data.pictures import decode_picture, encode_picture

Frame = npt.NDArray[np.uint8]

LONG_VIDEO = 300  # frames; reading them takes about a second at 1280x720
# Decoding this many frames on the way costs less than a seek, which decodes from a key frame on.
NEAR = 12
STEPS_BACK = (0, 16, 128)

# A decoder that came along in a fork has lost its threads; even freeing it would wait for them.
_inherited: list[cv2.VideoCapture] = []


class FrameCache:
    """The frames used last, in a bounded amount of memory; several videos may share one.

    Args:
        limit_mb: Bound in units of 1024 * 1024 bytes, for each process.
        quality: JPEG quality in 1..100 to keep frames with, which makes room for twenty times as
            many. A frame then always looks as JPEG shows it, found in the cache or not, so that
            what was cached before makes no difference. None keeps the pixels.
    """

    def __init__(self, limit_mb: float = 64, quality: int | None = None) -> None:
        self._limit = int(limit_mb * 1024 * 1024)
        self._quality = quality
        self._kept: OrderedDict[tuple[str, int], npt.NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def has_room(self, frame: Frame) -> bool:
        """Tell whether a frame of this size would push no other one out."""
        # JPEG of the qualities in use takes less than a fifth of the pixels.
        size = frame.nbytes if self._quality is None else frame.nbytes // 5
        return self._bytes + size <= self._limit

    def find(self, key: tuple[str, int]) -> Frame | None:
        """Return the frame kept under ``key``, or None."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        self._kept.move_to_end(key)
        return kept if self._quality is None else decode_picture(kept, f"{key[0]}#{key[1]}")

    def keep(self, key: tuple[str, int], frame: Frame) -> None:
        """Keep a frame; those used longest ago make room for it."""
        entry = frame if self._quality is None else encode_picture(frame, self._quality)
        before = self._kept.pop(key, None)
        self._bytes += entry.nbytes - (0 if before is None else before.nbytes)
        self._kept[key] = entry
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": OrderedDict(), "_bytes": 0}


class VideoFrames:
    """Random access to the frames of a video file.

    Safe to hand to other processes: each opens a decoder of its own.

    Args:
        path: The file.
        cache: Where frames are kept; a small cache of its own when None.
        wanted: Frames, counted from 1, to put into the cache while the file is read for the first
            time, as long as there is room.

    Attributes:
        size_wh: Width and height in pixels.

    Raises:
        UserError: The file is not a video, or cut short.
    """

    def __init__(
        self, path: Path, cache: FrameCache | None = None, wanted: Container[int] = ()
    ) -> None:
        self.path = path
        self._cache = FrameCache() if cache is None else cache
        self._capture: cv2.VideoCapture | None = None
        self._process = os.getpid()
        self._next = 1  # the frame that the decoder gives next
        with VideoSource(path) as source:
            self.size_wh = source.size_wh
            self._checksums = self._read_through(source, wanted)
        self._numbers: dict[int, list[int]] = defaultdict(list)
        for number, checksum in enumerate(self._checksums, 1):
            self._numbers[checksum].append(number)

    def __len__(self) -> int:
        return len(self._checksums)

    def read(self, number: int) -> Frame:
        """Return a frame, ``[H, W, 3]`` uint8 BGR, not to be written to.

        Args:
            number: Which one, counted from 1.

        Raises:
            UserError: The video has no such frame, or the file has changed since it was opened.
        """
        if not 1 <= number <= len(self):
            raise UserError(
                f"{self.path} has {len(self)} frames, frame {number} was asked for: correct the "
                "list or the labels"
            )
        key = (str(self.path), number)
        frame = self._cache.find(key)
        if frame is None:
            decoded = self._decode(number)
            self._cache.keep(key, decoded)
            frame = self._cache.find(key)
            assert frame is not None, "the newest frame is never pushed out"
        frame.flags.writeable = False
        return frame

    def close(self) -> None:
        """Release the decoder; the next read opens it again."""
        if self._capture is not None and self._process == os.getpid():
            self._capture.release()
        elif self._capture is not None:
            _inherited.append(self._capture)
        self._capture = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_capture": None}

    def _read_through(self, source: FrameSource, wanted: Container[int]) -> list[int]:
        """Read the video in order; return each frame's checksum."""
        checksums = []
        with progress(transient=True, shown=(source.length or 0) >= LONG_VIDEO) as bar:
            task = bar.add_task(f"reading {self.path.name}", total=source.length)
            for number, frame in enumerate(source, 1):
                checksums.append(_checksum(frame))
                if number in wanted and self._cache.has_room(frame):
                    self._cache.keep((str(self.path), number), frame)
                bar.advance(task)
        return checksums

    def _decode(self, number: int) -> Frame:
        if self._process != os.getpid():
            self.close()
            self._process = os.getpid()
        if self._capture is not None and 0 <= number - self._next <= NEAR:
            frame = self._forward_to(number)
            if frame is not None:
                return frame
        for back in STEPS_BACK:
            self._seek(max(1, number - back))
            frame = self._forward_to(number)
            if frame is not None:
                return frame
        self._reopen()
        frame = self._forward_to(number)
        if frame is None:
            raise UserError(
                f"frame {number} of {self.path} does not decode as it did when the file was "
                "opened: has the file been replaced? Start again"
            )
        return frame

    def _forward_to(self, number: int) -> Frame | None:
        """Decode up to a frame; return None where that turns out to be another one."""
        if self._capture is None or self._next > number:
            return None
        while self._next < number:
            if not self._capture.grab():
                return None
            self._next += 1
        whole, frame = self._capture.read()
        self._next += 1
        if not whole or _checksum(frame) != self._checksums[number - 1]:
            return None
        return np.asarray(frame, np.uint8)

    def _seek(self, number: int) -> None:
        """Move the decoder near a frame, and find out from the picture where it is."""
        if self._capture is None:
            self._reopen()
        assert self._capture is not None
        if number == 1:
            self._reopen()
            return
        # The picture before the one to be read tells the place.
        self._capture.set(cv2.CAP_PROP_POS_FRAMES, number - 2)
        whole, frame = self._capture.read()
        places = self._numbers.get(_checksum(frame), []) if whole else []
        found = min(places, key=lambda place: abs(place - number + 1), default=number - 1)
        self._next = found + 1

    def _reopen(self) -> None:
        """Open a decoder at the first frame."""
        self.close()
        self._process = os.getpid()
        # Loader processes run side by side; threads inside each would only get in their way.
        options = [cv2.CAP_PROP_N_THREADS, 1]
        capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG, options)
        if not capture.isOpened():
            capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            raise UserError(f"{self.path} can no longer be opened: has it been moved?")
        self._capture = capture
        self._next = 1


def _checksum(frame: npt.NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(frame).data)
