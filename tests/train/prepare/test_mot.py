"""MOT15, MOT16, MOT17, MOT20 and DanceTrack from their published layouts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from runtime.errors import UserError
from runtime.mot import read_mot
from tests.train.prepare.trees import SIZE, contents, labels_of, make_sequence
from train.data.cli import cli
from train.data.index import read_index
from train.data.prepare.base import Options
from train.data.prepare.building import Prepared, prepare
from train.data.synth import SceneConfig, write_sequence

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def run(name: str, root: Path, out: Path, halves: bool = False) -> Prepared:
    return prepare(root, out, Options(name, halves=halves))


def all_ids(out: Path, split: str = "train") -> list[list[int]]:
    return [labels_of(out, name).ids.tolist() for name in read_index(out).pictures(split)]


@pytest.mark.parametrize("name", ["mot15", "mot16", "mot17", "mot20", "dancetrack"])
def test_a_folder_of_something_else_is_refused_with_what_was_looked_for(tmp_path, name):
    (tmp_path / "root/photos").mkdir(parents=True)
    with pytest.raises(UserError, match=r"train/\*/gt/gt\.txt.*found photos/"):
        run(name, tmp_path / "root", tmp_path / "out")
    with pytest.raises(UserError, match="not a folder"):
        run(name, tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sequence_without_rows_has_pictures_without_objects(tmp_path):
    make_sequence(tmp_path / "root/train/S1", [], frames=2)
    (split,) = run("mot16", tmp_path / "root", tmp_path / "out").splits
    assert (split.pictures, split.boxes, split.ids) == (2, 0, 0)
    assert all_ids(tmp_path / "out") == [[], []]


def test_mot15_takes_its_ten_columns_and_sizes_from_the_pictures(tmp_path):
    # World coordinates stand where later formats have class and visibility.
    rows = ["1,4,8,12,16,24,1,-4.2,-7.4,0", "1,2,0,0,8,8,0,7,1,0", "2,4,9,12,16,24,1,3,1,0"]
    make_sequence(tmp_path / "root/train/S1", rows, frames=2, size_wh=None)
    prepared = run("mot15", tmp_path / "root", tmp_path / "out")
    labels = labels_of(tmp_path / "out", "images/train/S1/img1/000001.jpg")
    assert labels.classes.tolist() == [0] and labels.ids.tolist() == [0]
    expected = [[(8 + 8) / 64, (12 + 12) / 48, 16 / 64, 24 / 48]]
    np.testing.assert_allclose(labels.boxes_cxcywh, expected, atol=1e-6)
    assert prepared.splits[0].dropped == {"mark 0": 1}


@pytest.mark.parametrize("name", ["mot16", "mot17", "mot20", "dancetrack"])
def test_only_considered_pedestrians_are_kept(tmp_path, name):
    rows = ["1,1,1,1,9,9,1,1,1", "1,2,1,1,9,9,1,7,1", "1,3,1,1,9,9,0,1,1", "1,4,1,1,9,9,0,8,1"]
    make_sequence(tmp_path / "root/train/S1", [*rows, "1,5,1,1,9,9,1,1,0"], frames=1)
    (split,) = run(name, tmp_path / "root", tmp_path / "out").splits
    # Row 5 cannot be seen, and counts all the same as in the original's scripts.
    assert all_ids(tmp_path / "out") == [[0, 1]]
    assert split.dropped == {"mark 0": 2, "other class": 1}


def test_mot17_copies_are_taken_once(tmp_path):
    for detector in ("DPM", "FRCNN", "SDP"):
        make_sequence(tmp_path / f"root/train/MOT17-02-{detector}", ["1,1,1,1,9,9,1,1,1"], frames=1)
    make_sequence(tmp_path / "root/train/MOT17-04-DPM", ["1,1,1,1,9,9,1,1,1"], frames=1)
    prepared = run("mot17", tmp_path / "root", tmp_path / "out")
    assert prepared.index.pictures("train") == [
        "images/train/MOT17-02-SDP/img1/000001.jpg",
        "images/train/MOT17-04-DPM/img1/000001.jpg",
    ]
    assert prepared.index.num_ids == 2


def test_boxes_are_clipped_for_mot20_alone(tmp_path):
    width, height = SIZE
    rows = [f"1,1,-10,-10,{width},{height},1,1,1", f"1,2,{width + 5},0,10,10,1,1,1"]
    make_sequence(tmp_path / "root/train/S1", rows, frames=1)
    clipped = run("mot20", tmp_path / "root", tmp_path / "mot20")
    (box,) = labels_of(tmp_path / "mot20", "images/train/S1/img1/000001.jpg").boxes_xyxy(SIZE)
    np.testing.assert_allclose(box, [0, 0, width - 10, height - 10], atol=1e-3)
    assert clipped.splits[0].dropped == {"outside the picture": 1}
    run("mot16", tmp_path / "root", tmp_path / "mot16")
    boxes = labels_of(tmp_path / "mot16", "images/train/S1/img1/000001.jpg").boxes_xyxy(SIZE)
    np.testing.assert_allclose(boxes[0], [-10, -10, width - 10, height - 10], atol=1e-3)
    assert len(boxes) == 2


def test_dancetrack_joins_both_parts_of_its_training_set(tmp_path):
    for place in ("train1/d0002", "train2/d0001", "val/d0003"):
        make_sequence(tmp_path / "root" / place, ["1,1,1,1,9,9,1,1,1"], frames=1, digits=8)
    (tmp_path / "root/test/d0004/img1").mkdir(parents=True)
    prepared = run("dancetrack", tmp_path / "root", tmp_path / "out")
    assert prepared.index.pictures("train") == [
        "images/train/d0001/img1/00000001.jpg",
        "images/train/d0002/img1/00000001.jpg",
    ]
    assert all_ids(tmp_path / "out") == [[0], [1]]
    assert all_ids(tmp_path / "out", "val") == [[2]]
    assert prepared.notes == ["left out, without ground truth: test/d0004 (1 in all)"]


def test_the_same_sequence_in_two_folders_is_refused(tmp_path):
    for place in ("train1/d0001", "train2/d0001"):
        make_sequence(tmp_path / "root" / place, [], frames=1)
    with pytest.raises(UserError, match="d0001"):
        run("dancetrack", tmp_path / "root", tmp_path / "out")


def test_all_layouts_give_the_same_labels(tmp_path):
    rows = ["1,7,1,1,9,9,1,1,1", "2,7,1,1,9,9,1,1,1", "2,3,4,1,9,9,1,1,1"]
    places = {"official": "train/S1", "fairmot": "images/train/S1", "folder": "S1", "self": ""}
    found = []
    for name, place in places.items():
        make_sequence(tmp_path / name / "S1" / place, rows, frames=2)
        root = tmp_path / name / "S1"
        run("mot16", root, tmp_path / name / "out")
        found.append(contents(tmp_path / name / "out/labels_with_ids"))
        assert all_ids(tmp_path / name / "out") == [[1], [0, 1]]
    assert all(labels == found[0] for labels in found)


def test_fairmots_layout_needs_no_links(tmp_path):
    root = tmp_path / "MOT16"
    make_sequence(root / "images/train/S1", ["1,7,1,1,9,9,1,1,1"], frames=1)
    prepare(root, None, Options("mot16"))
    assert not any(path.is_symlink() for path in root.rglob("*"))
    assert (root / "labels_with_ids/train/S1/img1/000001.txt").is_file()


def test_frames_keep_their_numbers_where_some_are_gone(tmp_path):
    sequence = make_sequence(
        tmp_path / "root/train/S1", ["1,1,1,1,9,9,1,1,1", "3,2,1,1,9,9,1,1,1"], frames=3
    )
    (sequence / "img1/000001.jpg").unlink()
    (split,) = run("mot16", tmp_path / "root", tmp_path / "out").splits
    assert all_ids(tmp_path / "out") == [[], [0]]
    assert split.dropped == {"no picture": 1}


def test_rows_in_any_order_give_the_same(tmp_path):
    rows = ["2,7,1,1,9,9,1,1,1", "1,7,1,1,9,9,1,1,1", "1,3,4,1,9,9,1,1,1"]
    for name, order in (("a", rows), ("b", rows[::-1])):
        make_sequence(tmp_path / name / "train/S1", order, frames=2)
        run("mot16", tmp_path / name, tmp_path / f"out_{name}")
    labels = [contents(tmp_path / out / "labels_with_ids") for out in ("out_a", "out_b")]
    assert labels[0] == labels[1]


def test_halves_are_cut_as_fairmot_cuts_them(tmp_path):
    make_sequence(tmp_path / "root/train/S1", ["2,1,1,1,9,9,1,1,1", "3,1,1,1,9,9,1,1,1"], frames=5)
    make_sequence(tmp_path / "root/train/S2", ["2,1,1,1,9,9,1,1,1"], frames=4)
    index = run("mot16", tmp_path / "root", tmp_path / "out", halves=True).index
    first, second = index.pictures("train_half"), index.pictures("val_half")
    assert [name[-17:-4] for name in first] == [
        f"{part}" for part in ("1/img1/000001", "1/img1/000002", "2/img1/000001", "2/img1/000002")
    ]
    assert sorted(first + second) == sorted(index.pictures("train"))
    assert (index.splits["train_half"].boxes, index.splits["val_half"].boxes) == (2, 1)
    assert (index.splits["train_half"].ids, index.splits["val_half"].ids) == (2, 1)


def test_a_video_stands_for_its_frames(tmp_path):
    config = SceneConfig(frames=5, size_wh=(96, 64), people=3, seed=4)
    for name, image_format in (("video", "video"), ("images", "images")):
        write_sequence(tmp_path / name / "train/S1", config, image_format, show_progress=False)
        run("mot16", tmp_path / name, tmp_path / f"{name}_out")
    index = read_index(tmp_path / "video_out")
    assert index.pictures("train") == [f"images/train/S1.avi#{number}" for number in range(1, 6)]
    assert (tmp_path / "video_out/images/train/S1.avi").is_symlink()
    labels = [contents(tmp_path / f"{name}_out/labels_with_ids") for name in ("video", "images")]
    assert labels[0] == labels[1]
    assert index.splits["train"].boxes > 0


@pytest.mark.parametrize("damage", ["img1", "gt/gt.txt", "seqinfo.ini"])
def test_damaged_sequences_are_named_and_leave_nothing(tmp_path, damage):
    sequence = make_sequence(tmp_path / "root/train/S1", ["1,1,1,1,9,9,1,1,1"])
    if damage == "img1":
        shutil.rmtree(sequence / damage)
    else:
        (sequence / damage).write_text("1,2,three\n")
    with pytest.raises(UserError, match="S1"):
        run("mot16", tmp_path / "root", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_found(tmp_path):
    make_sequence(tmp_path / "root/train/S1", ["1,1,1,1,9,9,1,1,1", "1,2,1,1,9,9,0,1,1"])
    out = tmp_path / "out"
    outcome = CliRunner().invoke(
        cli, ["prepare", "mot16", str(tmp_path / "root"), "--out", str(out), "--split", "half"]
    )
    assert outcome.exit_code == 0, outcome.output
    assert "train_half" in outcome.output and "mark 0 1" in outcome.output
    assert read_index(out).command == (
        f"kd-data prepare mot16 {tmp_path / 'root'} --out {out} --split half"
    )


@pytest.mark.skipif(not (SHARED / "PETS09-S2L1").is_dir(), reason="needs ../shared/data")
def test_the_real_sequences(tmp_path):
    prepared = run("mot15", SHARED, tmp_path / "out", halves=True)
    (train, first, second) = prepared.splits
    assert (train.sequences, train.pictures, train.boxes, train.ids) == (2, 974, 5632, 29)
    assert train.dropped == {"mark 0": 174}
    assert (first.pictures, second.pictures) == (397 + 89, 398 + 90)
    # Against the rows themselves, at the place of the last frame.
    rows = read_mot(SHARED / "TUD-Stadtmitte/gt/gt.txt")
    last = rows[(rows.frames == 179) & (rows.marks != 0)]
    labels = labels_of(tmp_path / "out", "images/train/TUD-Stadtmitte.mp4#179")
    boxes = labels.boxes_xyxy((640, 480))
    order = np.argsort(last.ids)
    np.testing.assert_allclose(boxes[:, :2], last.boxes_ltwh[order, :2], atol=1e-2)
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], last.boxes_ltwh[order, 2:], atol=1e-2)
