"""Small videos, folders and models for the runtime's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.opencv import cv2
from tests.stub_model import write_stub_model

SIZE_WH = (192, 128)


def blob_frame(index: int, size_wh: tuple[int, int] = SIZE_WH) -> np.ndarray:
    """Return a dark frame with two bright discs that move apart."""
    frame = np.full((size_wh[1], size_wh[0], 3), 30, np.uint8)
    cv2.circle(frame, (60 - index, 40), 14, (255, 255, 225), cv2.FILLED)
    cv2.circle(frame, (120 + index, 90), 14, (225, 255, 255), cv2.FILLED)
    return frame


def write_video(path: Path, frames: int = 20, fps: float = 10.0) -> Path:
    """Write a Motion JPEG video of ``blob_frame``."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, SIZE_WH)
    assert writer.isOpened()
    for index in range(frames):
        writer.write(blob_frame(index))
    writer.release()
    return path


def write_images(folder: Path, frames: int = 12) -> Path:
    """Write numbered images without leading zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(frames):
        cv2.imwrite(str(folder / f"frame{index}.png"), blob_frame(index))
    return folder


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "blobs.avi")


@pytest.fixture(scope="session")
def cut_video(video: Path) -> Path:
    path = video.with_name("cut.avi")
    content = video.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


@pytest.fixture(scope="session")
def stub_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "stub.onnx"
    write_stub_model(path)
    return path
