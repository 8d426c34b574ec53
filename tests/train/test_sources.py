"""Sources: labels that stay with their pictures, identities that stay apart."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from runtime.errors import UserError
from train.config import TrainConfig
from train.data.batch import collate
from train.data.config import DatasetDataConfig, MotDataConfig, PhotoDataConfig
from train.data.labels import label_path, read_labels
from train.data.loader import TrainingSet, batches
from train.data.prepared import PreparedSource, open_dataset
from train.data.sources import MotSource, PhotoSource, open_pictures


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match="give a MOTChallenge sequence"):
            open_pictures(MotDataConfig(kind="mot", path=path))
        with pytest.raises(UserError, match="folder of images"):
            open_pictures(PhotoDataConfig(kind="photos", path=path))


def test_a_sequence_gives_its_boxes_and_identities(tiny_sequence: Path) -> None:
    source = MotSource(tiny_sequence)
    assert (len(source), source.num_ids) == (12, 3)
    sample = source[3]
    assert sample.image.shape == (96, 128, 3)
    assert sample.ids.tolist() == [0, 1, 2]
    np.testing.assert_allclose(sample.boxes_xyxy[0], [8 + 6, 20, 8 + 6 + 16, 60])


def test_frames_can_be_chosen(tiny_sequence: Path) -> None:
    source = MotSource(tiny_sequence, frames=(3, 9), every=3)
    assert len(source) == 3
    assert source[1].boxes_xyxy[0, 0] == 8 + 2 * 5
    with pytest.raises(UserError, match="no frame"):
        MotSource(tiny_sequence, frames=(50, 60))


def test_rows_that_do_not_count_are_left_out(tiny_sequence: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_sequence, copy)
    rows = [
        "1,1,0,0,10,10,1,1,1",  # counts
        "1,2,0,0,10,10,0,1,1",  # marked as not to be considered
        "1,3,0,0,10,10,1,7,1",  # a person sitting still
        "1,4,0,0,10,10,1,1,0.01",  # hidden
    ]
    (copy / "gt" / "gt.txt").write_text("\n".join(rows))
    source = MotSource(copy)
    assert source.num_ids == 1
    assert len(source[0].boxes_xyxy) == 1
    assert len(source[1].boxes_xyxy) == 0


def test_identities_of_joined_sequences_do_not_collide(tiny_sequence: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(tiny_sequence, tmp_path / name)
    source = open_pictures(MotDataConfig(kind="mot", path=tmp_path))
    assert (len(source), source.num_ids) == (24, 6)
    assert source[11].ids.tolist() == [0, 1, 2]
    assert source[12].ids.tolist() == [3, 4, 5]
    np.testing.assert_array_equal(source[12].image, source[0].image)


def test_photographs_read_yolo_labels(tmp_path: Path) -> None:
    for folder in ("images/train", "labels/train"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "images/train" / f"{name}.png"), np.zeros((40, 80, 3), np.uint8))
    (tmp_path / "labels/train/a.txt").write_text("0 0.5 0.5 0.25 0.5\n\n")
    source = PhotoSource(tmp_path)
    np.testing.assert_allclose(source[0].boxes_xyxy, [[30, 10, 50, 30]])
    assert source[0].ids.tolist() == [-1]
    assert source[1].boxes_xyxy.shape == (0, 4)
    (tmp_path / "labels/train/b.txt").write_text("0 0.5 0.5 wide 0.5\n")
    with pytest.raises(UserError, match=r"b\.txt, line 1"):
        PhotoSource(tmp_path)


def test_an_empty_split_or_no_dataset_is_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="d/empty lists no pictures"):
        open_dataset(prepared, "empty")
    with pytest.raises(UserError, match="has no split 'val': choose train, empty"):
        open_dataset(prepared, "val")
    with pytest.raises(UserError, match=r"has no dataset\.json: prepare the dataset"):
        open_dataset(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        open_dataset(tmp_path / "missing")


def test_a_prepared_dataset_gives_what_its_files_say(prepared: Path) -> None:
    for path in (prepared, prepared / "dataset.json"):
        source = open_pictures(DatasetDataConfig(kind="dataset", path=path))
        assert (source.name, len(source)) == ("d/train", 14)
        assert (source.num_ids, source.num_classes) == (3, 2)
    sample = source[1]
    np.testing.assert_array_equal(
        sample.image, cv2.imread(str(prepared / "images/train/S1/img1/000002.png"))
    )
    assert sample.ids.tolist() == [0, -1]
    assert sample.classes.tolist() == [0, 1]
    # The second box keeps its full extent beyond the left border.
    expected = [[24, 12, 40, 36], [0.2 * 64 - 16, 0, 0.2 * 64 + 16, 48]]
    np.testing.assert_allclose(sample.boxes_xyxy, expected, atol=1e-4)
    assert source[3].boxes_xyxy.shape == (0, 4)


def test_frames_of_a_video_are_pictures(prepared: Path) -> None:
    source = open_dataset(prepared)
    capture = cv2.VideoCapture(str(prepared / "images/train/V1.avi"))
    frames = [capture.read()[1] for _ in range(10)]
    for index in (13, 4, 8):
        sample = source[index]
        # The cache keeps frames as JPEG; another frame would be far away.
        distances = [np.abs(sample.image.astype(int) - frame).mean() for frame in frames]
        assert int(np.argmin(distances)) == index - 4 and min(distances) < 25
        assert sample.ids.tolist() == [2]
        np.testing.assert_allclose(
            sample.boxes_xyxy[0, ::2].mean(), (index - 3) / 100 * 64, atol=1e-4
        )


def test_every_nth_picture(prepared: Path) -> None:
    source = open_dataset(prepared, every=3)
    assert len(source) == 5
    np.testing.assert_array_equal(source[1].image, open_dataset(prepared)[3].image)


def test_damage_in_a_prepared_dataset_is_named(prepared: Path) -> None:
    source = open_dataset(prepared)
    (prepared / "images/train/S1/img1/000001.png").write_bytes(b"no picture")
    (prepared / "images/train/S1/img1/000002.png").unlink()
    with pytest.raises(UserError, match=r"000001\.png is not a readable image"):
        source[0]
    with pytest.raises(UserError, match=r"000002\.png cannot be read \(No such file"):
        source[1]
    labels = prepared / "labels_with_ids/train/S1/img1/000003.txt"
    for line in ("0 1 0.5 0.5 0.1", "0 1 nan 0.5 0.1 0.1", "0.5 1 0 0 1 1", "-1 1 0 0 1 1", "\xff"):
        labels.write_text(f"0 0 0.5 0.5 0.1 0.1\n{line}\n", encoding="latin-1")
        with pytest.raises(UserError, match=r"000003\.txt") as caught:
            open_dataset(prepared)
        assert "\n" not in str(caught.value)


def test_a_list_that_names_frames_past_the_video(prepared: Path) -> None:
    with (prepared / "d.train").open("a") as file:
        file.write("images/train/V1.avi#11\n")
    with pytest.raises(UserError, match=r"V1\.avi has 10 frames, the list names frame 11"):
        open_dataset(prepared)


def test_pictures_without_any_label_file_are_refused(prepared: Path) -> None:
    shutil.rmtree(prepared / "labels_with_ids")
    with pytest.raises(UserError, match="none of 14 pictures has labels"):
        open_dataset(prepared)


def test_labels_read_at_once_equal_those_read_one_by_one(prepared: Path) -> None:
    pictures = [f"images/train/S1/img1/{number:06d}.png" for number in range(1, 5)]
    source = PreparedSource("few", prepared, pictures)
    for index, picture in enumerate(pictures):
        labels = read_labels(prepared / label_path(picture))
        sample = source[index]
        assert sample.ids.tolist() == labels.ids.tolist()
        assert sample.classes.tolist() == labels.classes.tolist()
        np.testing.assert_allclose(sample.boxes_xyxy, labels.boxes_xyxy((64, 48)), atol=1e-4)


def test_more_classes_than_the_model_has(prepared: Path, tiny_config: dict[str, Any]) -> None:
    entry = {"kind": "dataset", "path": str(prepared)}
    config = TrainConfig.model_validate({**tiny_config, "data": [entry]})
    with pytest.raises(UserError, match=r"data\.0: d/train has 2 classes, the model 1"):
        TrainingSet(config, 8)


def test_weights_that_are_all_zero(tiny_config: dict[str, Any]) -> None:
    entry = {**tiny_config["data"][0], "weight": 0}
    config = TrainConfig.model_validate({**tiny_config, "data": [entry]})
    with pytest.raises(UserError, match="all weights under data: are 0"):
        TrainingSet(config, 8)


def test_a_place_in_an_epoch_always_shows_the_same(tiny_config: dict[str, Any]) -> None:
    config = TrainConfig.model_validate(tiny_config)
    sets = [TrainingSet(config, 8) for _ in range(2)]
    for dataset in sets:
        dataset.set_epoch(1)
    first, second = sets[0][5], sets[1][5]
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])
    sets[1].set_epoch(2)
    assert not np.array_equal(sets[1][5]["images"], first["images"])


def test_batches_are_rgb_in_zero_to_one(tiny_run: TrainConfig) -> None:
    dataset = TrainingSet(tiny_run, 8)
    batch = collate([dataset[0], dataset[1]])
    images = batch.model_input()
    assert images.shape == (2, 3, 64, 96)
    assert images.min() >= 0 and images.max() <= 1
    assert batch.heatmap.shape == (2, 1, 8, 12)
    assert batch.mask.dtype.is_floating_point is False


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_named_from_any_process(
    workers: int, tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "images/train").mkdir(parents=True)
    (tmp_path / "images/train/broken.jpg").write_text("not a picture")
    entry = {"kind": "photos", "path": str(tmp_path)}
    config = TrainConfig.model_validate({**tiny_config, "data": [entry], "workers": workers})
    with pytest.raises(UserError, match=r"broken\.jpg is not a readable image") as caught:
        next(batches(TrainingSet(config, 8), 0, config))
    assert "\n" not in str(caught.value)
