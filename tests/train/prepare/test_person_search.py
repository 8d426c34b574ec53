import numpy as np
import pytest
from scipy.io import savemat

from runtime.errors import UserError
from tests.train.prepare.matlab import cell, row, struct_array, write_picture
from train.data.prepare.base import Options
from train.data.prepare.building import prepare
from train.data.prepare.person_search import read_prw

SIZE_WH = (400, 200)
NOTHING = np.zeros((0, 0))


# CUHK-SYSU. Person p1 is in the pool, p2 and p3 are for training.
BOXES = {
    "s1.jpg": [(10, 20, 40, 80), (100, 20, 40, 80)],
    "s2.jpg": [(0, 0, 20, 40)],
    "s3.jpg": [(50, 60, 20, 40), (7, 7, 0, 9), (-10, 60, 20, 200)],
    "s4.jpg": [(200, 100, 100, 100)],
}
PERSONS = {
    "p1": [("s3.jpg", (50, 60, 20, 40)), ("s4.jpg", (200, 100, 100, 100))],
    "p2": [("s1.jpg", (100, 20, 40, 80))],
    "p3": [("s1.jpg", (10, 20, 40, 80)), ("s2.jpg", (0, 0, 20, 40))],
}


def scene(name, box):
    idlocate = NOTHING if box is None else row(*box, dtype="int32")
    return {"imname": name, "idlocate": idlocate, "ishard": row(0, dtype="uint8")}


def person(name, scenes):
    return {
        "idname": name,
        "nAppear": row(len(scenes)),
        "scene": struct_array([scene(*place) for place in scenes]),
    }


def write_cuhksysu(root, persons=PERSONS, boxes=BOXES, pool=("s3.jpg", "s4.jpg")):
    (root / "annotation").mkdir()
    images = [
        {
            "imname": name,
            "nAppear": row(len(some)),
            "box": struct_array([{"idlocate": row(*box), "ishard": row(0)} for box in some]),
        }
        for name, some in boxes.items()
    ]
    savemat(root / "annotation/Images.mat", {"Img": struct_array(images)}, do_compression=True)
    savemat(root / "annotation/pool.mat", {"pool": cell(pool, column=True)})
    if persons is not None:
        rows = [person(name, scenes) for name, scenes in persons.items()]
        savemat(root / "annotation/Person.mat", {"Person": struct_array(rows)})
    (root / "Image/SSM").mkdir(parents=True)
    for name in boxes:
        write_picture(root / "Image/SSM" / name, SIZE_WH)


def write_protocols(root):
    """Write the published forms: ``Train`` is a cell array, ``TestG50`` a struct array."""
    folder = root / "annotation/test/train_test"
    folder.mkdir(parents=True)
    rows = [struct_array([person(name, PERSONS[name])]) for name in ("p2", "p3")]
    savemat(folder / "Train.mat", {"Train": cell(rows, column=True)})
    first, *others = PERSONS["p1"]
    gallery = [scene(*place) for place in [*others, ("s3.jpg", None)]]
    queries = [
        {"Query": struct_array([scene(*first)]), "Gallery": struct_array(gallery)},
    ]
    savemat(folder / "TestG50.mat", {"TestG50": struct_array(queries)})


def ids_of(out, split, name):
    file = out / "labels_with_ids" / split / f"{name}.txt"
    return [int(line.split()[1]) for line in file.read_text().splitlines()]


def test_cuhksysu_without_annotations(tmp_path):
    with pytest.raises(UserError, match=r"looked for annotation/Images\.mat"):
        prepare(tmp_path, tmp_path / "out", Options("cuhksysu"))


def test_cuhksysu_without_pictures_in_the_files(tmp_path):
    write_cuhksysu(tmp_path, persons={}, boxes={}, pool=())
    with pytest.raises(UserError, match="no pictures"):
        prepare(tmp_path, tmp_path / "out", Options("cuhksysu"))


def test_cuhksysu_labels_are_those_worked_out_by_hand(tmp_path):
    write_cuhksysu(tmp_path)
    prepared = prepare(tmp_path, None, Options("cuhksysu"))
    file = tmp_path / "labels_with_ids/train/s1.txt"
    assert file.read_text().splitlines() == [
        "0 1 0.075000 0.300000 0.100000 0.400000",
        "0 0 0.300000 0.300000 0.100000 0.400000",
    ]
    # Training identities are numbered first; unknown people stay unknown.
    assert ids_of(tmp_path, "train", "s2") == [1]
    assert ids_of(tmp_path, "test", "s3") == [2, -1] and ids_of(tmp_path, "test", "s4") == [2]
    train, test = prepared.splits
    assert (train.name, train.pictures, train.boxes, train.ids) == ("train", 2, 3, 2)
    assert (test.name, test.pictures, test.boxes, test.ids) == ("test", 2, 3, 1)
    assert test.dropped == {"no size": 1} and not prepared.notes
    assert prepared.index.pictures("train") == ["images/train/s1.jpg", "images/train/s2.jpg"]


def test_cuhksysu_protocols_know_the_same_identities(tmp_path):
    write_cuhksysu(tmp_path, persons=None)
    write_protocols(tmp_path)
    prepared = prepare(tmp_path, None, Options("cuhksysu"))
    assert ids_of(tmp_path, "train", "s1") == [1, 0] and ids_of(tmp_path, "train", "s2") == [1]
    assert ids_of(tmp_path, "test", "s3") == [2, -1] and ids_of(tmp_path, "test", "s4") == [2]
    assert prepared.index.num_ids == 3


def test_cuhksysu_without_identities(tmp_path):
    write_cuhksysu(tmp_path, persons=None)
    with pytest.raises(UserError, match=r"neither Person\.mat nor .*--no-identities"):
        prepare(tmp_path, tmp_path / "out", Options("cuhksysu"))
    prepared = prepare(tmp_path, tmp_path / "out", Options("cuhksysu", identities=False))
    assert prepared.index.num_ids == 0
    assert ids_of(tmp_path / "out", "test", "s3") == [-1, -1]


def test_cuhksysu_person_whose_box_is_not_in_the_picture(tmp_path):
    write_cuhksysu(tmp_path, {**PERSONS, "p4": [("s2.jpg", (1, 1, 9, 9))]})
    prepared = prepare(tmp_path, tmp_path / "out", Options("cuhksysu"))
    assert prepared.index.num_ids == 3
    assert prepared.notes[0].startswith("1 of 6 boxes with an identity are not among")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("Images", {"Img": np.ones((2, 2))}, "expected a struct array"),
        ("Images", {"Img": struct_array([{"imname": "a.jpg"}])}, "picture 1: expected imname"),
        ("Images", {"Img": struct_array([{"imname": "../a", "box": NOTHING}])}, "not a file name"),
        ("Person", {"Person": struct_array([{"idname": "p1"}])}, "person 1: expected scenes"),
        ("Person", {"other": 1}, "no variable Person"),
        ("pool", {"pool": np.ones((2, 2))}, "expected a cell array of file names"),
    ],
)
def test_cuhksysu_damaged_file_is_named(tmp_path, name, content, message):
    write_cuhksysu(tmp_path)
    savemat(tmp_path / f"annotation/{name}.mat", content)
    with pytest.raises(UserError, match=rf"{name}\.mat.*{message}"):
        prepare(tmp_path, tmp_path / "out", Options("cuhksysu"))


PRW = {
    "train": {
        "c1s1_000151": ("box_new", [(7, 10, 20, 40, 80), (-2, 100, 20, 40, 80)]),
        "c1s1_000176": ("anno_file", [(7, -8.5, 20, 40, 80)]),
    },
    "test": {
        "c2s1_000001": ("anno_previous", [(479, 10, 20, 40, 80), (3, 5, 5, 9, 0)]),
        "c2s1_000026": ("box_new", []),
    },
}


def write_prw(root):
    (root / "annotations").mkdir()
    for split, pictures in PRW.items():
        savemat(
            root / f"frame_{split}.mat",
            {f"img_index_{split}": cell([cell([name]) for name in pictures], column=True)},
        )
        for name, (key, boxes) in pictures.items():
            write_picture(root / "frames" / f"{name}.jpg", SIZE_WH)
            rows = np.array(boxes, np.float64).reshape(-1, 5)
            savemat(root / "annotations" / f"{name}.jpg.mat", {key: rows})


def test_prw_without_annotations(tmp_path):
    with pytest.raises(UserError, match="looked for frames with annotations"):
        prepare(tmp_path, tmp_path / "out", Options("prw"))


def test_prw_labels_are_those_worked_out_by_hand(tmp_path):
    write_prw(tmp_path)
    prepared = prepare(tmp_path, None, Options("prw"))
    file = tmp_path / "labels_with_ids/train/c1s1_000151.txt"
    assert file.read_text().splitlines() == [
        "0 0 0.075000 0.300000 0.100000 0.400000",
        "0 -1 0.300000 0.300000 0.100000 0.400000",
    ]
    # The same person in another picture; the box keeps what reaches out of it.
    file = tmp_path / "labels_with_ids/train/c1s1_000176.txt"
    assert file.read_text() == "0 0 0.028750 0.300000 0.100000 0.400000\n"
    assert ids_of(tmp_path, "test", "c2s1_000001") == [1]
    assert ids_of(tmp_path, "test", "c2s1_000026") == []
    train, test = prepared.splits
    assert (train.name, train.pictures, train.boxes, train.ids) == ("train", 2, 3, 1)
    assert (test.name, test.pictures, test.boxes, test.dropped) == ("test", 2, 1, {"no size": 1})
    assert prepared.index.num_ids == 2


def test_prw_without_identities(tmp_path):
    write_prw(tmp_path)
    prepare(tmp_path, None, Options("prw", identities=False))
    assert ids_of(tmp_path, "train", "c1s1_000151") == [-1, -1]


def test_prw_damaged_file_is_named(tmp_path):
    write_prw(tmp_path)
    folder = tmp_path / "annotations"
    savemat(folder / "a.jpg.mat", {"box_new": np.ones((1, 4))})
    with pytest.raises(UserError, match=r"a\.jpg\.mat: .*expected 5 columns"):
        read_prw(folder, ["a.jpg"])
    savemat(folder / "a.jpg.mat", {"other": 1})
    with pytest.raises(UserError, match="no variable box_new or anno_file or anno_previous"):
        read_prw(folder, ["a.jpg"])
    with pytest.raises(UserError, match=r"b\.jpg\.mat does not exist"):
        read_prw(folder, ["b.jpg"])
