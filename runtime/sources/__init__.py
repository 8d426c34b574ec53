"""Where frames come from: a video file, a folder of images, a MOTChallenge sequence."""

from __future__ import annotations

from runtime.sources.base import FrameSource
from runtime.sources.opening import open_source

__all__ = ["FrameSource", "open_source"]
