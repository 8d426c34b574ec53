"""Finding out what kind of source a text means."""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from runtime.console import warn
from runtime.errors import UserError
from runtime.mot import read_sequence_info
from runtime.opencv import cv2
from runtime.sources.base import FrameSource
from runtime.sources.images import IMAGE_SUFFIXES, ImageSource, list_images, natural_key
from runtime.sources.live import (
    LiveSource,
    camera_capture,
    pipeline_capture,
    require_gstreamer,
    url_capture,
)
from runtime.sources.reconnect import LiveSettings
from runtime.sources.urls import SCHEMES, is_pipeline, redact, scheme_of
from runtime.sources.video import RemoteRecording, VideoSource, plausible_length

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg"})
# In messages: pipelines and signed URLs fill the screen otherwise.
LONGEST_NAME = 100


def open_source(
    source: str | Path,
    fps: float | None = None,
    *,
    live: LiveSettings | None = None,
    tell: Callable[[str], None] = warn,
) -> FrameSource:
    """Open whatever gives frames.

    Args:
        source: One of these. A ``Path`` is always a file or a folder.

            - a video file;
            - a folder of images, or a pattern such as ``frames/*.jpg``;
            - a MOTChallenge sequence folder, which has a ``seqinfo.ini``: its images, or the one
              video in it;
            - the number of a camera, or its device file such as ``/dev/video0``. A file or folder
              that is named ``0`` goes before the camera;
            - a URL that begins with rtsp, rtsps, rtmp, rtmps, http, https, udp or tcp. One over
              HTTP whose container tells a length is a recording, all others are live;
            - a GStreamer pipeline, known by `` ! `` between its elements; it ends in an
              ``appsink``, and is a recording where it tells a length.
        fps: Frames per second; replaces what the source says. Images say nothing, 30 is taken.
        live: How to connect to live sources and for how long to try to reconnect.
        tell: Takes lines about outages of live sources; they are warnings by default.

    Returns:
        The source; its first frame has been decoded, later ones have not.

    Raises:
        UserError: There is nothing that gives frames.
    """
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise UserError(f"frame rate {fps:g} is not a positive number: give frames per second")
    text = str(source)
    is_path = isinstance(source, Path)
    if not is_path and scheme_of(text) is not None:
        return _open_url(text, fps, live or LiveSettings(), tell)
    path = Path(source)
    # Unlike Path.exists, this takes texts of any length: pipelines are longer than file names.
    exists = os.path.exists(text)  # noqa: PTH110
    is_device = exists and path.is_char_device()
    if exists and not is_device:
        return _open_path(path, fps)
    if is_device or re.fullmatch(r"/dev/video[0-9]+", text):
        return LiveSource(path.name, partial(camera_capture, text), fps, live, tell)
    if not is_path:
        if is_pipeline(text):
            return _open_pipeline(text, fps, live or LiveSettings(), tell)
        if re.fullmatch(r"0|[1-9][0-9]{0,3}", text):
            return LiveSource(f"camera {text}", partial(camera_capture, int(text)), fps, live, tell)
        if glob.has_magic(text):
            return _open_pattern(text, fps)
    raise UserError(
        f"source {_shown(text)} does not exist: give a video file, a folder of images or a "
        "sequence, a camera's number or a URL"
    )


def _open_path(path: Path, fps: float | None) -> FrameSource:
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


def _open_pattern(pattern: str, fps: float | None) -> FrameSource:
    found = (Path(name) for name in glob.glob(pattern, recursive=True))  # noqa: PTH207
    files = [file for file in found if file.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise UserError(
            f"no image is named like {pattern}: check the pattern, and put it in quotes"
        )
    files.sort(key=lambda file: natural_key(str(file)))
    folder = os.path.commonpath([file.parent.resolve() for file in files])
    return ImageSource(files, Path(folder).name, fps)


def _open_url(
    url: str, fps: float | None, settings: LiveSettings, tell: Callable[[str], None]
) -> FrameSource:
    scheme = scheme_of(url)
    if scheme not in SCHEMES:
        raise UserError(
            f"{_shown(url)} begins with {scheme}://, which is not supported: give a URL with "
            f"{', '.join(SCHEMES)}, or a path"
        )
    if re.search(r"\s", url):
        # The rest is not shown: behind a space in a password, nothing tells where it ends.
        raise UserError(f"the {scheme} URL has a space in it: write %20 in its place")
    connect = partial(url_capture, url, settings)
    source = LiveSource(_shown(url), connect, fps, settings, tell)
    return _recording_if_finite(source, connect) if scheme in ("http", "https") else source


def _open_pipeline(
    pipeline: str, fps: float | None, settings: LiveSettings, tell: Callable[[str], None]
) -> FrameSource:
    require_gstreamer()
    connect = partial(pipeline_capture, pipeline, settings)
    source = LiveSource(_shown(pipeline), connect, fps, settings, tell)
    return _recording_if_finite(source, connect)


def _shown(text: str) -> str:
    """Return a text for messages, without its secrets and not too long."""
    text = redact(text)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"


def _recording_if_finite(
    source: LiveSource, connect: Callable[[], cv2.VideoCapture]
) -> FrameSource:
    length = plausible_length(source.told_length)
    if length is None:
        return source
    source.close()
    return RemoteRecording(source.name, connect, source.fps, source.size_wh, length)


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
