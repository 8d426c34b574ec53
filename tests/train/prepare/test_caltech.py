import numpy as np
import pytest
from scipy.io import savemat

from runtime.errors import UserError
from tests.train.prepare.matlab import cell, row, struct_array, write_picture
from train.data.prepare.base import Options
from train.data.prepare.building import prepare
from train.data.prepare.caltech import read_vbb

SIZE_WH = (640, 480)
NAMES = ["person", "people", "person?", "person"]
# Frame 1 has nothing, frame 3 one object, as in the published files.
FRAMES = [
    [(1, (320, 120, 32, 64)), (2, (0, 0, 100, 50)), (4, (-10, 400, 20, 100))],
    [],
    [(3, (5, 5, 5, 5)), (4, (-6, 400, 20, 100))],
    [(4, (10, 10, 0, 8))],
]


def write_vbb(file, frames=FRAMES, names=NAMES, **changed):
    """Write the published form: a struct ``A`` whose ``objLists`` has a cell for each frame."""
    lists = [
        struct_array(
            [
                {
                    "id": row(number),
                    "pos": row(*pos),
                    "occl": row(0),
                    "lock": row(0),
                    "posv": row(0, 0, 0, 0),
                }
                for number, pos in objects
            ]
        )
        for objects in frames
    ]
    count = np.ones((1, len(names)))
    content = {
        "nFrame": row(len(frames)),
        "objLists": cell(lists),
        "maxObj": row(len(names)),
        "objInit": count,
        "objLbl": cell(names),
        "objStr": count,
        "objEnd": count * len(frames),
        "objHide": 0 * count,
        "altered": row(0),
        "log": row(0),
        "logLen": row(1),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as handle:
        savemat(handle, {"A": struct_array([{**content, **changed}])}, do_compression=True)
    return file


FLAT = "images/{set}_{video}_{frame}.png"
LAYOUTS = [FLAT, "images/{set}_{video}_I{frame:05d}.jpg", "images/{set}/{video}/I{frame:05d}.jpg"]


def write_tree(root, layout, frames=range(4)):
    for place in (("set00", "V000"), ("set00", "V001"), ("set06", "V000")):
        write_vbb(root / "annotations" / place[0] / f"{place[1]}.vbb")
        for frame in frames:
            name = layout.format(set=place[0], video=place[1], frame=frame)
            write_picture(root / name, SIZE_WH)


def lines_of(out, picture):
    place = picture.replace("images", "labels_with_ids").rpartition(".")[0]
    return (out / f"{place}.txt").read_text().splitlines()


def test_no_annotations(tmp_path):
    with pytest.raises(UserError, match=r"looked for annotations/set00/V000\.vbb"):
        prepare(tmp_path, tmp_path / "out", Options("caltech"))


def test_video_without_frames_or_objects(tmp_path):
    assert read_vbb(write_vbb(tmp_path / "V000.vbb", [], []), ["person"], True) == []
    (entry,) = read_vbb(write_vbb(tmp_path / "V001.vbb", [[]], []), ["person"], True)
    assert entry.boxes_ltwh.shape == (0, 4) and entry.ids.shape == (0,)


def test_single_frame_with_a_single_object(tmp_path):
    file = write_vbb(tmp_path / "V000.vbb", [[(1, (1, 2, 3, 4))]], ["person"])
    (entry,) = read_vbb(file, ["person"], True)
    assert entry.boxes_ltwh.tolist() == [[1, 2, 3, 4]] and entry.ids.tolist() == [1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_are_those_worked_out_by_hand(tmp_path, layout):
    write_tree(tmp_path, layout)
    out = tmp_path / "out"
    prepared = prepare(tmp_path, out, Options("caltech"))
    train, test = prepared.splits
    assert (train.name, train.sequences, train.pictures, train.boxes) == ("train", 2, 8, 6)
    assert train.dropped == {"people": 2, "person?": 2, "no size": 2} and train.ids == 0
    assert (test.name, test.sequences, test.pictures, test.boxes) == ("test", 1, 4, 3)
    pictures = prepared.index.pictures("train")
    assert lines_of(out, pictures[0]) == [
        "0 -1 0.525000 0.316667 0.050000 0.133333",
        "0 -1 0.000000 0.937500 0.031250 0.208333",
    ]
    assert [len(lines_of(out, picture)) for picture in pictures[:4]] == [2, 0, 1, 0]
    for picture in pictures:
        assert (out / picture).resolve().is_relative_to(tmp_path / "images")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_place_and_again(tmp_path, layout):
    write_tree(tmp_path, layout)
    prepared = prepare(tmp_path, None, Options("caltech"))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.t*") if file.is_file()}
    again = prepare(tmp_path, None, Options("caltech"))
    assert again.splits == prepared.splits
    assert before == {file: file.read_bytes() for file in tmp_path.rglob("*.t*") if file.is_file()}


def test_identities_belong_to_a_video(tmp_path):
    write_tree(tmp_path, FLAT)
    prepared = prepare(tmp_path, tmp_path / "out", Options("caltech", identities=True))
    pictures = prepared.index.pictures("train")
    ids = [
        [int(line.split()[1]) for line in lines_of(tmp_path / "out", picture)]
        for picture in pictures
    ]
    assert ids == [[0, 1], [], [1], [], [2, 3], [], [3], []]
    assert prepared.index.num_ids == 6


def test_frames_sort_by_number_and_some_may_be_left_out(tmp_path):
    frames = [[(1, (10 * frame, 10, 10, 10))] for frame in range(12)]
    write_vbb(tmp_path / "annotations/set01/V002.vbb", frames, ["person"])
    for frame in (2, 9, 10, 99):  # 99 is past the annotation
        write_picture(tmp_path / f"images/set01_V002_{frame}.png", SIZE_WH)
    prepared = prepare(tmp_path, tmp_path / "out", Options("caltech"))
    pictures = prepared.index.pictures("train")
    assert [picture.rpartition("_")[2] for picture in pictures] == ["2.png", "9.png", "10.png"]
    lines = [lines_of(tmp_path / "out", picture)[0] for picture in pictures]
    lefts = [float(line.split()[2]) * 640 - 5 for line in lines]
    assert np.allclose(lefts, [20, 90, 100], atol=1e-3)


def test_video_that_is_not_unpacked(tmp_path):
    write_tree(tmp_path, FLAT)
    write_vbb(tmp_path / "annotations/set01/V000.vbb")
    (note,) = prepare(tmp_path, tmp_path / "out", Options("caltech")).notes
    assert note == "1 of 4 annotated videos have no frames"


def test_nothing_unpacked(tmp_path):
    write_vbb(tmp_path / "annotations/set00/V000.vbb")
    (tmp_path / "set00").mkdir()
    (tmp_path / "set00/V000.seq").write_bytes(b"Norpix seq")
    with pytest.raises(UserError, match=r"found set00/V000\.seq.*unpack each .*dbExtract"):
        prepare(tmp_path, tmp_path / "out", Options("caltech"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"nFrame": row(7)}, "nFrame is 7, objLists has 4 entries"),
        ({"nFrame": np.zeros((0, 0))}, "expected a struct A"),
        ({"objLbl": cell(["person"])}, "frame 0 has an id outside of 1..1"),
        ({"objLists": "text"}, "expected a struct A"),
    ],
)
def test_damaged_annotation_is_named(tmp_path, changed, message):
    file = write_vbb(tmp_path / "V000.vbb", **changed)
    with pytest.raises(UserError, match=rf"V000\.vbb.*{message}"):
        read_vbb(file, ["person"], False)
