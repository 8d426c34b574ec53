"""Looking at every picture and its labels, in several processes."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.opencv import cv2
from runtime.sources.video import VideoSource
from train.data.checking.findings import Fault, Findings
from train.data.checking.scanning import Limits, scan_labels
from train.data.labels import label_path, split_frame
from train.data.prepare.base import in_processes
from train.data.prepare.pictures import image_size

BATCH = 50  # pictures that a process takes at a time
# Never one where there is a progress bar: codecs and the bar speak on the same channel.
PROCESSES = 2
# For the decision whether a second process and a progress bar pay: a Full HD JPEG decodes in about
# 15 ms, a photograph in 3, and a header is read in far less.
SECONDS_DECODED, SECONDS_QUICK = 0.01, 0.0005
UNKNOWN_SIZE = (0, 0)


@dataclass
class Inspection:
    """What was seen of ``N`` pictures with ``M`` good boxes.

    Attributes:
        pictures: ``[N]`` names.
        sizes_wh: ``[N, 2]`` int64 pixels, zeros where the picture cannot be read.
        usable: ``[N]`` bool, whether picture and label file can be read.
        picture_of_box: ``[M]`` int64 indices into ``pictures``.
        classes: ``[M]`` int64.
        ids: ``[M]`` int64, negative where unknown.
        boxes_cxcywh: ``[M, 4]`` float64 shares of the picture, see ``train.data.labels``.
        findings: What was wrong.
    """

    pictures: list[str]
    sizes_wh: npt.NDArray[np.int64]
    usable: npt.NDArray[np.bool_]
    picture_of_box: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    boxes_cxcywh: npt.NDArray[np.float64]
    findings: Findings = field(default_factory=Findings)

    def box_sizes(self) -> npt.NDArray[np.float64]:
        """Return width and height of the boxes in pixels, ``[M, 2]``; zeros where unknown."""
        return self.boxes_cxcywh[:, 2:] * self.sizes_wh[self.picture_of_box]


def inspect_pictures(
    root: Path, pictures: Sequence[str], limits: Limits, decode: bool
) -> Inspection:
    """Look at pictures and their labels.

    Args:
        root: Folder that the pictures are relative to.
        pictures: Their names, each once; frames of videos as ``S1.avi#12``.
        limits: What the index promises about the labels.
        decode: Whether to decode the pictures; else only headers are read.

    Returns:
        What was seen; the order of its pictures is its own, frames of a video come together.
    """
    stills = [picture for picture in pictures if split_frame(picture)[1] is None]
    videos: dict[str, list[str]] = {}
    for picture in pictures:
        path, frame = split_frame(picture)
        if frame is not None:
            videos.setdefault(path, []).append(picture)
    # Videos first: they are the longest jobs.
    blocks = [*videos.values()]
    blocks += [stills[start : start + BATCH] for start in range(0, len(stills), BATCH)]
    jobs = [(root, block, limits, decode) for block in blocks]
    seconds = len(pictures) * (SECONDS_DECODED if decode else SECONDS_QUICK)
    return _joined(in_processes(_inspect_block, jobs, "checking pictures", PROCESSES, seconds))


def _joined(parts: Sequence[Inspection]) -> Inspection:
    parts = [_empty(), *parts]
    firsts = np.cumsum([0, *(len(part.pictures) for part in parts)])
    findings = Findings()
    for part in parts:
        findings.merge(part.findings)
    return Inspection(
        [picture for part in parts for picture in part.pictures],
        np.concatenate([part.sizes_wh for part in parts]),
        np.concatenate([part.usable for part in parts]),
        np.concatenate(
            [part.picture_of_box + first for part, first in zip(parts, firsts, strict=False)]
        ),
        np.concatenate([part.classes for part in parts]),
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.boxes_cxcywh for part in parts]),
        findings,
    )


def _empty() -> Inspection:
    none = np.zeros(0, np.int64)
    return Inspection(
        [], np.zeros((0, 2), np.int64), np.zeros(0, np.bool_), none, none, none, np.zeros((0, 4))
    )


def _inspect_block(root: Path, pictures: list[str], limits: Limits, decode: bool) -> Inspection:
    """Look at the frames of one video, or at some photographs."""
    findings = Findings()
    path, frame = split_frame(pictures[0])
    if frame is None:
        sizes = [_still_size(root, picture, decode, findings) for picture in pictures]
    else:
        sizes = _frame_sizes(root / path, pictures, decode, findings)
    scans = [
        scan_labels(root / label_path(picture), label_path(picture), limits, findings)
        for picture in pictures
    ]
    for picture, scan in zip(pictures, scans, strict=True):
        if scan is not None and not len(scan.labels):
            findings.add(Fault.WITHOUT_OBJECTS, picture)
    labels = [(index, scan.labels) for index, scan in enumerate(scans) if scan is not None]
    empty = _empty()
    return Inspection(
        pictures,
        np.array(sizes, np.int64).reshape(-1, 2),
        np.array([min(size) > 0 for size in sizes]) & [scan is not None for scan in scans],
        np.repeat([index for index, _ in labels], [len(part) for _, part in labels]).astype(
            np.int64
        ),
        np.concatenate([empty.classes, *(part.classes for _, part in labels)]),
        np.concatenate([empty.ids, *(part.ids for _, part in labels)]),
        np.concatenate([empty.boxes_cxcywh, *(part.boxes_cxcywh for _, part in labels)]),
        findings,
    )


def _still_size(root: Path, picture: str, decode: bool, findings: Findings) -> tuple[int, int]:
    """Return the size of a picture, zeros if it cannot be read."""
    file = root / picture
    if not file.is_file():
        findings.add(Fault.PICTURE_MISSING, picture)
        return UNKNOWN_SIZE
    try:
        if not decode:
            return image_size(file)
        encoded = np.fromfile(file, np.uint8)
    except (OSError, UserError) as error:
        reason = (
            "no picture that decodes" if isinstance(error, UserError) else error.strerror or error
        )
        findings.add(Fault.PICTURE_UNREADABLE, f"{picture}: {reason}")
        return UNKNOWN_SIZE
    # Decoding from memory, because imread fills up a JPEG that was cut short and says nothing.
    image, complaint = _overheard(
        lambda: cv2.imdecode(encoded, cv2.IMREAD_COLOR) if len(encoded) else None
    )
    if image is None:
        findings.add(
            Fault.PICTURE_UNREADABLE, f"{picture}: {complaint or 'no picture, or cut short'}"
        )
        return UNKNOWN_SIZE
    if complaint:
        findings.add(Fault.PICTURE_DAMAGED, f"{picture}: {complaint}")
    return image.shape[1], image.shape[0]


def _overheard(
    decode: Callable[[], npt.NDArray[np.generic] | None],
) -> tuple[npt.NDArray[np.generic] | None, str]:
    """Decode and return what the codec said on file descriptor 2, its only way to complain."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as ear:
        os.dup2(ear.fileno(), 2)
        try:
            image = decode()
        except cv2.error as error:  # sizes beyond OpenCV's limit, for one
            return None, " ".join(str(error).split())[:120]
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        ear.seek(0)
        return image, " ".join(ear.read(200).decode(errors="replace").split())


def _frame_sizes(
    video: Path, pictures: list[str], decode: bool, findings: Findings
) -> list[tuple[int, int]]:
    """Return the size of frames of a video, zeros for those that it does not have."""
    numbers = [split_frame(picture)[1] or 0 for picture in pictures]
    if not video.is_file():
        findings.add(Fault.PICTURE_MISSING, pictures[0], len(pictures))
        return [UNKNOWN_SIZE] * len(pictures)
    try:
        source = VideoSource(video)
    except UserError as error:
        findings.add(Fault.PICTURE_UNREADABLE, f"{pictures[0]}: {error}", len(pictures))
        return [UNKNOWN_SIZE] * len(pictures)
    with source:
        count = source.length or 0
        if decode:
            count = _decodable(source, max(numbers))
    sizes = []
    for picture, number in zip(pictures, numbers, strict=True):
        there = 1 <= number <= count
        sizes.append(source.size_wh if there else UNKNOWN_SIZE)
        if not there:
            findings.add(Fault.FRAME_MISSING, f"{picture}: it has {count} frames")
    return sizes


def _decodable(source: VideoSource, wanted: int) -> int:
    """Return how many frames decode, counting no further than ``wanted``."""
    count = 0
    try:
        for _ in source:
            count += 1
            if count >= wanted:
                break
    except UserError:  # cut short; what counts is which frames are wanted
        pass
    return count
