"""Where frames come from: videos, images, MOTChallenge sequences, cameras and streams."""

from __future__ import annotations

from runtime.sources.base import FrameSource
from runtime.sources.names import folder_names
from runtime.sources.opening import open_source
from runtime.sources.reconnect import LiveSettings
from runtime.sources.urls import redact

__all__ = ["FrameSource", "LiveSettings", "folder_names", "open_source", "redact"]
