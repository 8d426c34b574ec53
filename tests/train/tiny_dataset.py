"""A small prepared dataset for the tests of checking."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from click.testing import CliRunner

from train.data.cli import cli
from train.data.index import DatasetIndex, Split, read_index, write_list
from train.data.labels import Labels, label_path

SIZE_WH = (80, 60)
GOOD = "0 {} 0.500000 0.500000 0.250000 0.500000\n"


def picture(seed: int = 0, size_wh: tuple[int, int] = SIZE_WH) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (size_wh[1], size_wh[0], 3))
    return cv2.GaussianBlur(noise.astype(np.uint8), (0, 0), 2)


def write_picture(file: Path, seed: int = 0) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), picture(seed))


def write_label(root: Path, name: str, text: str) -> None:
    file = root / label_path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def write_index(
    root: Path,
    splits: dict[str, list[str]],
    num_ids: int = 2,
    boxes: int = 2,
    ids: int = 2,
    classes: tuple[str, ...] = ("person",),
) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, pictures in splits.items():
        write_list(root / f"tiny.{name}", pictures)
    entries = {
        name: Split(f"tiny.{name}", len(pictures), boxes * len(pictures), ids)
        for name, pictures in splits.items()
    }
    DatasetIndex(root, "tiny", classes, num_ids, entries).save()


def write_tiny(root: Path) -> Path:
    """Four pictures of identities 0 and 1, nothing wrong with them."""
    names = [f"images/train/S1/img1/{number:06d}.jpg" for number in range(1, 5)]
    labels = Labels.from_ltwh(
        np.array([[10, 10, 20, 40], [50, -5, 20, 40.0]]), SIZE_WH, np.array([0, 1])
    )
    for seed, name in enumerate(names):
        write_picture(root / name, seed)
        write_label(root, name, labels.to_text())
    write_index(root, {"train": names})
    return root


def names_of(root: Path) -> list[str]:
    return read_index(root).pictures("train")


def write_video(file: Path, frames: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 10, SIZE_WH)
    assert writer.isOpened()
    for seed in range(frames):
        writer.write(picture(seed))
    writer.release()


def run_check(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(
        cli, ["check", *map(str, arguments)], standalone_mode=False, catch_exceptions=False
    )
    return result.return_value, result.output
