"""Prepared datasets as sources: labels in memory, pictures read from disk when they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.console import progress
from runtime.errors import UserError
from train.data.index import INDEX_FILE, read_index
from train.data.labels import Labels, label_path, read_labels, split_frame
from train.data.pictures import PictureSource, read_picture
from train.data.sample import Sample
from train.data.video import FrameCache, VideoFrames

# As for sequences held in memory: hard to tell from the frame itself.
VIDEO_QUALITY = 92
MANY_LABELS = 20_000  # files; reading them takes about a second


class PreparedSource(PictureSource):
    """Pictures with FairMOT's label files.

    All label files are read at once into a few arrays: a million boxes take 40 MB, and reading
    10,000 files of 20 boxes each about half a second, too little to share between processes.
    Identities are the files' own numbers, and ``num_ids`` is the largest plus one, as FairMOT has
    it: a split shares the numbers of the whole dataset.

    Args:
        name: For messages.
        root: Folder that the pictures' paths are relative to.
        pictures: Paths of images, or of frames of videos as ``images/train/S1.avi#12``.
        video_cache_mb: Memory for frames of videos, in each process.

    Raises:
        UserError: There are no pictures or no labels at all, a label file does not parse, or a
            video is damaged.
    """

    def __init__(
        self, name: str, root: Path, pictures: Sequence[str], video_cache_mb: float = 512
    ) -> None:
        if not pictures:
            raise UserError(f"{name} lists no pictures: choose another split or prepare it again")
        self.name = name
        self._root = root
        self._pictures = list(pictures)
        self._starts, table = _read_tables(name, root, self._pictures)
        self._classes = table[:, 0].astype(np.int32)
        self._ids = table[:, 1].astype(np.int32)
        self._boxes_cxcywh = table[:, 2:].astype(np.float32)
        self.num_ids = int(self._ids.max(initial=-1)) + 1
        self.num_classes = int(self._classes.max(initial=0)) + 1
        self._videos = _open_videos(root, self._pictures, video_cache_mb)

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Sample:
        path, frame = split_frame(self._pictures[index])
        image = read_picture(self._root / path) if frame is None else self._videos[path].read(frame)
        rows = slice(self._starts[index], self._starts[index + 1])
        ids = self._ids[rows].astype(np.int64)
        classes = self._classes[rows].astype(np.int64)
        labels = Labels(classes, ids, self._boxes_cxcywh[rows].astype(np.float64))
        return Sample(image, labels.boxes_xyxy((image.shape[1], image.shape[0])), classes, ids)


def open_dataset(
    path: Path, split: str = "train", every: int = 1, video_cache_mb: float = 512
) -> PreparedSource:
    """Open a split of a prepared dataset.

    Args:
        path: The folder of ``dataset.json``, or that file.
        split: Name of the split.
        every: Use every n-th picture of the list.
        video_cache_mb: Memory for frames of videos, in each process.

    Raises:
        UserError: There is no such dataset or split, or it is damaged.
    """
    if path.is_dir() and not (path / INDEX_FILE).exists():
        raise UserError(f"{path} has no {INDEX_FILE}: prepare the dataset with kd-data prepare")
    index = read_index(path)
    pictures = index.pictures(split)[::every]
    source = PreparedSource(f"{index.name}/{split}", index.root, pictures, video_cache_mb)
    source.num_classes = max(source.num_classes, len(index.classes))
    return source


def _read_tables(
    name: str, root: Path, pictures: Sequence[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Read all label files.

    Returns:
        ``[N + 1]`` where each picture's rows start, and the rows ``[T, 6]``: class, identity and
        ``cx, cy, w, h`` as shares of the picture's size.
    """
    tables = []
    found = 0
    with progress(transient=True, shown=len(pictures) >= MANY_LABELS) as bar:
        for picture in bar.track(pictures, description=f"labels of {name}"):
            file = root / label_path(picture)
            found += file.exists()
            labels = read_labels(file)
            tables.append(np.column_stack([labels.classes, labels.ids, labels.boxes_cxcywh]))
    if not found:
        raise UserError(
            f"{name}: none of {len(pictures)} pictures has labels; the first should stand at "
            f"{root / label_path(pictures[0])}: prepare the dataset with kd-data prepare"
        )
    starts = np.cumsum([0, *(len(table) for table in tables)])
    return starts, np.concatenate(tables)


def _open_videos(
    root: Path, pictures: Sequence[str], video_cache_mb: float
) -> dict[str, VideoFrames]:
    """Open the videos that frames are listed of; they share one cache."""
    wanted: dict[str, set[int]] = {}
    for picture in pictures:
        path, frame = split_frame(picture)
        if frame is not None:
            wanted.setdefault(path, set()).add(frame)
    cache = FrameCache(video_cache_mb, VIDEO_QUALITY)
    videos = {}
    for path, frames in wanted.items():
        video = videos[path] = VideoFrames(root / path, cache, frames)
        if max(frames) > len(video):
            raise UserError(
                f"{root / path} has {len(video)} frames, the list names frame {max(frames)}: "
                "copy the video again or prepare the dataset again"
            )
    return videos
