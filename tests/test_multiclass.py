"""Several classes all the way: labels, heatmaps, the graph, tracks and their file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import runtime
from export.exporter import ExportConfig, export_model
from runtime.errors import UserError
from runtime.mot import read_mot
from runtime.sinks import MotWriter
from train.config import TrainConfig
from train.data.sources import PhotoSource
from train.trainer import Trainer

SIZE_WH = (96, 64)
COLOURS = {0: (30, 30, 220), 1: (220, 60, 30)}


def picture(rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Draw a red and a blue block; return the picture, and class and centre of each."""
    image = rng.integers(90, 130, (SIZE_WH[1], SIZE_WH[0], 3)).astype(np.uint8)
    objects = []
    for label, side in zip(COLOURS, rng.permutation(2), strict=True):
        x, y = 24 + 48 * int(side) + int(rng.integers(-6, 7)), int(rng.integers(20, 44))
        cv2.rectangle(image, (x - 8, y - 12), (x + 8, y + 12), COLOURS[label], -1)
        objects.append((label, x, y))
    return image, objects


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("blocks")
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder / "train").mkdir(parents=True)
    for index in range(24):
        image, objects = picture(rng)
        cv2.imwrite(str(root / "images" / "train" / f"{index}.png"), image)
        lines = [
            f"{label} {x / SIZE_WH[0]} {y / SIZE_WH[1]} {17 / SIZE_WH[0]} {25 / SIZE_WH[1]}\n"
            for label, x, y in objects
        ]
        (root / "labels" / "train" / f"{index}.txt").write_text("".join(lines))
    return root


def config(dataset: Path, num_classes: int) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "model": {"name": "nano", "num_classes": num_classes, "embedding_dim": 0},
            "classes": [f"block{label}" for label in range(num_classes)],
            "input_wh": SIZE_WH,
            "data": [{"kind": "photos", "path": dataset, "collage": [1]}],
            "augment": {"scale": [1.0, 1.0], "colour": 0.0, "grey": 0.0, "aspect": 1.0},
            "schedule": {"epochs": 1, "images_per_epoch": 1280, "batch": 16, "ema": 0.9},
            "workers": 0,
            "precision": "fp32",
        }
    )


def test_photographs_know_their_classes(dataset: Path) -> None:
    source = PhotoSource(dataset)
    assert source.num_classes == 2
    assert sorted(source[0].classes.tolist()) == [0, 1]


def test_a_model_of_one_class_refuses_labels_of_two(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 classes, the model 1"):
        Trainer(config(dataset, 1), tmp_path)


def test_classes_travel_from_the_labels_to_the_tracks(dataset: Path, tmp_path: Path) -> None:
    checkpoint = Trainer(config(dataset, 2), tmp_path).run()
    frames = tmp_path / "frames"
    frames.mkdir()
    image, objects = picture(np.random.default_rng(5))
    for number in range(1, 7):
        cv2.imwrite(str(frames / f"{number:06d}.png"), image)
    done = export_model(
        ExportConfig(checkpoint, tmp_path, topk=16, parity_source=frames, parity_frames=4)
    )
    file, result = done.file, done.result
    assert result
    model = runtime.load(file)
    assert model.info.classes == ("block0", "block1")
    with MotWriter(tmp_path / "tracks.txt", with_class=True) as writer:
        for step in runtime.run(frames, model):
            writer.write(step)
    rows = read_mot(tmp_path / "tracks.txt")
    last = rows[rows.frames == 6]
    found = {}
    for label, (left, top, width, height) in zip(last.classes, last.boxes_ltwh, strict=True):
        found[int(label) - 1] = (left + width / 2, top + height / 2)
    for label, x, y in objects:
        assert np.hypot(found[label][0] - x, found[label][1] - y) < 4
    # Each class keeps its own track.
    assert len(set(rows.ids.tolist())) == 2
