"""VP8 in WebM, written so that a killed process loses no frame that was written.

OpenCV's own WebM file would not do: FFmpeg holds up to five seconds back, and then writes 256 KiB
at a time. A full disk goes unnoticed as well. ``OPENCV_FFMPEG_WRITER_OPTIONS`` reach neither the
encoder nor the container. So OpenCV encodes into a named pipe, where FFmpeg hands over each frame
as it comes (IVF, a header of 12 bytes per frame), and the container is written here: a block of
Matroska per frame, in one call.
"""

from __future__ import annotations

import os
import queue
import struct
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.opencv import cv2, silenced_stderr
from runtime.sinks.growing import GrowingFile

# VP8: every browser plays it, OpenCV's own FFmpeg writes it, and it encodes faster than VP9.
FOURCC = "VP80"
IVF_HEADER = 32
# A frame is in the pipe when the encoder returns; this only ends a wait that would have no end.
ENCODER_SECONDS = 60.0

# Identifiers of Matroska elements, RFC 9559.
EBML, SEGMENT, INFO, TRACKS, CLUSTER, CUES = (
    *(0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675, 0x1C53BB6B),
)
UNKNOWN_SIZE = (1 << 56) - 1
# A block tells its time as 16 bits of milliseconds after its cluster.
LONGEST_CLUSTER_MS = 32_000
# Key frames come more often, but players need not know of each.
CUE_MS = 5_000


class Vp8Encoder:
    """Encodes frames with OpenCV.

    Args:
        fps: Frames per second, to which the encoder fits its data rate.
        size_wh: Size of the frames in pixels.

    Attributes:
        size_wh: Size of the encoded frames, which is even.

    Raises:
        UserError: OpenCV brings no such encoder.
    """

    def __init__(self, fps: float, size_wh: tuple[int, int]) -> None:
        self.size_wh = (size_wh[0] & ~1, size_wh[1] & ~1)
        self._frames: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        with tempfile.TemporaryDirectory() as folder:
            pipe = Path(folder) / "frames.ivf"
            os.mkfifo(pipe)
            # A reader that is there already keeps the encoder's opening from waiting for one.
            reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
            fourcc = cv2.VideoWriter.fourcc(*FOURCC)
            with silenced_stderr():
                self._video = cv2.VideoWriter(str(pipe), cv2.CAP_FFMPEG, fourcc, fps, size_wh)
        if not self._video.isOpened():
            os.close(reader)
            raise UserError(
                "OpenCV cannot encode VP8 here: use --no-overlay, or install "
                "opencv-python-headless, which brings the encoder"
            )
        os.set_blocking(reader, True)
        self._thread = threading.Thread(
            target=self._drain, args=(os.fdopen(reader, "rb"),), daemon=True
        )
        self._thread.start()

    def encode(self, frame: npt.NDArray[np.uint8]) -> bytes:
        """Return the frame, uint8 BGR ``[H, W, 3]``, as VP8.

        Raises:
            UserError: The encoder gave nothing.
        """
        self._video.write(frame)
        try:
            encoded = self._frames.get(timeout=ENCODER_SECONDS)
        except queue.Empty:
            encoded = None
        if encoded is None:
            raise UserError(
                "OpenCV's VP8 encoder stopped: use --no-overlay, or install another version of "
                "opencv-python-headless"
            )
        return encoded

    def close(self) -> None:
        """Give the encoder back."""
        self._video.release()
        self._thread.join()

    def _drain(self, reader: BinaryIO) -> None:
        # A thread, since a frame may be larger than the pipe.
        with reader:
            for frame in _read_ivf(reader):
                self._frames.put(frame)
        self._frames.put(None)


def _read_ivf(reader: BinaryIO) -> Iterator[bytes]:
    reader.read(IVF_HEADER)
    while len(head := reader.read(12)) == 12:
        yield reader.read(struct.unpack_from("<I", head)[0])


class WebmMuxer:
    """Writes VP8 frames as WebM into a growing file.

    Until ``finish``, sizes and duration stand as unknown, as in a live stream, which players and
    FFmpeg read up to the last block.

    Args:
        file: An opened, empty file.
        fps: Frames per second, as a hint for players; each frame brings its own time.
        size_wh: Size of the encoded frames in pixels.
    """

    def __init__(self, file: GrowingFile, fps: float, size_wh: tuple[int, int]) -> None:
        self._file = file
        self._frame_ms = 1000 / fps
        self._last_ms = -1
        self._cluster_ms = 0
        self._cluster_at: int | None = None
        self._cues: list[tuple[int, int]] = []
        head = _element(
            EBML,
            *(_number(0x4286, 1), _number(0x42F7, 1), _number(0x42F2, 4), _number(0x42F3, 8)),
            *(_element(0x4282, b"webm"), _number(0x4287, 4), _number(0x4285, 2)),
        )
        self._segment_at = len(head) + 12
        # Empty elements keep the place of what is known only at the end.
        self._seek_at = self._segment_at
        seek = _void(len(_seek_head(0)))
        duration = _void(len(_duration(0)))
        info = _element(
            INFO,
            _number(0x2AD7B1, 1_000_000),
            *(_element(0x4D80, b"kd-mot"), _element(0x5741, b"kd-mot")),
            duration,
        )
        self._duration_at = self._segment_at + len(seek) + len(info) - len(duration)
        video = _element(0xE0, _number(0xB0, size_wh[0]), _number(0xBA, size_wh[1]))
        track = _element(
            0xAE,
            *(_number(0xD7, 1), _number(0x73C5, 1), _number(0x83, 1), _number(0x9C, 0)),
            *(_element(0x86, b"V_VP8"), _number(0x23E383, round(1e9 / fps)), video),
        )
        file.write_header(
            head + _head(SEGMENT, UNKNOWN_SIZE) + seek + info + _element(TRACKS, track)
        )

    def write(self, encoded: bytes, seconds: float) -> None:
        """Append one frame.

        Args:
            encoded: The frame as VP8; the first one is a key frame.
            seconds: Its time; times that do not grow are moved a millisecond behind the last.

        Raises:
            UserError: The disk is full; the frames before are kept.
        """
        now = max(round(seconds * 1000), self._last_ms + 1)
        is_key = not encoded[0] & 1
        start = b""
        if self._cluster_at is None or is_key or now - self._cluster_ms > LONGEST_CLUSTER_MS:
            self._end_cluster()
            start = _head(CLUSTER, UNKNOWN_SIZE) + _number(0xE7, now)
        since = 0 if start else now - self._cluster_ms
        block = struct.pack(">BhB", 0x81, since, 0x80 if is_key else 0) + encoded
        position = self._file.size
        self._file.write_frame(start + _element(0xA3, block))
        self._last_ms = now
        if start:
            self._cluster_ms, self._cluster_at = now, position
            if is_key and (not self._cues or now - self._cues[-1][0] >= CUE_MS):
                self._cues.append((now, position))

    def finish(self) -> None:
        """Write what players seek by: sizes, duration and where the key frames are.

        Raises:
            UserError: The disk is full; the file plays all the same.
        """
        if not self._cues:
            return
        self._end_cluster()
        cues_at = self._file.size
        self._file.write_header(_element(CUES, *(self._cue(*cue) for cue in self._cues)))
        length = self._last_ms + self._frame_ms
        self._file.patch(self._seek_at, _seek_head(cues_at - self._segment_at))
        self._file.patch(self._duration_at, _duration(length))
        self._patch_size(self._segment_at)

    def _cue(self, time_ms: int, position: int) -> bytes:
        where = _element(0xB7, _number(0xF7, 1), _number(0xF1, position - self._segment_at))
        return _element(0xBB, _number(0xB3, time_ms), where)

    def _end_cluster(self) -> None:
        if self._cluster_at is not None:
            self._patch_size(self._cluster_at + 12)
            self._cluster_at = None

    def _patch_size(self, content_at: int) -> None:
        """Replace the unknown size of an element that reaches to the end of the file."""
        self._file.patch(content_at - 8, _size(self._file.size - content_at))


def _size(value: int) -> bytes:
    """Return a size in eight bytes, as all of them are written here."""
    return ((1 << 56) | value).to_bytes(8, "big")


def _head(identifier: int, size: int) -> bytes:
    return identifier.to_bytes((identifier.bit_length() + 7) // 8, "big") + _size(size)


def _element(identifier: int, *content: bytes) -> bytes:
    return _head(identifier, sum(map(len, content))) + b"".join(content)


def _number(identifier: int, value: int) -> bytes:
    return _element(identifier, value.to_bytes(8, "big"))


def _void(length: int) -> bytes:
    """Return an element of ``length`` bytes that players skip."""
    return _element(0xEC, bytes(length - 9))


def _duration(milliseconds: float) -> bytes:
    return _element(0x4489, struct.pack(">d", milliseconds))


def _seek_head(cues_position: int) -> bytes:
    return _element(
        0x114D9B74,
        _element(0x4DBB, _element(0x53AB, CUES.to_bytes(4, "big")), _number(0x53AC, cues_position)),
    )
