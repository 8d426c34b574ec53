"""Finding what is wrong with a dataset, and writing it without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.errors import UserError
from tests.train.tiny_dataset import (
    GOOD,
    SIZE_WH,
    names_of,
    run_check,
    write_index,
    write_label,
    write_picture,
    write_tiny,
    write_video,
)
from train.data.checking.checking import check_dataset
from train.data.checking.findings import Fault
from train.data.checking.fixing import write_fixed
from train.data.index import read_index
from train.data.labels import label_path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


def found(root: Path, **options: bool) -> dict[Fault, tuple[int, str]]:
    findings = check_dataset(root, **options).report.findings
    return {fault: (finding.count, finding.first) for fault, finding in findings.found.items()}


def test_an_empty_dataset_is_clean(tmp_path):
    write_index(tmp_path, {"train": []}, num_ids=0, ids=0)
    report = check_dataset(tmp_path).report
    assert report.passed(strict=True)
    assert report.splits["train"].pictures == report.splits["train"].boxes == 0
    assert report.splits["train"].box_sizes_wh == []
    assert run_check(tmp_path)[0] == 0


def test_no_dataset_at_all(tmp_path):
    with pytest.raises(UserError, match=r"neither dataset.json nor a folder images"):
        check_dataset(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        check_dataset(tmp_path / "nowhere")


def test_a_clean_dataset(tiny):
    report = check_dataset(tiny).report
    assert report.findings.found == {}
    numbers = report.splits["train"]
    assert (numbers.pictures, numbers.boxes, numbers.ids) == (4, 8, 2)
    assert numbers.box_sizes_wh == [(20, 40)] * 3
    assert numbers.smallest_picture_wh == numbers.largest_picture_wh == SIZE_WH
    assert numbers.boxes_by_class == {0: 8}


def test_quick_and_processes_see_the_same(tiny, monkeypatch):
    (tiny / names_of(tiny)[2]).write_text("no picture")
    whole = check_dataset(tiny).report
    assert check_dataset(tiny, quick=True).report.splits == whole.splits
    monkeypatch.setattr("train.data.checking.inspecting.SECONDS_DECODED", 60)
    monkeypatch.setattr("train.data.checking.inspecting.BATCH", 1)
    several = check_dataset(tiny).report
    assert several.splits == whole.splits
    assert several.findings.found == whole.findings.found


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("0 0 0.5 0.5 0.2", Fault.LINE_UNPARSED),
        ("0 0 0.5 0.5 0.2 0.2 0.9", Fault.LINE_UNPARSED),
        ("0 zero 0.5 0.5 0.2 0.2", Fault.LINE_UNPARSED),
        ("0.5 0 0.5 0.5 0.2 0.2", Fault.LINE_UNPARSED),
        ("0 1.5 0.5 0.5 0.2 0.2", Fault.LINE_UNPARSED),
        ("0 0 nan 0.5 0.2 0.2", Fault.NOT_FINITE),
        ("0 0 0.5 0.5 inf 0.2", Fault.NOT_FINITE),
        ("0 0 0.5 0.5 0.0 0.2", Fault.BOX_WITHOUT_SIZE),
        ("0 0 0.5 0.5 0.2 -0.1", Fault.BOX_WITHOUT_SIZE),
        ("0 0 40 30 20 40", Fault.BOX_TOO_LARGE),
        ("0 0 1.2 0.5 0.2 0.2", Fault.BOX_OUTSIDE),
        ("0 0 0.5 -0.11 0.2 0.2", Fault.BOX_OUTSIDE),
        ("1 0 0.5 0.5 0.2 0.2", Fault.CLASS_UNKNOWN),
        ("-1 0 0.5 0.5 0.2 0.2", Fault.CLASS_UNKNOWN),
        ("0 2 0.5 0.5 0.2 0.2", Fault.ID_OUT_OF_RANGE),
        ("0 -2 0.5 0.5 0.2 0.2", Fault.ID_OUT_OF_RANGE),
        ("0 1 0.5 0.5 0.2 0.2", Fault.ID_TWICE),
    ],
)
def test_a_wrong_line_is_named_and_fixed(tiny, line, fault):
    name = names_of(tiny)[1]
    text = (tiny / label_path(name)).read_text()
    write_label(tiny, name, f"{text}\n{line}\n")
    outcome = check_dataset(tiny)
    faults = found(tiny)
    assert {kind for kind in faults if kind.severity == "error"} == {fault}
    count, first = faults[fault]
    assert count == 1
    assert first.startswith(f"{label_path(name)}, line 4: ")
    assert line in first

    fixed = tiny.parent / "fixed"
    write_fixed(outcome, fixed)
    report = check_dataset(fixed).report
    assert report.findings.errors == 0
    assert Fault.COUNTS_DIFFER not in report.findings.found
    assert report.splits["train"].pictures == 4


@pytest.mark.parametrize(
    "line", ["0 -1 0.5 0.5 0.2 0.2", "0 -1 1.09 0.5 0.2 0.2", "0 -1 0.5 0.5 2.9 1.5"]
)
def test_a_box_may_reach_out_and_be_unknown(tiny, line):
    write_label(tiny, names_of(tiny)[1], f"{GOOD.format(0)}{GOOD.format(1)}{line}\n")
    assert set(found(tiny)) == {Fault.COUNTS_DIFFER}
    assert check_dataset(tiny).report.splits["train"].without_identity == 1


def test_warnings_pass_unless_strict(tiny):
    first, second, *_ = names_of(tiny)
    write_label(tiny, first, "")
    (tiny / label_path(second)).unlink()
    write_label(tiny, "images/train/S1/img1/000099.jpg", GOOD.format(0))
    faults = found(tiny)
    assert faults[Fault.WITHOUT_OBJECTS] == (2, first)
    assert faults[Fault.LABELS_UNLISTED] == (1, "labels_with_ids/train/S1/img1/000099.txt")
    assert faults[Fault.COUNTS_DIFFER][0] == 1
    assert run_check(tiny)[0] == 0
    assert run_check(tiny, "--strict")[0] == 1


def test_an_identity_with_a_single_box(tiny):
    for name in names_of(tiny)[1:]:
        write_label(tiny, name, GOOD.format(0))
    count, first = found(tiny)[Fault.ID_ONCE]
    assert (count, first) == (1, "identity 1 in images/train/S1/img1/000001.jpg")


def test_identities_are_counted_over_all_splits(tiny):
    names = names_of(tiny)
    write_index(tiny, {"train": names, "first": names[:1], "second": names[1:2]})
    report = check_dataset(tiny).report
    assert report.findings.found == {}
    assert [part.pictures for part in report.splits.values()] == [4, 1, 1]
    assert [part.boxes for part in report.splits.values()] == [8, 2, 2]


def test_pictures_that_cannot_be_used(tiny):
    missing, cut, text, damaged = names_of(tiny)
    (tiny / missing).unlink()
    whole = (tiny / cut).read_bytes()
    (tiny / cut).write_bytes(whole[: len(whole) // 2])
    (tiny / text).write_text("not a picture")
    middle = bytearray((tiny / damaged).read_bytes())
    half = len(middle) // 2
    middle[half : half + 40] = bytes(value ^ 0x5A for value in middle[half : half + 40])
    (tiny / damaged).write_bytes(middle)

    outcome = check_dataset(tiny)
    faults = found(tiny)
    assert faults[Fault.PICTURE_MISSING] == (1, missing)
    assert faults[Fault.PICTURE_UNREADABLE][0] == 2
    assert faults[Fault.PICTURE_UNREADABLE][1].startswith(cut)
    assert faults[Fault.PICTURE_DAMAGED][1].startswith(damaged)
    assert outcome.inspection.usable.tolist() == [False, False, False, True]
    assert write_fixed(outcome, tiny.parent / "fixed").pictures("train") == [damaged]


def test_quick_reads_no_further_than_the_header(tiny):
    cut, text, *_ = names_of(tiny)
    whole = (tiny / cut).read_bytes()
    (tiny / cut).write_bytes(whole[: len(whole) * 3 // 4])
    (tiny / text).write_text("not a picture")
    assert found(tiny, quick=True)[Fault.PICTURE_UNREADABLE][0] == 1
    assert found(tiny)[Fault.PICTURE_UNREADABLE][0] == 2


def test_list_entries_that_lead_astray(tiny):
    names = names_of(tiny)
    secret = tiny.parent / "images" / "secret.jpg"
    write_picture(secret)
    entries = [
        *names,
        "images/../../images/secret.jpg",
        str(secret),
        f"./{names[0]}",
        "pictures/a.jpg",
    ]
    (tiny / "tiny.train").write_text("\n".join(entries) + "\n")
    faults = found(tiny)
    assert faults[Fault.PATH_ESCAPES] == (2, "tiny.train, line 5: images/../../images/secret.jpg")
    assert faults[Fault.LISTED_TWICE] == (1, f"tiny.train, line 7: ./{names[0]}")
    assert faults[Fault.PATH_WITHOUT_LABELS] == (1, "tiny.train, line 8: pictures/a.jpg")
    assert run_check(tiny)[0] == 1


def test_lists_that_are_missing_or_outside(tiny):
    content = json.loads((tiny / "dataset.json").read_text())
    entry = content["splits"]["train"]
    content["splits"]["gone"] = {**entry, "list_file": "tiny.gone"}
    content["splits"]["outside"] = {**entry, "list_file": "../tiny.train"}
    (tiny / "dataset.json").write_text(json.dumps(content))
    faults = found(tiny)
    assert faults[Fault.LIST_UNREADABLE][1].startswith("tiny.gone")
    assert faults[Fault.PATH_ESCAPES] == (1, "dataset.json: list '../tiny.train'")


def test_a_label_file_that_is_no_text(tiny):
    name = names_of(tiny)[0]
    (tiny / label_path(name)).write_bytes(b"\xff\xfe\x00\x80")
    assert found(tiny)[Fault.LABELS_UNREADABLE][1].startswith(label_path(name))
    # Nobody knows what is in the picture, so training must not take it for empty.
    fixed = write_fixed(check_dataset(tiny), tiny.parent / "fixed")
    assert name not in fixed.pictures("train")


def test_frames_of_videos(tmp_path):
    write_video(tmp_path / "images/train/S1.avi", 6)
    write_picture(tmp_path / "images/train/S2.avi.jpg")
    (tmp_path / "images/train/S2.avi").write_text("no video")
    names = [f"images/train/S1.avi#{number}" for number in (1, 6, 7)]
    names += ["images/train/S2.avi#1", "images/train/S3.avi#1", "images/train/S3.avi#2"]
    for name in names:
        write_label(tmp_path, name, GOOD.format(0))
    write_index(tmp_path, {"train": names}, boxes=1, ids=1)
    faults = found(tmp_path)
    assert faults[Fault.FRAME_MISSING] == (1, "images/train/S1.avi#7: it has 6 frames")
    assert faults[Fault.PICTURE_UNREADABLE][0] == 1
    assert faults[Fault.PICTURE_MISSING] == (2, "images/train/S3.avi#1")
    assert set(found(tmp_path, quick=True)) == set(faults)

    write_fixed(check_dataset(tmp_path), tmp_path / "fixed")
    assert read_index(tmp_path / "fixed").pictures("train") == names[:2]
    assert check_dataset(tmp_path / "fixed").report.passed()


def test_a_video_cut_short(tmp_path):
    video = tmp_path / "images/train/S1.avi"
    write_video(video, 30)
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) // 2])
    names = [f"images/train/S1.avi#{number}" for number in range(1, 31)]
    write_index(tmp_path, {"train": names})
    count, first = found(tmp_path)[Fault.FRAME_MISSING]
    assert 10 < count < 20
    assert first.startswith(f"images/train/S1.avi#{31 - count}:")


def test_the_plain_layout_without_an_index(tiny):
    (tiny / "dataset.json").unlink()
    write_video(tiny / "images/val/S2.avi", 3)
    write_label(tiny, "images/val/S2.avi#2", "4 9 0.5 0.5 0.1 0.1\n")
    outcome = check_dataset(tiny)
    assert outcome.report.passed()
    assert {name: part.pictures for name, part in outcome.report.splits.items()} == {
        "train": 4,
        "val": 3,
    }
    index = write_fixed(outcome, tiny / "fixed")
    assert index.num_ids == 10
    assert len(index.classes) == 5
    assert read_index(tiny / "fixed").pictures("val") == [
        f"images/val/S2.avi#{number}" for number in (1, 2, 3)
    ]


def test_the_report_for_machines(tiny):
    write_label(tiny, names_of(tiny)[0], "0 0 nan 0.5 1 1\n")
    status, output = run_check(tiny, "--json", tiny / "report.json")
    assert status == 1
    assert "number is not finite" in output
    content = json.loads((tiny / "report.json").read_text())
    assert content["errors"] == 1
    assert content["splits"]["train"]["pictures"] == 4
    assert content["faults"][0]["kind"] == "not_finite"
    assert content["faults"][0]["count"] == 1


def test_real_photographs(tmp_path):
    data = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "street-people"
    if not data.is_dir():
        pytest.skip("no street-people here")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "val").symlink_to(data / "images" / "val")
    report = check_dataset(tmp_path).report
    assert report.splits["val"].pictures == 250
    assert report.findings.errors == 0
    assert report.findings.found[Fault.WITHOUT_OBJECTS].count == 250
