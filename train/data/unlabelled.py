"""Pictures without labels: videos and images of the user's own cameras."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.errors import UserError
from runtime.sources.images import IMAGE_SUFFIXES, list_images, natural_key
from runtime.sources.opening import VIDEO_SUFFIXES
from train.data.pictures import JoinedSource, PictureSource, read_picture
from train.data.prepared import VIDEO_QUALITY
from train.data.sample import Sample
from train.data.video import FrameCache, VideoFrames

NO_END = 1 << 60

Range = tuple[int, int]


class UnlabelledImages(PictureSource):
    """Image files, each read when it is drawn.

    Args:
        name: For messages.
        files: The files.
    """

    num_ids = 0
    labelled = False

    def __init__(self, name: str, files: Sequence[Path]) -> None:
        self.name = name
        self._files = list(files)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        return _without_labels(read_picture(self._files[index]))


class UnlabelledVideo(PictureSource):
    """Frames of a video.

    Args:
        video: The video.
        numbers: The frames, counted from 1.
    """

    num_ids = 0
    labelled = False

    def __init__(self, video: VideoFrames, numbers: Sequence[int]) -> None:
        self.name = video.path.name
        self._video = video
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Sample:
        return _without_labels(self._video.read(self._numbers[index]))


class WithoutLabels(PictureSource):
    """A source whose labels are not used.

    Args:
        source: The source.
    """

    num_ids = 0
    labelled = False

    def __init__(self, source: PictureSource) -> None:
        self.name = source.name
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Sample:
        sample = self._source[index]
        kept = np.zeros(len(sample.boxes_xyxy), bool)
        return replace(sample.select(kept), labelled=False)


def open_unlabelled(
    path: Path,
    frames: Sequence[Range] | None = None,
    every: int = 1,
    video_cache_mb: float = 512,
) -> PictureSource:
    """Open pictures without labels.

    Args:
        path: A video, a folder of videos, a folder of images, or a MOTChallenge sequence with its
            images in ``img1``. Files are taken in the order of the numbers in their names.
        frames: First and last frame of ranges to use, counted from 1, of each video or of the
            images; a last one beyond the end means the end. None for all.
        every: Use every n-th of them.
        video_cache_mb: Memory for frames of videos, in each process.

    Raises:
        UserError: There is nothing of the kind, a video is damaged, or the range is empty.
    """
    chosen = _Chosen(path, frames or [(1, NO_END)], every)
    if not path.exists():
        raise UserError(f"{path} does not exist: give a video, or a folder of videos or images")
    if path.is_dir():
        sequence = path / "img1"
        images = list_images(sequence if sequence.is_dir() else path)
        videos = [] if sequence.is_dir() else _list_videos(path)
        if images and videos:
            raise UserError(
                f"{path} holds {len(images)} images and {len(videos)} videos: give a folder of "
                "one kind, or a single video"
            )
        if images:
            files = [images[number - 1] for number in chosen.up_to(len(images), path)]
            return UnlabelledImages(path.resolve().name, files)
        if not videos:
            raise UserError(f"{path} holds neither videos nor images: check the path")
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        raise UserError(f"{path} is a single image: give a video or the folder of the images")
    else:
        videos = [path]
    cache = FrameCache(video_cache_mb, VIDEO_QUALITY)
    parts = [_open_video(file, chosen, cache) for file in videos]
    return parts[0] if len(parts) == 1 else JoinedSource(path.resolve().name, parts)


def _open_video(file: Path, chosen: _Chosen, cache: FrameCache) -> UnlabelledVideo:
    video = VideoFrames(file, cache, wanted=chosen)
    return UnlabelledVideo(video, chosen.up_to(len(video), file))


class _Chosen(Container[int]):
    """Every n-th of the frames in ranges, for recordings whose length is not known yet.

    Args:
        path: For messages.
        ranges: First and last frame of each.
        every: n.

    Raises:
        UserError: A range is turned round, or begins before the one before has ended.
    """

    def __init__(self, path: Path, ranges: Sequence[Range], every: int) -> None:
        self._parts: list[range] = []
        count = end = 0
        for first, last in ranges:
            if not end < first <= last:
                rule = "give the first before the last, from 1, and ranges in order"
                raise UserError(f"frames {first} to {last} of {path}: {rule}")
            self._parts.append(range(first + -count % every, last + 1, every))
            count += last + 1 - first
            end = last
        self._first = ranges[0][0]

    def __contains__(self, number: object) -> bool:
        return any(number in part for part in self._parts)

    def up_to(self, length: int, path: Path) -> list[int]:
        """Return the chosen frames of a recording.

        Raises:
            UserError: It ends before the first of them.
        """
        if self._first > length:
            raise UserError(
                f"{path} has {length} frames, the range begins at {self._first}: correct frames"
            )
        within = (range(part.start, min(part.stop, length + 1), part.step) for part in self._parts)
        return list(chain.from_iterable(within))


def _list_videos(folder: Path) -> list[Path]:
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in VIDEO_SUFFIXES and not file.name.startswith(".")
    ]
    return sorted(files, key=lambda file: natural_key(file.name))


def _without_labels(image: npt.NDArray[np.uint8]) -> Sample:
    return Sample(
        image=image,
        boxes_xyxy=np.zeros((0, 4), np.float32),
        classes=np.zeros(0, np.int64),
        ids=np.zeros(0, np.int64),
        labelled=False,
    )
