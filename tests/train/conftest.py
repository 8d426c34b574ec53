"""A sequence small enough to train on in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from runtime.mot import SequenceInfo, write_sequence_info
from train.config import TrainConfig
from train.data.index import DatasetIndex, Split, write_list


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


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A prepared dataset: a folder of images, a video of ten frames, and two classes."""
    return make_prepared(tmp_path / "prepared")


def make_prepared(root: Path, first_id: int = 0) -> Path:
    """Write a prepared dataset with the identities ``first_id .. first_id + 2``."""
    folders = [root / top / "train" / "S1" / "img1" for top in ("images", "labels_with_ids")]
    video_labels = root / "labels_with_ids" / "train" / "V1" / "img1"
    for folder in (*folders, video_labels):
        folder.mkdir(parents=True)
    rng = np.random.default_rng(first_id)
    background = rng.integers(0, 255, (48, 64, 3)).astype(np.uint8)
    pictures = []
    for number in range(1, 5):
        cv2.imwrite(str(folders[0] / f"{number:06d}.png"), background + np.uint8(number))
        line = f"0 {first_id} 0.5 0.5 0.25 0.5\n1 -1 0.{number}00000 0.5 0.5 1.0\n"
        (folders[1] / f"{number:06d}.txt").write_text(line if number < 4 else "")
        pictures.append(f"images/train/S1/img1/{number:06d}.png")
    file = root / "images" / "train" / "V1.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for number in range(1, 11):
        writer.write(np.roll(background, 3 * number, axis=1))
        (video_labels / f"{number:06d}.txt").write_text(f"0 {first_id + 2} 0.{number:02d} 0 .2 .4")
        pictures.append(f"images/train/V1.avi#{number}")
    writer.release()
    write_list(root / "d.train", pictures)
    splits = {"train": Split("d.train", 14, 17, 2), "empty": Split("d.empty", 0, 0, 0)}
    write_list(root / "d.empty", [])
    DatasetIndex(root, "d", ("person", "bicycle"), first_id + 3, splits).save()
    return root
