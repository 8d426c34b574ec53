import json

import pytest

from runtime.errors import UserError
from tests.train.prepare.matlab import write_picture
from train.data.index import read_index
from train.data.labels import read_labels
from train.data.prepare.base import Options
from train.data.prepare.building import prepare
from train.data.prepare.crowdhuman import read_odgt

SIZE_WH = (200, 100)


def box(fbox, tag="person", **extra):
    return {
        "tag": tag,
        "fbox": fbox,
        "vbox": fbox,
        "hbox": fbox,
        "extra": extra,
        "head_attr": {"ignore": 0},
    }


PICTURES = {
    "train": {
        "273271,1a": [
            box([-20, 10, 60, 120], box_id=0),
            box([0, 0, 50, 50], "mask", ignore=1),
            box([100, 20, 30, 60], box_id=1, occ=0),
        ],
        "273271,2b": [],
        "284193,3c": [box([10, 10, 20, 40]), box([5, 5, 9, 9], ignore=1), box([50, 5, 0, 9])],
    },
    "val": {"273278,9d": [box([150, 50, 100, 100], box_id=3, ignore=0)]},
}


def write_annotations(root, pictures=PICTURES):
    for split, entries in pictures.items():
        lines = [json.dumps({"ID": name, "gtboxes": boxes}) for name, boxes in entries.items()]
        (root / f"annotation_{split}.odgt").write_text("\n".join(lines) + "\n")


def write_tree(root, folder="images/{split}"):
    write_annotations(root)
    for split, entries in PICTURES.items():
        for name in entries:
            write_picture(root / folder.format(split=split) / f"{name}.jpg", SIZE_WH)


def lines_of(out, picture):
    return (out / "labels_with_ids" / f"{picture}.txt").read_text().splitlines()


def test_no_annotations(tmp_path):
    with pytest.raises(UserError, match=r"looked for annotation_train\.odgt"):
        prepare(tmp_path, tmp_path / "out", Options("crowdhuman"))
    assert not (tmp_path / "out").exists()


def test_empty_annotations(tmp_path):
    write_annotations(tmp_path, {"train": {}})
    with pytest.raises(UserError, match="no pictures"):
        prepare(tmp_path, tmp_path / "out", Options("crowdhuman"))


def test_labels_are_those_worked_out_by_hand(tmp_path):
    write_tree(tmp_path)
    prepared = prepare(tmp_path, None, Options("crowdhuman"))
    # Full boxes keep their extent; every person is somebody else, over both splits.
    assert lines_of(tmp_path, "train/273271,1a") == [
        "0 0 0.050000 0.700000 0.300000 1.200000",
        "0 1 0.575000 0.500000 0.150000 0.600000",
    ]
    assert lines_of(tmp_path, "train/273271,2b") == []
    assert lines_of(tmp_path, "train/284193,3c") == ["0 2 0.100000 0.300000 0.100000 0.400000"]
    # The person without a size keeps no number.
    assert lines_of(tmp_path, "val/273278,9d") == ["0 3 1.000000 1.000000 0.500000 1.000000"]
    train, val = prepared.splits
    assert (train.name, train.pictures, train.boxes, train.ids) == ("train", 3, 3, 3)
    assert train.dropped == {"ignore region": 2, "no size": 1}
    assert (val.name, val.boxes, val.ids, val.dropped) == ("val", 1, 1, {})
    index = read_index(tmp_path)
    assert index.num_ids == 4 and index.classes == ("person",)
    assert index.pictures("val") == ["images/val/273278,9d.jpg"]


def test_without_identities(tmp_path):
    write_tree(tmp_path)
    prepared = prepare(tmp_path, tmp_path / "out", Options("crowdhuman", identities=False))
    assert prepared.index.num_ids == 0
    labels = read_labels(tmp_path / "out/labels_with_ids/train/273271,1a.txt")
    assert labels.ids.tolist() == [-1, -1]


@pytest.mark.parametrize("folder", ["Images", "CrowdHuman_{split}01/Images"])
def test_other_layouts_give_the_same_labels(tmp_path, folder):
    write_tree(tmp_path, folder)
    out = tmp_path / "out"
    prepared = prepare(tmp_path, out, Options("crowdhuman"))
    picture = prepared.index.pictures("train")[0]
    assert (out / picture).resolve() == tmp_path / folder.format(split="train") / "273271,1a.jpg"
    below = picture.removeprefix("images/").removesuffix(".jpg")
    assert lines_of(out, below)[0] == "0 0 0.050000 0.700000 0.300000 1.200000"
    assert prepared.index.num_ids == 4


def test_archives_side_by_side_share_one_numbering(tmp_path):
    write_annotations(tmp_path)
    write_picture(tmp_path / "CrowdHuman_train01/Images/273271,1a.jpg", SIZE_WH)
    write_picture(tmp_path / "CrowdHuman_train02/Images/284193,3c.jpg", SIZE_WH)
    prepared = prepare(tmp_path, None, Options("crowdhuman"))
    assert prepared.index.pictures("train") == [
        "images/train/CrowdHuman_train01/273271,1a.jpg",
        "images/train/CrowdHuman_train02/284193,3c.jpg",
    ]
    assert lines_of(tmp_path, "train/CrowdHuman_train02/284193,3c")[0].startswith("0 2 ")
    (note,) = prepared.notes
    assert note.startswith("2 of 4 annotated pictures are missing")
    before = (tmp_path / "dataset.json").read_bytes()
    assert prepare(tmp_path, None, Options("crowdhuman")).index.num_ids == 3
    assert (tmp_path / "dataset.json").read_bytes() == before


def test_pictures_not_unpacked(tmp_path):
    write_annotations(tmp_path)
    with pytest.raises(UserError, match=r"none of the 4 annotated pictures is there"):
        prepare(tmp_path, tmp_path / "out", Options("crowdhuman"))


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        '{"ID": "a"}',
        '{"ID": "a", "gtboxes": [{"tag": "person"}]}',
        '{"ID": "a", "gtboxes": [{"tag": "person", "fbox": [1, 2, 3]}]}',
        '{"ID": "a", "gtboxes": [{"tag": "person", "fbox": [1, 2, 3, NaN]}]}',
        '{"ID": "../a", "gtboxes": []}',
    ],
)
def test_damaged_line_is_named(tmp_path, line):
    file = tmp_path / "annotation_train.odgt"
    file.write_text('{"ID": "a", "gtboxes": []}\n' + line + "\n")
    with pytest.raises(UserError, match=r"annotation_train\.odgt, line 2: expected"):
        list(read_odgt(file))


def test_picture_annotated_twice(tmp_path):
    write_tree(tmp_path)
    file = tmp_path / "annotation_val.odgt"
    file.write_text(file.read_text() * 2)
    with pytest.raises(UserError, match=r"9d\.jpg is annotated twice"):
        prepare(tmp_path, tmp_path / "out", Options("crowdhuman"))
