"""The same pictures under a seed, whatever the number of processes and interruptions."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from runtime.errors import UserError
from train.config import TrainConfig
from train.data.batch import Batch
from train.data.loader import TrainingSet, batches

STYLES = {
    "collage": {},
    "fairmot": {"style": "fairmot", "mosaic": 0.5, "mixup": 0.5},
}


def run_of(base: dict[str, Any], root: Path, style: str, workers: int) -> TrainConfig:
    photos = {"kind": "dataset", "path": str(root), "weight": 2, "video_cache_mb": 1}
    return TrainConfig.model_validate(
        {
            **base,
            "model": {"name": "nano", "embedding_dim": 8, "num_classes": 2},
            "classes": ["person", "bicycle"],
            "data": [*base["data"], photos],
            "augment": STYLES[style],
            "workers": workers,
        }
    )


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for part in fields(Batch):
            mine, its = getattr(one, part.name), getattr(other, part.name)
            assert mine is its is None or torch.equal(mine, its), part.name


def test_fewer_pictures_than_a_batch_give_none(tiny_config: dict[str, Any]) -> None:
    schedule = {"epochs": 1, "images_per_epoch": 3, "batch": 4}
    config = TrainConfig.model_validate({**tiny_config, "schedule": schedule})
    assert list(batches(TrainingSet(config, 8), 0, config)) == []


@pytest.mark.parametrize("style", STYLES)
def test_the_number_of_workers_changes_nothing(
    style: str, tiny_config: dict[str, Any], prepared: Path
) -> None:
    epochs = []
    for workers in (0, 1, 2):
        config = run_of(tiny_config, prepared, style, workers)
        epochs.append(list(batches(TrainingSet(config, 8), 0, config)))
    assert len(epochs[0]) == 3
    assert_same(epochs[0], epochs[1])
    assert_same(epochs[0], epochs[2])
    assert any(bool(batch.mask.any()) for batch in epochs[0])


@pytest.mark.parametrize("style", STYLES)
def test_an_interruption_changes_nothing(
    style: str, tiny_config: dict[str, Any], prepared: Path
) -> None:
    config = run_of(tiny_config, prepared, style, 0)
    whole = TrainingSet(config, 8)
    first, second = (list(batches(whole, epoch, config)) for epoch in (0, 1))
    resumed = list(batches(TrainingSet(config, 8), 1, config))
    assert_same(second, resumed)
    assert not torch.equal(first[0].images, second[0].images)
    # What was read before an interruption in the middle of an epoch has no influence either.
    broken = TrainingSet(config, 8)
    next(batches(broken, 0, config))
    assert_same(list(batches(broken, 1, config)), second)


@pytest.mark.parametrize("style", STYLES)
def test_another_seed_gives_other_pictures(
    style: str, tiny_config: dict[str, Any], prepared: Path
) -> None:
    config = run_of(tiny_config, prepared, style, 0)
    other = config.model_copy(update={"seed": 1})
    one, two = (next(batches(TrainingSet(c, 8), 0, c)) for c in (config, other))
    assert not torch.equal(one.images, two.images)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_of_a_dataset_is_named_from_any_process(
    workers: int, tiny_config: dict[str, Any], prepared: Path
) -> None:
    config = run_of(tiny_config, prepared, "fairmot", workers)
    config = config.model_copy(update={"data": config.data[1:]})
    for file in (prepared / "images/train/S1/img1").iterdir():
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match=r"00000\d\.png is not a readable image") as caught:
        list(batches(TrainingSet(config, 8), 0, config))
    assert "\n" not in str(caught.value)


def test_mosaic_and_mixup_show_more_objects(tiny_config: dict[str, Any]) -> None:
    counts = {}
    for name, more in {"one": {}, "mosaic": {"mosaic": 1}, "mixup": {"mixup": 1}}.items():
        steady = {"style": "fairmot", "degrees": 0, "translate": 0, "scale": [1, 1], "shear": 0}
        content = {**tiny_config, "augment": {**steady, **more}}
        dataset = TrainingSet(TrainConfig.model_validate(content), 8)
        assert [len(layer) for layer in dataset.draw(0).layers] == {
            "one": [1],
            "mosaic": [4],
            "mixup": [1, 1],
        }[name]
        counts[name] = sum(int(dataset[index]["mask"].sum()) for index in range(8))
    assert counts["one"] == 24
    assert counts["mixup"] == 48
    assert counts["mosaic"] > 0
