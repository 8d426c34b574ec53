"""BrackishMOT, with its six classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import UserError
from tests.train.prepare.trees import labels_of, make_sequence
from train.data.prepare.base import Options
from train.data.prepare.building import prepare
from train.data.prepare.fish import CLASSES

PICTURE = "images/train/brackishMOT-01/img1/000001.jpg"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rows = [f"1,{number + 10},{number},1,9,9,1,{number},1" for number in range(1, 7)]
    make_sequence(tmp_path / "fish/train/brackishMOT-01", rows, frames=1)
    make_sequence(tmp_path / "fish/test/brackishMOT-02", ["1,11,1,1,9,9,1,5,1"], frames=1)
    return tmp_path / "fish"


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="nothing at all"):
        prepare(tmp_path, tmp_path / "out", Options("fish"))


@pytest.mark.parametrize("chosen", [None, ("all",), CLASSES])
def test_all_classes_are_kept_unless_told_otherwise(root, tmp_path, chosen):
    prepared = prepare(root, tmp_path / "out", Options("fish", classes=chosen))
    assert prepared.index.classes == CLASSES
    assert labels_of(tmp_path / "out", PICTURE).classes.tolist() == [0, 1, 2, 3, 4, 5]
    assert list(prepared.index.splits) == ["train", "test"]
    assert labels_of(tmp_path / "out", prepared.index.pictures("test")[0]).ids.tolist() == [6]


def test_chosen_classes_are_numbered_in_the_published_order(root, tmp_path):
    options = Options("fish", classes=("jellyfish", "fish"))
    prepared = prepare(root, tmp_path / "out", options)
    assert prepared.index.classes == ("fish", "jellyfish")
    labels = labels_of(tmp_path / "out", PICTURE)
    assert labels.classes.tolist() == [0, 1]
    assert labels.ids.tolist() == [0, 1]
    assert [split.dropped for split in prepared.splits] == [
        {"other class": 4},
        {"other class": 1},
    ]


def test_unknown_classes_are_refused(root, tmp_path):
    with pytest.raises(UserError, match=r"no class 'shark'.*jellyfish"):
        prepare(root, tmp_path / "out", Options("fish", classes=("shark",)))
