import pytest

from runtime.errors import UserError
from tests.train.prepare.matlab import write_picture
from train.data.prepare.base import Options
from train.data.prepare.building import prepare
from train.data.prepare.eth import read_idl

SIZE_WH = (640, 480)
LINES = """"left/image_00000000_0.png": (212, 204, 244, 268):-1, (-10, 0, 30, 300);
"left/image_00000004_0.png";
"left/image_00000010_0.png": (244, 268, 212, 204), (5, 5, 5, 9):0.5.
"""


def write_sequence(root, name, lines=LINES, pictures=(0, 1, 4, 10)):
    for number in pictures:
        write_picture(root / name / "left" / f"image_{number:08d}_0.png", SIZE_WH)
    (root / name / f"{name}-annot.idl").write_text(lines)


def lines_of(out, sequence, number):
    file = out / "labels_with_ids/train" / sequence / f"image_{number:08d}_0.txt"
    return file.read_text().splitlines()


def test_no_annotations(tmp_path):
    with pytest.raises(UserError, match=r"looked for seqXX/\*\.idl"):
        prepare(tmp_path, tmp_path / "out", Options("eth"))


def test_empty_annotation(tmp_path):
    (tmp_path / "a.idl").write_text("\n")
    assert read_idl(tmp_path / "a.idl") == []


def test_labels_are_those_worked_out_by_hand(tmp_path):
    write_sequence(tmp_path, "seq01")
    write_sequence(tmp_path, "seq03")
    prepared = prepare(tmp_path, None, Options("eth"))
    expected = "0 -1 0.356250 0.491667 0.050000 0.133333"
    assert lines_of(tmp_path, "seq03", 0) == [
        expected,
        "0 -1 0.015625 0.312500 0.062500 0.625000",
    ]
    assert lines_of(tmp_path, "seq03", 4) == []
    # Corners in the other order.
    assert lines_of(tmp_path, "seq03", 10) == [expected]
    (train,) = prepared.splits
    assert (train.name, train.sequences, train.boxes, train.ids) == ("train", 2, 6, 0)
    assert train.dropped == {"no size": 2}
    # Picture 1 is not annotated, which does not mean that it shows nobody.
    assert prepared.index.pictures("train")[:3] == [
        "images/train/seq01/image_00000000_0.png",
        "images/train/seq01/image_00000004_0.png",
        "images/train/seq01/image_00000010_0.png",
    ]


def test_names_without_the_camera(tmp_path):
    write_sequence(tmp_path, "seq01", '"left/image_00000001.png": (1, 2, 3, 4);\n')
    prepared = prepare(tmp_path, tmp_path / "out", Options("eth"))
    assert prepared.index.pictures("train") == ["images/train/seq01/image_00000001_0.png"]


def test_root_may_be_one_sequence(tmp_path):
    write_sequence(tmp_path, "seq05")
    prepared = prepare(tmp_path / "seq05", tmp_path / "out", Options("eth"))
    assert prepared.index.pictures("train")[0] == "images/train/seq05/image_00000000_0.png"


def test_several_annotations(tmp_path):
    write_sequence(tmp_path, "seq01")
    (tmp_path / "seq01/refined.idl").write_text("")
    with pytest.raises(UserError, match=r"refined\.idl and seq01-annot\.idl: keep one"):
        prepare(tmp_path, tmp_path / "out", Options("eth"))


@pytest.mark.parametrize(
    "line",
    [
        "left/a.png: (1, 2, 3, 4);",
        '"left/a.png": (1, 2, 3);',
        '"left/a.png": (1, 2, 3, 4) and more;',
        '"left/a.png": 1, 2, 3, 4;',
        '"left/a.png": (1, 2, 3, nan);',
        '"left/..": (1, 2, 3, 4);',
    ],
)
def test_damaged_line_is_named(tmp_path, line):
    (tmp_path / "a.idl").write_text(f'"left/b.png";\n{line}\n')
    with pytest.raises(UserError, match=r"a\.idl, line 2: expected"):
        read_idl(tmp_path / "a.idl")
