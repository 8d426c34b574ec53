"""People pasted into training pictures: pixels, boxes and identities."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from runtime.errors import UserError
from tests.train.test_loader import assert_same
from train.config import TrainConfig, load_config
from train.data.config import AugmentConfig
from train.data.cutouts.library import CutoutLibrary
from train.data.cutouts.pasting import paste_people
from train.data.loader import TrainingSet, batches
from train.data.sample import Sample

SIZE_WH = (160, 96)
# Each person in a colour of its own, by source and identity.
COLOURS = {("tiny", 4): (255, 0, 0), ("tiny", 9): (0, 255, 0), ("video", 4): (0, 0, 255)}


def write_cutouts(folder: Path) -> Path:
    """Write two cutouts of each person: an upright bar, on grey ground."""
    entries = []
    for (source, identity), colour in COLOURS.items():
        for frame in (3, 7):
            image = np.full((44 + frame, 24, 4), (120, 120, 120, 0), np.uint8)
            image[2:-2, 4:-4] = (*colour, 255)
            file = f"{source}/{identity}_{frame}.png"
            (folder / source).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / file), image)
            entry = {"file": file, "source": source, "identity": identity, "frame": frame}
            entries.append({**entry, "box_wh": [16, 40 + frame]})
    sources = [
        {"name": "tiny", "identities": "ground truth"},
        {"name": "video", "identities": "tracker"},
    ]
    content = {"version": 1, "sources": sources, "cutouts": entries}
    (folder / "cutouts.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_cutouts(tmp_path / "cutouts")


@pytest.fixture
def library(folder: Path) -> CutoutLibrary:
    return CutoutLibrary(folder)


def strengths(folder: Path, **paste: Any) -> AugmentConfig:
    settings = {"path": str(folder), "probability": 1, **paste}
    return AugmentConfig.model_validate({"colour": 0, "blur": 0, "grey": 0, "paste": settings})


def canvas(boxes: list[list[float]] | None = None, ids: list[int] | None = None) -> Sample:
    """Return a grey picture with labels."""
    boxes_xyxy = np.array(boxes or [], np.float32).reshape(-1, 4)
    count = len(boxes_xyxy)
    return Sample(
        np.full((SIZE_WH[1], SIZE_WH[0], 3), 120, np.uint8),
        boxes_xyxy,
        np.zeros(count, np.int64),
        np.array(ids or [-1] * count, np.int64),
    )


def shown(image: np.ndarray, person: int) -> np.ndarray:
    """Return ``[H, W]`` where a person's colour is stronger than all else."""
    channel = [0, 1, 2][person]
    others = np.delete(image.astype(int), channel, axis=2).max(axis=2)
    return image[..., channel].astype(int) - others > 60


def with_run(base: dict[str, Any], folder: Path, **more: Any) -> TrainConfig:
    paste = {"path": str(folder), "probability": 1, "height": [0.3, 0.6]}
    return TrainConfig.model_validate({**base, "augment": {"paste": paste}, **more})


@pytest.mark.parametrize("seed", range(12))
def test_boxes_enclose_the_pixels(folder: Path, library: CutoutLibrary, seed: int) -> None:
    rng = np.random.default_rng(seed)
    config = strengths(folder, count=[1, 1], height=[0.2, 0.9])
    result = paste_people(canvas(), library, np.arange(3), config, rng)
    (box,), (person,) = result.boxes_xyxy, result.ids
    assert result.classes.tolist() == [0] and result.rows.tolist() == [-1]
    ys, xs = np.nonzero(shown(result.image, person))
    found = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    limit = np.array([*SIZE_WH, *SIZE_WH])
    np.testing.assert_allclose(found, np.clip(box, 0, limit), atol=1)
    height = (box[3] - box[1]) / SIZE_WH[1]
    assert 0.18 < height < 0.92


def test_nobody_is_enlarged_more_than_twice(folder: Path, library: CutoutLibrary) -> None:
    config = strengths(folder, count=[1, 1], height=[3, 3])
    sample = replace(canvas(), image=np.full((400, 400, 3), 120, np.uint8))
    result = paste_people(sample, library, np.arange(3), config, np.random.default_rng(1))
    assert 80 < result.boxes_xyxy[0, 3] - result.boxes_xyxy[0, 1] < 98


@pytest.mark.parametrize("seed", range(8))
def test_nobody_is_there_twice(folder: Path, library: CutoutLibrary, seed: int) -> None:
    config = strengths(folder, count=[5, 5], height=[0.1, 0.2])
    sample = canvas([[0, 0, 9, 20]], [11])
    ids = np.array([10, 11, 12])
    result = paste_people(sample, library, ids, config, np.random.default_rng(seed))
    pasted = result.ids[result.ids != 11]
    assert set(pasted) <= {10, 12} and len(set(pasted)) == len(pasted)
    alone = canvas([[0, 0, 9, 20]] * 3, [10, 11, 12])
    image = alone.image.copy()
    everyone = paste_people(alone, library, ids, config, np.random.default_rng(seed))
    assert len(everyone.ids) == 3
    np.testing.assert_array_equal(everyone.image, image)


@pytest.mark.parametrize("seed", range(20))
def test_who_is_hidden_is_dropped(folder: Path, library: CutoutLibrary, seed: int) -> None:
    config = strengths(folder, count=[1, 1], height=[0.5, 0.8])
    grid = [[x, y, x + 12.0, y + 24.0] for x in range(0, 150, 6) for y in range(0, 70, 6)]
    sample = replace(canvas(grid), lesson_rows=np.arange(len(grid)))
    result = paste_people(sample, library, np.arange(3), config, np.random.default_rng(seed))
    *left, box = result.boxes_xyxy
    kept = {tuple(each) for each in left}
    inner = box + np.array([3, 3, -3, -3])
    outer = box + np.array([-3, -3, 3, 3])
    for each in grid:
        middle = np.array([each[0] + 2.4, each[1], each[2] - 2.4, each[3]])
        area = (middle[2:] - middle[:2]).prod()
        surely, maybe = (
            np.maximum(np.minimum(middle[2:], b[2:]) - np.maximum(middle[:2], b[:2]), 0).prod()
            / area
            for b in (inner, outer)
        )
        assert surely <= 0.7 or tuple(each) not in kept
        assert maybe > 0.7 or tuple(each) in kept


def test_of_people_who_hide_each_other_the_front_one_stays(
    folder: Path, library: CutoutLibrary
) -> None:
    config = strengths(folder, count=[3, 3], height=[0.5, 0.8])
    dropped = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        result = paste_people(canvas(), library, np.arange(3), config, rng)
        dropped += 3 - len(result.ids)
        assert len(result.ids)
        for box, person in zip(result.boxes_xyxy, result.ids, strict=True):
            left, top, right, bottom = np.clip(box, 0, [*SIZE_WH, *SIZE_WH]).astype(int)
            mask = shown(result.image, person)
            assert mask[top:bottom, left:right].mean() > 0.2
            mask[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1] = False
            assert not mask.any()
    assert dropped > 5


def test_the_picture_around_those_pasted_stays_as_it_was(
    folder: Path, tiny_config: dict[str, Any]
) -> None:
    augment = {"blur": 1, "grey": 0.3}
    plain = TrainingSet(TrainConfig.model_validate({**tiny_config, "augment": augment}), 8)
    assert plain.cutouts is None and plain.num_ids == 3
    nobody = {"path": str(folder), "probability": 0}
    somebody = {"path": str(folder), "probability": 1, "count": [1, 2]}
    off, on = (
        TrainingSet(TrainConfig.model_validate({**tiny_config, "augment": each}), 8)
        for each in ({**augment, "paste": nobody}, {**augment, "paste": somebody})
    )
    for place in range(12):
        before = plain.augment(plain.draw(place))
        same, after = off.augment(off.draw(place)), on.augment(on.draw(place))
        np.testing.assert_array_equal(same.image, before.image)
        np.testing.assert_array_equal(same.boxes_xyxy, before.boxes_xyxy)
        around = np.ones(before.image.shape[:2], bool)
        assert len(after.ids)
        for left, top, right, bottom in after.boxes_xyxy.astype(int):
            around[max(0, top - 4) : bottom + 4, max(0, left - 4) : right + 4] = False
        for left, top, right, bottom in before.boxes_xyxy.astype(int):
            around[max(0, top - 4) : bottom + 4, max(0, left - 4) : right + 4] = False
        np.testing.assert_array_equal(after.image[around], before.image[around])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_pictures_in_any_process_and_after_an_interruption(
    folder: Path, tiny_config: dict[str, Any], workers: int
) -> None:
    config = with_run(tiny_config, folder)
    whole = [list(batches(TrainingSet(config, 8), epoch, config)) for epoch in (0, 1)]
    other = config.model_copy(update={"workers": workers})
    assert_same(list(batches(TrainingSet(other, 8), 1, other)), whole[1])


def test_identities_go_on_behind_those_of_the_sources(
    folder: Path, tiny_config: dict[str, Any]
) -> None:
    """Identity 4 of the sequence tiny is there already, identity 4 of a tracker is another."""
    dataset = TrainingSet(with_run(tiny_config, folder), 8)
    assert dataset.num_ids == 5
    assert dataset.describe() == [("tiny", 12, 3), ("cutouts of cutouts", 6, 3)]
    seen = set()
    for place in range(12):
        ids = dataset[place]["ids"]
        known = ids[ids >= 0]
        assert len(set(known.tolist())) == len(known)
        seen |= set(known.tolist())
    assert seen == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("augment.paste={path: missing}", "missing has no cutouts.json: make cutouts with"),
        ("augment.paste={path: CUTOUTS, leave_out: [Tiny]}", "no source 'Tiny': choose tiny"),
        ("augment.paste={path: CUTOUTS, count: [3, 2]}", r"count \[3, 2\]: the first is above"),
        ("augment.paste={path: CUTOUTS, height: [0, 1]}", "augment.collage.paste.height.0"),
        ("augment.paste={probability: 1}", "augment.collage.paste.path"),
        ("augment={style: fairmot, paste: {path: CUTOUTS}}", "paste: there is no such key"),
    ],
)
def test_wrong_settings_are_told_in_one_line(
    folder: Path, tiny_config: dict[str, Any], tmp_path: Path, setting: str, words: str
) -> None:
    (tmp_path / "run.yaml").write_text(json.dumps(tiny_config))
    with pytest.raises(UserError, match=words) as caught:
        setting = setting.replace("CUTOUTS", str(folder))
        TrainingSet(load_config(tmp_path / "run.yaml", (setting,)), 8)
    assert "\n" not in str(caught.value)


def test_sources_can_be_left_out(folder: Path) -> None:
    assert CutoutLibrary(folder, leave_out=["tiny"]).num_ids == 1
    assert CutoutLibrary(folder, only=["tiny"]).num_ids == 2
