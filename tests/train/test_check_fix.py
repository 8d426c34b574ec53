"""Writing what is good of a dataset to a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import UserError
from tests.train.tiny_dataset import (
    GOOD,
    names_of,
    run_check,
    write_index,
    write_label,
    write_tiny,
)
from train.data.checking.checking import check_dataset
from train.data.checking.fixing import write_fixed
from train.data.index import Split, read_index
from train.data.labels import label_path, read_labels


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


def test_an_empty_dataset_stays_one(tmp_path):
    write_index(tmp_path / "tiny", {"train": []}, num_ids=0, ids=0)
    index = write_fixed(check_dataset(tmp_path / "tiny" / "dataset.json"), tmp_path / "fixed")
    assert index.pictures("train") == []
    assert check_dataset(tmp_path / "fixed").report.passed(strict=True)


def snapshot(root: Path) -> dict[str, bytes | str]:
    return {
        str(file.relative_to(root)): str(file.readlink())
        if file.is_symlink()
        else file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_symlink() or file.is_file()
    }


def test_fixing_keeps_what_is_good_to_the_letter(tiny):
    names = names_of(tiny)
    good = (tiny / label_path(names[0])).read_text()
    write_label(tiny, names[1], f"{GOOD.format(7)}{GOOD.format(5)}0 0 nan 0 1 1\n")
    write_label(tiny, names[2], f"{GOOD.format(1)}0 1 0.25 0.25 0.1 0.1\n")
    write_label(tiny, names[3], f"{GOOD.format(1)}{GOOD.format(1)}")
    before = snapshot(tiny)
    fixed = tiny / "cleaned" / "first"
    status, output = run_check(tiny, "--fix", fixed)
    assert status == 1
    assert "train 4 pictures 7 boxes" in output
    after = snapshot(tiny)
    assert {name: after[name] for name in before} == before

    read = [read_labels(fixed / label_path(name)) for name in names]
    assert (fixed / label_path(names[0])).read_text() == good
    assert read[1].ids.tolist() == [3, 2]  # identities beyond num_ids get the next numbers
    assert read[2].ids.tolist() == [-1, -1]  # nobody knows which of the two it is
    assert read[3].ids.tolist() == [1]  # the same line twice is one box
    index = read_index(fixed)
    assert index.num_ids == 4
    assert index.splits["train"] == Split("tiny.fixed.train", 4, 7, 4)
    assert not (fixed / "images").readlink().is_absolute()
    assert run_check(fixed)[0] == 0
    again = tiny / "cleaned" / "again"
    run_check(tiny, "--fix", again)
    assert {**snapshot(again), "dataset.json": b""} == {**snapshot(fixed), "dataset.json": b""}


def test_fixing_needs_a_folder_of_its_own(tiny):
    outcome = check_dataset(tiny)
    for folder in (tiny, tiny / "images" / "new", tiny / "labels_with_ids"):
        with pytest.raises(UserError, match="give a"):
            write_fixed(outcome, folder)
    with pytest.raises(UserError, match="--quick"):
        write_fixed(check_dataset(tiny, quick=True), tiny / "new")
    assert not (tiny / "new").exists()
    assert not list(tiny.rglob("*.part"))


def test_a_fix_that_fails_leaves_nothing(tiny, monkeypatch):
    outcome = check_dataset(tiny)

    def fail(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(Path, "symlink_to", fail)
    with pytest.raises(UserError, match="Operation not supported"):
        write_fixed(outcome, tiny / "new")
    assert sorted(file.name for file in tiny.iterdir()) == [
        "dataset.json",
        "images",
        "labels_with_ids",
        "tiny.train",
    ]
