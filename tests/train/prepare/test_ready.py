import pytest

from runtime.errors import UserError
from tests.train.prepare.matlab import write_picture
from train.data.labels import label_path
from train.data.prepare.base import Options
from train.data.prepare.building import prepare

LINES = {"a": "0 4 0.5 0.5 0.1 0.2\n0 -1 0.2 0.5 0.1 0.2\n", "b": ""}
PHOTOS = ["crowdhuman", "citypersons", "caltech", "cuhksysu", "prw"]


def write_ready(root, folders, lines=LINES):
    for folder in folders:
        for name, text in lines.items():
            picture = f"{folder}/{name}.jpg"
            write_picture(root / picture, (64, 48))
            file = root / label_path(picture)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)


def texts_of(out, pictures):
    return [(out / label_path(picture)).read_text() for picture in pictures]


@pytest.mark.parametrize("name", [*PHOTOS, "eth"])
def test_no_pictures(tmp_path, name):
    (tmp_path / "labels_with_ids").mkdir()
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="no pictures"):
        prepare(tmp_path, tmp_path / "out", Options(name))


@pytest.mark.parametrize("name", [*PHOTOS, "eth"])
def test_with_folders_for_splits(tmp_path, name):
    write_ready(tmp_path, ["images/train/city", "images/val/city"])
    out = tmp_path / "out"
    prepared = prepare(tmp_path, out, Options(name))
    assert [(split.name, split.pictures, split.boxes) for split in prepared.splits] == [
        ("train", 2, 2),
        ("val", 2, 2),
    ]
    assert prepared.index.classes == ("person",) and prepared.index.num_ids == 5
    pictures = prepared.index.pictures("train")
    assert pictures == ["images/train/city/a.jpg", "images/train/city/b.jpg"]
    assert texts_of(out, pictures) == [LINES["a"], ""]


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("in_place", [True, False])
def test_without_folders_for_splits(tmp_path, name, in_place):
    root = tmp_path / "data"
    write_ready(root, ["images"])
    out = root if in_place else tmp_path / "out"
    prepared = prepare(root, out, Options(name))
    pictures = prepared.index.pictures("train")
    assert pictures == ["images/a.jpg", "images/b.jpg"]
    assert texts_of(out, pictures) == [LINES["a"], ""]
    assert (prepared.splits[0].boxes, prepared.splits[0].ids) == (2, 1)
    before = (out / "dataset.json").read_bytes()
    prepare(root, out, Options(name))
    assert (out / "dataset.json").read_bytes() == before


@pytest.mark.parametrize("in_place", [True, False])
def test_a_folder_for_each_sequence(tmp_path, in_place):
    root = tmp_path / "data"
    write_ready(root, ["eth01/images", "eth07/images"])
    out = root if in_place else tmp_path / "out"
    for _ in range(2):
        prepared = prepare(root, out, Options("eth"))
        (train,) = prepared.splits
        assert (train.sequences, train.pictures, train.boxes) == (2, 4, 4)
        pictures = prepared.index.pictures("train")
        assert pictures[0] == "images/train/eth01/a.jpg"
        assert texts_of(out, pictures) == [LINES["a"], ""] * 2


def test_missing_label_file_is_noted(tmp_path):
    write_ready(tmp_path, ["images"])
    (tmp_path / "labels_with_ids/b.txt").unlink()
    prepared = prepare(tmp_path, tmp_path / "out", Options("prw"))
    assert prepared.notes == ["1 pictures have no label file: nothing is on them"]


@pytest.mark.parametrize("folder", ["images", "images/train"])
@pytest.mark.parametrize("line", ["0 1 0.5 0.5 0.1", "0 1 0.5 0.5 0.1 nan", "1 1 .5 .5 .1 .1"])
def test_damaged_label_stops(tmp_path, folder, line):
    write_ready(tmp_path, [folder], {"a": line})
    with pytest.raises(UserError):
        prepare(tmp_path, tmp_path / "out", Options("prw"))
    assert not (tmp_path / "out").exists()


def test_ready_labels_leave_no_choice(tmp_path):
    write_ready(tmp_path, ["images"])
    with pytest.raises(UserError, match="ready labels, which leave no choice"):
        prepare(tmp_path, tmp_path / "out", Options("prw", identities=False))
