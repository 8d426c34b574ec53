"""Finding out what kind of source a path is."""

from __future__ import annotations

import math
from pathlib import Path

from runtime.errors import UserError
from runtime.mot import read_sequence_info
from runtime.sources.base import FrameSource
from runtime.sources.images import IMAGE_SUFFIXES, ImageSource, list_images
from runtime.sources.video import VideoSource

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg"})


def open_source(source: str | Path, fps: float | None = None) -> FrameSource:
    """Open a video file, a folder of images or a MOTChallenge sequence folder.

    Args:
        source: Path. A folder with a ``seqinfo.ini`` is a sequence: its images, or the one video
            in it.
        fps: Frames per second; replaces what the source says. A folder of images says nothing,
            30 is taken.

    Returns:
        The source; its first frame has been decoded, later ones have not.

    Raises:
        UserError: There is nothing at the path, or nothing that gives frames.
    """
    path = Path(source)
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise UserError(f"frame rate {fps:g} is not a positive number: give frames per second")
    if not path.exists():
        raise UserError(
            f"source {path} does not exist: give a video file, a folder of images or a sequence"
        )
    if not path.is_dir():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise UserError(f"{path} is a single image: give a video or the folder of the images")
        return VideoSource(path, fps=fps)
    if (path / "seqinfo.ini").exists():
        return _open_sequence(path, fps)
    files = list_images(path)
    if not files:
        raise UserError(
            f"{path} holds no images: give a folder of jpg, png, bmp, webp, tif or ppm files"
        )
    return ImageSource(files, path.resolve().name, fps)


def _open_sequence(folder: Path, fps: float | None) -> FrameSource:
    info = read_sequence_info(folder / "seqinfo.ini")
    if fps is None and not info.fps > 0:
        raise UserError(f"{folder / 'seqinfo.ini'} has frameRate {info.fps:g}: give it above 0")
    fps = fps or info.fps
    image_folder = folder / info.image_dir
    if image_folder.is_dir():
        files = list_images(image_folder)
        # A missing image would shift the number of every later frame against the ground truth.
        if len(files) < max(info.length, 1):
            raise UserError(
                f"{image_folder} holds {len(files)} images, seqinfo.ini promises {info.length}: "
                "copy the sequence again or correct seqLength"
            )
        return ImageSource(files, info.name, fps)
    videos = sorted(file for file in folder.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES)
    if len(videos) != 1:
        raise UserError(
            f"{folder} has neither a folder {info.image_dir} nor exactly one video "
            f"(found {len(videos)}): add the frames of the sequence"
        )
    return VideoSource(videos[0], info.name, fps)
