"""A sequence small enough to train on in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from runtime.mot import SequenceInfo, write_sequence_info
from train.config import TrainConfig


@pytest.fixture(scope="session")
def tiny_sequence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames with three coloured people-shaped boxes that walk to the right."""
    directory = tmp_path_factory.mktemp("data") / "tiny"
    (directory / "img1").mkdir(parents=True)
    (directory / "gt").mkdir()
    rng = np.random.default_rng(0)
    background = rng.integers(60, 120, (96, 128, 3)).astype(np.uint8)
    rows = []
    for frame in range(12):
        image = background.copy()
        for identity, colour in enumerate([(250, 30, 30), (30, 240, 30), (30, 30, 250)]):
            left, top = 8 + 36 * identity + 2 * frame, 20 + 8 * identity
            image[top : top + 40, left : left + 16] = colour
            rows.append(f"{frame + 1},{identity + 4},{left},{top},16,40,1,1,1")
        cv2.imwrite(str(directory / "img1" / f"{frame + 1:06d}.jpg"), image)
    (directory / "gt" / "gt.txt").write_text("\n".join(rows) + "\n")
    write_sequence_info(directory, SequenceInfo("tiny", 25, 12, (128, 96)))
    return directory


@pytest.fixture
def tiny_config(tiny_sequence: Path) -> dict[str, Any]:
    """A run of two epochs of three steps each."""
    return {
        "model": {"name": "nano", "embedding_dim": 8},
        "input_wh": [96, 64],
        "data": [{"kind": "mot", "path": str(tiny_sequence)}],
        "schedule": {"epochs": 2, "images_per_epoch": 12, "batch": 4},
        "threads": 1,
        "workers": 0,
        "precision": "fp32",
        "log_every": 1,
    }


@pytest.fixture
def tiny_run(tiny_config: dict[str, Any]) -> TrainConfig:
    """The same, checked."""
    return TrainConfig.model_validate(tiny_config)
