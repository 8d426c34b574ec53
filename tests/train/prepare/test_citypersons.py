import numpy as np
import pytest
from scipy.io import savemat

from runtime.errors import UserError
from tests.train.prepare.matlab import cell, struct_array, write_picture
from train.data.prepare.base import Options
from train.data.prepare.building import prepare
from train.data.prepare.citypersons import read_annotations

ALL = frozenset(range(6))
PERSONS = frozenset({1, 2, 3, 4})
SIZE_WH = (2048, 1024)
NO_ROWS = np.zeros((0, 10), np.uint8)


def name_of(city, number):
    return f"{city}_{number:06d}_000019_leftImg8bit.png"


def rows(*boxes):
    """Return rows as published, integers with the visible box behind."""
    return np.array([[*box, 24000 + place, *box[1:]] for place, box in enumerate(boxes)], np.int32)


def write_annotations(root, split, pictures):
    """Write the published form: a cell array of single structs."""
    cells = [
        struct_array([{"cityname": city, "im_name": name_of(city, number), "bbs": bbs}])
        for (city, number), bbs in pictures.items()
    ]
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    file = root / "annotations" / f"anno_{split}.mat"
    savemat(file, {f"anno_{split}_aligned": cell(cells)}, do_compression=True)
    return file


def write_tree(root, pictures="leftImg8bit"):
    train = {
        ("aachen", 0): rows((1, 947, 406, 17, 40), (0, 1839, 382, 31, 71), (2, 0, -89, 64, 128)),
        ("aachen", 1): NO_ROWS,
        ("bochum", 0): rows((3, 10, 20, 30, 40), (4, 50, 60, 7, 8), (5, 100, 100, 300, 90)),
    }
    val = {("lindau", 0): rows((1, 1024, 512, 0, 100))}
    for split, entries in (("train", train), ("val", val)):
        write_annotations(root, split, entries)
        for city, number in entries:
            write_picture(root / pictures / split / city / name_of(city, number), SIZE_WH)


def lines_of(out, split, city, number):
    stem = name_of(city, number).removesuffix(".png")
    return (out / "labels_with_ids" / split / city / f"{stem}.txt").read_text().splitlines()


def test_no_annotations(tmp_path):
    with pytest.raises(UserError, match=r"looked for annotations/anno_train\.mat"):
        prepare(tmp_path, tmp_path / "out", Options("citypersons"))


def test_no_pictures_and_one_without_rows(tmp_path):
    assert read_annotations(write_annotations(tmp_path, "val", {}), "val", ALL) == {}
    file = write_annotations(tmp_path, "val", {("lindau", 0): NO_ROWS})
    (entry,) = read_annotations(file, "val", ALL)["lindau"]
    assert entry.boxes_ltwh.shape == (0, 4) and not entry.dropped


@pytest.mark.parametrize("pictures", ["leftImg8bit", "images"])
def test_labels_are_those_worked_out_by_hand(tmp_path, pictures):
    write_tree(tmp_path, pictures)
    out = tmp_path / "out"
    prepared = prepare(tmp_path, out, Options("citypersons"))
    assert lines_of(out, "train", "aachen", 0) == [
        f"0 -1 {955.5 / 2048:.6f} {426 / 1024:.6f} {17 / 2048:.6f} {40 / 1024:.6f}",
        f"0 -1 {32 / 2048:.6f} {-25 / 1024:.6f} {64 / 2048:.6f} {128 / 1024:.6f}",
    ]
    assert lines_of(out, "train", "aachen", 1) == []
    assert len(lines_of(out, "train", "bochum", 0)) == 2
    train, val = prepared.splits
    assert (train.pictures, train.boxes, train.ids) == (3, 4, 0)
    assert train.dropped == {"ignore": 1, "group": 1}
    assert (val.pictures, val.boxes, val.dropped) == (1, 0, {"no size": 1})
    picture = prepared.index.pictures("train")[0]
    assert picture == f"images/train/aachen/{name_of('aachen', 0)}"
    assert (out / picture).resolve().is_relative_to(tmp_path / pictures)


def test_classes_may_be_chosen(tmp_path):
    write_tree(tmp_path)
    options = Options("citypersons", classes=("pedestrian", "group"))
    train = prepare(tmp_path, tmp_path / "out", options).splits[0]
    assert train.boxes == 2
    assert train.dropped == {"ignore": 1, "rider": 1, "sitting": 1, "unusual": 1}
    with pytest.raises(UserError, match="no class 'car': choose among ignore, pedestrian"):
        prepare(tmp_path, tmp_path / "out", Options("citypersons", classes=("car",)))


def test_unknown_label_is_counted(tmp_path):
    file = write_annotations(tmp_path, "val", {("lindau", 0): rows((9, 1, 2, 3, 4))})
    (entry,) = read_annotations(file, "val", PERSONS)["lindau"]
    assert entry.dropped == {"label 9": 1}


@pytest.mark.parametrize(
    ("place", "bbs", "message"),
    [
        (("lindau", 0), np.ones((2, 5)), "expected 10 columns"),
        (("lindau", 0), "text", "expected numbers"),
        (("../lindau", 0), NO_ROWS, "is not the name of a city"),
    ],
)
def test_damaged_picture_is_named(tmp_path, place, bbs, message):
    file = write_annotations(tmp_path, "val", {("munster", 1): NO_ROWS, place: bbs})
    with pytest.raises(UserError, match=rf"anno_val\.mat, picture 2: .*{message}"):
        read_annotations(file, "val", PERSONS)


def test_another_matlab_file(tmp_path):
    file = tmp_path / "anno_val.mat"
    savemat(file, {"anno_val_aligned": np.ones((2, 2))})
    with pytest.raises(UserError, match="expected a struct array"):
        read_annotations(file, "val", PERSONS)
    savemat(file, {"anno_val_aligned": struct_array([{"cityname": "lindau"}])})
    with pytest.raises(UserError, match="picture 1"):
        read_annotations(file, "val", PERSONS)
