"""Datasets of the user's own: FairMOT's, MOTChallenge's and YOLO's layouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import UserError
from tests.train.prepare.trees import PICTURE, contents, labels_of, make_sequence
from train.data.index import read_index
from train.data.prepare.base import Options
from train.data.prepare.building import Prepared, prepare
from train.data.prepare.custom import read_class_names

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def run(root: Path, out: Path | None, names: tuple[str, ...] | None = None) -> Prepared:
    return prepare(root, out, Options("custom", class_names=names))


def add(root: Path, name: str, text: str | None, labels: str) -> None:
    """Add ``images/NAME.jpg`` and its label file."""
    picture = root / "images" / f"{name}.jpg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(PICTURE)
    if text is not None:
        file = root / labels / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "root").mkdir()
    with pytest.raises(UserError, match="looked for images/train with labels/train"):
        run(tmp_path / "root", tmp_path / "out")


def test_labels_without_pictures_are_refused(tmp_path):
    (tmp_path / "root/labels/train").mkdir(parents=True)
    with pytest.raises(UserError, match="no pictures"):
        run(tmp_path / "root", tmp_path / "out")


def test_yolo_labels_have_no_identities(tmp_path):
    add(tmp_path / "root", "train/a", "0 0.5 0.25 0.125 0.5\n\n0 1.0 0.5 0.5 0.25\n", "labels")
    add(tmp_path / "root", "train/deep/b", "", "labels")
    add(tmp_path / "root", "val/c", None, "labels")
    prepared = run(tmp_path / "root", tmp_path / "out")
    file = tmp_path / "out/labels_with_ids/train/a.txt"
    assert file.read_text() == (
        "0 -1 0.500000 0.250000 0.125000 0.500000\n0 -1 1.000000 0.500000 0.500000 0.250000\n"
    )
    assert prepared.index.pictures("train") == ["images/train/a.jpg", "images/train/deep/b.jpg"]
    assert (tmp_path / "out/images/train/deep/b.jpg").read_bytes() == PICTURE
    assert len(labels_of(tmp_path / "out", "images/val/c.jpg")) == 0
    assert prepared.index.num_ids == 0
    assert prepared.index.classes == ("object",)
    assert prepared.notes == ["pictures without a label file, taken as empty: 1"]


def test_yolo_labels_prepared_in_place_are_read_again(tmp_path):
    add(tmp_path, "train/a", "0 0.5 0.25 0.125 0.5\n", "labels")
    run(tmp_path, None)
    before = contents(tmp_path)
    run(tmp_path, None)
    assert contents(tmp_path) == before
    (tmp_path / "labels/train/a.txt").write_text("")
    assert run(tmp_path, None).index.splits["train"].boxes == 0


@pytest.mark.parametrize(
    "line", ["0 0.5 0.5 0.5", "0 1 0.5 0.5 0.5 0.5", "0 a 0.5 0.5 0.5", "0 nan 0 1 1", "-1 0 0 1 1"]
)
def test_yolo_lines_that_do_not_parse_are_named(tmp_path, line):
    add(tmp_path / "root", "train/a", f"0 0.5 0.5 0.5 0.5\n{line}\n", "labels")
    with pytest.raises(UserError, match=r"a\.txt, line 2"):
        run(tmp_path / "root", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_yolo_boxes_without_size_are_counted(tmp_path):
    add(tmp_path / "root", "train/a", "0 0.5 0.5 0 0.5\n0 0.5 0.5 0.1 0.5\n", "labels")
    (split,) = run(tmp_path / "root", tmp_path / "out").splits
    assert (split.boxes, split.dropped) == (1, {"no size": 1})


def test_classes_need_names(tmp_path):
    root = tmp_path / "root"
    add(root, "train/a", "2 0.5 0.5 0.5 0.5\n", "labels")
    with pytest.raises(UserError, match="classes 0 to 2, and 0 have names"):
        run(root, tmp_path / "out")
    with pytest.raises(UserError, match="and 2 have names"):
        run(root, tmp_path / "out", ("a", "b"))
    (root / "classes.txt").write_text("person\nbag\ndog\n")
    assert run(root, tmp_path / "out").index.classes == ("person", "bag", "dog")
    (root / "data.yaml").write_text("names: {0: x, 1: y, 2: z}\nnc: 3\n")
    assert run(root, tmp_path / "out").index.classes == ("x", "y", "z")
    assert run(root, tmp_path / "out", ("k", "l", "m")).index.classes == ("k", "l", "m")
    assert labels_of(tmp_path / "out", "images/train/a.jpg").classes.tolist() == [2]


def test_class_names_come_from_a_list_or_a_mapping(tmp_path):
    assert read_class_names(tmp_path) is None
    file = tmp_path / "data.yaml"
    file.write_text("train: images/train\n")
    assert read_class_names(tmp_path) is None
    file.write_text("names: [person, car]\n")
    assert read_class_names(tmp_path) == ("person", "car")
    for damaged in ("names: {1: a}", "names: 3", "names: ["):
        file.write_text(damaged)
        with pytest.raises(UserError, match=r"data\.yaml"):
            read_class_names(tmp_path)


def test_fairmots_labels_are_left_alone(tmp_path):
    root = tmp_path / "root"
    for name, text in (
        ("train/S1/img1/000001", "0 3 0.5 0.5 0.1 0.1\n"),
        ("train/S1/img1/000002", "0 3 0.5 0.5 0.1 0.1\n0 -1 0.2 0.5 0.1 0.1\n"),
        ("train/photo", "0 7 0.5 0.5 0.1 0.1\n"),
    ):
        add(root, name, text, "labels_with_ids")
    before = contents(root)
    for out in (tmp_path / "out", root):
        prepared = prepare(root, out, Options("custom", halves=True))
        assert prepared.index.num_ids == 8
        assert [split.pictures for split in prepared.splits] == [3, 1, 1]
        assert prepared.splits[0].ids == 2
        labels = labels_of(out, "images/train/S1/img1/000002.jpg")
        assert labels.ids.tolist() == [3, -1]
    after = contents(root)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {
        "dataset.json", "custom.train", "custom.train_half", "custom.val_half",
    }  # fmt: skip


def test_fairmots_labels_are_read_through(tmp_path):
    add(tmp_path / "root", "train/a", "0 3 0.5 0.5 0.1\n", "labels_with_ids")
    with pytest.raises(UserError, match=r"a\.txt, line 1"):
        run(tmp_path / "root", tmp_path / "out")


@pytest.mark.parametrize("place", ["", "S1", "train/S1", "images/train/S1"])
def test_sequences_are_found_in_all_places(tmp_path, place):
    root = tmp_path / "S1"
    make_sequence(root / place, ["1,4,1,1,9,9,1,1,1"], frames=1)
    prepared = run(root, tmp_path / "out")
    assert prepared.index.pictures("train") == ["images/train/S1/img1/000001.jpg"]
    assert prepared.index.classes == ("object",)
    assert (tmp_path / "out/images/train/S1/img1/000001.jpg").read_bytes() == PICTURE


def test_classes_of_sequences_count_from_1(tmp_path):
    root = tmp_path / "root"
    make_sequence(root / "S1", ["1,4,1,1,9,9,1,1,1", "1,5,1,1,9,9,1,3,1"], frames=1)
    with pytest.raises(UserError, match=r"classes 1, 3.*--class-names"):
        run(root, tmp_path / "out")
    with pytest.raises(UserError, match="class 3"):
        run(root, tmp_path / "out", ("a", "b"))
    run(root, tmp_path / "out", ("a", "b", "c"))
    assert labels_of(tmp_path / "out", "images/train/S1/img1/000001.jpg").classes.tolist() == [0, 2]


@pytest.mark.skipif(not (SHARED / "street-people").is_dir(), reason="needs ../shared/data")
def test_the_real_photographs(tmp_path):
    root = SHARED / "street-people"
    prepared = run(root, tmp_path / "out", ("person",))
    lines = {
        split: sum(
            len(file.read_text().split("\n")) - 1 for file in (root / "labels" / split).iterdir()
        )
        for split in ("train", "val")
    }
    assert {split.name: split.pictures for split in prepared.splits} == {"train": 2200, "val": 250}
    dropped = {split.name: sum(split.dropped.values()) for split in prepared.splits}
    boxes = {split.name: split.boxes for split in prepared.splits}
    assert {split: boxes[split] + dropped[split] for split in boxes} == lines
    assert read_index(tmp_path / "out").num_ids == 0
