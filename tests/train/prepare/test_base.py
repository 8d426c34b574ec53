"""Numbering, links, whole folders, and runs that were killed."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import UserError
from tests.train.prepare.trees import PICTURE, SIZE, contents, labels_of, make_sequence
from train.data.index import INDEX_FILE, read_index
from train.data.labels import Labels
from train.data.prepare import PREPARERS
from train.data.prepare.base import Collection, IdentityNumbers, Options, Part, in_processes
from train.data.prepare.building import build, prepare
from train.data.prepare.pictures import frame_numbers, image_size, pictures_below


def one_box(identity: int) -> Labels:
    return Labels.from_ltwh(np.array([[1, 2, 10, 20.0]]), SIZE, np.array([identity]))


def photos(split: str, folder: str, ids: list[int], target: Path, scope: str = "") -> Part:
    pictures = [f"{folder}/{number}.jpg" for number in range(len(ids))]
    labels = [one_box(identity) for identity in ids]
    return Part(split, folder, pictures, labels, {folder: target}, scope=scope)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    make_sequence(folder / "train/S1", ["1,5,1,2,10,20,1,1,1", "2,5,2,2,10,20,1,1,1"])
    make_sequence(folder / "train/S2", ["1,5,1,2,10,20,1,1,1", "4,2,2,2,10,20,1,1,1"])
    return folder


def test_a_dataset_without_pictures_is_refused(tmp_path):
    with pytest.raises(UserError, match="no pictures"):
        build(Collection(("person",), []), tmp_path, tmp_path / "out", Options("custom"))
    assert not (tmp_path / "out").exists()


def test_no_identities_get_no_numbers():
    numbers = IdentityNumbers()
    assert numbers.renumber("S", np.zeros(0, np.int64)).tolist() == []
    assert numbers.renumber("S", np.array([-1, -1])).tolist() == [-1, -1]
    assert len(numbers) == 0


def test_every_dataset_has_a_function_that_reads_it():
    import importlib

    for target in PREPARERS.values():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_identities_are_numbered_over_parts_unless_they_share_a_scope(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    def ids(scope: str, out: Path) -> list[int]:
        parts = [
            photos("train", "images/train", [9, -1, 4], tmp_path / "a", scope),
            photos("val", "images/val", [9, 1], tmp_path / "b", scope),
        ]
        prepared = build(Collection(("person",), parts), tmp_path, out, Options("custom"))
        pictures = [*prepared.index.pictures("train"), *prepared.index.pictures("val")]
        return [int(labels_of(out, picture).ids[0]) for picture in pictures]

    assert ids("", tmp_path / "apart") == [1, -1, 0, 3, 2]
    assert ids("all", tmp_path / "shared") == [1, -1, 0, 1, 2]
    index = read_index(tmp_path / "shared")
    assert (index.num_ids, index.splits["train"].ids, index.splits["val"].ids) == (3, 2, 2)


def test_parts_that_would_overwrite_each_other_are_refused(tmp_path):
    parts = [photos("train", folder, [1], tmp_path) for folder in ("images/a", "images/a/b")]
    with pytest.raises(UserError, match="share their labels"):
        build(Collection(("person",), parts), tmp_path, tmp_path / "out", Options("custom"))


def test_pictures_that_would_share_a_label_file_are_refused(tmp_path):
    part = photos("train", "images/train", [1, 2], tmp_path)
    part.pictures = ["images/train/a.jpg", "images/train/a.png"]
    with pytest.raises(UserError, match="rename one"):
        build(Collection(("person",), [part]), tmp_path, tmp_path / "out", Options("custom"))


def test_the_published_folder_stays_as_it_is(root, tmp_path):
    before = contents(root)
    prepare(root, tmp_path / "out", Options("mot16"))
    assert contents(root) == before
    prepare(root, None, Options("mot16"))
    after = contents(root)
    assert {name: after[name] for name in before} == before
    assert after["images/train/S1"] == "../../train/S1"


def test_links_are_relative_and_lead_to_the_pictures(root, tmp_path):
    prepared = prepare(root, tmp_path / "out", Options("mot16"))
    for picture in prepared.index.pictures("train"):
        assert (tmp_path / "out" / picture).read_bytes() == PICTURE
    link = tmp_path / "out/images/train/S1"
    assert link.is_symlink() and not link.readlink().is_absolute()


def test_every_picture_has_a_label_file_even_without_objects(root, tmp_path):
    prepared = prepare(root, tmp_path / "out", Options("mot16"))
    counts = [len(labels_of(tmp_path / "out", name)) for name in prepared.index.pictures("train")]
    assert counts == [1, 1, 0, 0, 1, 0, 0, 1]


def test_a_second_run_writes_the_same_and_touches_no_label(root, tmp_path):
    out = tmp_path / "out"
    prepare(root, out, Options("mot16"))
    before = contents(out)
    file = out / "labels_with_ids/train/S1/img1/000001.txt"
    inode = file.stat().st_ino
    prepare(root, out, Options("mot16"))
    assert contents(out) == before
    assert file.stat().st_ino == inode


def test_labels_of_frames_that_are_gone_do_not_stay(root, tmp_path):
    out = tmp_path / "out"
    prepare(root, out, Options("mot16"))
    (root / "train/S1/img1/000004.jpg").unlink()
    prepare(root, out, Options("mot16"))
    assert not (out / "labels_with_ids/train/S1/img1/000004.txt").exists()
    assert read_index(out).splits["train"].pictures == 7


def test_labels_of_others_are_not_overwritten(root, tmp_path):
    file = root / "labels_with_ids/train/S1/img1/000001.txt"
    file.parent.mkdir(parents=True)
    file.write_text("0 1 0.5 0.5 0.1 0.1\n")
    before = contents(root)
    with pytest.raises(UserError, match="did not write"):
        prepare(root, None, Options("mot16"))
    assert contents(root) == before


def test_something_in_the_way_of_a_link_is_kept(root, tmp_path):
    (tmp_path / "out/images/train/S1").mkdir(parents=True)
    (tmp_path / "out/images/train/S1/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="in the way"):
        prepare(root, tmp_path / "out", Options("mot16"))
    assert (tmp_path / "out/images/train/S1/notes.txt").read_text() == "mine"
    assert not (tmp_path / "out" / INDEX_FILE).exists()


def test_options_that_would_be_ignored_are_refused(root, tmp_path):
    with pytest.raises(UserError, match="mot16 has no use for --class-names"):
        prepare(root, tmp_path / "out", Options("mot16", class_names=("a",)))


def test_any_number_of_processes_gives_the_same(root, tmp_path, monkeypatch):
    prepare(root, tmp_path / "one", Options("mot16"))
    monkeypatch.setattr("train.data.prepare.base.WORTH_PROCESSES", -1.0)
    prepare(root, tmp_path / "two", Options("mot16", workers=2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_errors_come_out_of_other_processes(monkeypatch, tmp_path):
    monkeypatch.setattr("train.data.prepare.base.WORTH_PROCESSES", -1.0)
    with pytest.raises(UserError, match="missing"):
        in_processes(image_size, [(tmp_path / "missing",), (tmp_path / "also",)], "x", 2, 0.0)


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the flushing to the system; a killed process loses nothing by it."""
    monkeypatch.setattr(os, "sync", lambda: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def visible(folder: Path) -> dict[str, bytes | str]:
    """Return what stands under final names."""
    temporary = (".part", ".write-probe")
    found = contents(folder).items()
    return {name: text for name, text in found if not any(part in name for part in temporary)}


CHANGES = {"os.rename", "os.symlink", "os.mkdir", "os.remove", "os.rmdir"}


def killed_at(change: int, root: Path, out: Path) -> bool:
    """Prepare in a child that is killed right before its n-th change; return whether it was."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            writes = event == "open" and isinstance(arguments[2], int)
            writes = writes and bool(int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR))
            if event in CHANGES or writes:
                seen += 1
                if seen == change:
                    os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            sys.addaudithook(hook)
            prepare(root, out, Options("mot16", halves=True))
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), status
    return status != 0


def test_killed_at_any_point_and_run_again_gives_the_same_bytes(root, tmp_path, quick_disk):
    prepare(root, tmp_path / "whole", Options("mot16", halves=True))
    whole = contents(tmp_path / "whole")
    change = 1
    while killed_at(change, root, out := tmp_path / f"killed{change}"):
        assert not (out / INDEX_FILE).exists() or visible(out) == whole
        prepare(root, out, Options("mot16", halves=True))
        assert contents(out) == whole, change
        change += 1
    assert change > 20
    assert contents(out) == whole


def test_an_index_stands_only_beside_what_it_was_made_with(root, tmp_path, quick_disk):
    """Where a run that was to change a dataset leaves an index, all is old or all is new."""
    options = Options("mot16", halves=True)
    truth, last = root / "train/S1/gt/gt.txt", root / "train/S1/img1/000004.jpg"

    def publish(newer: bool) -> None:
        truth.write_text("1,8,1,2,10,20,1,1,1\n1,9,2,2,10,20,1,1,1\n" if newer else first_rows)
        last.unlink(missing_ok=True)
        if not newer:
            last.write_bytes(PICTURE)

    first_rows = truth.read_text()
    prepare(root, tmp_path / "old", options)
    publish(newer=True)
    prepare(root, tmp_path / "new", options)
    old, new = contents(tmp_path / "old"), contents(tmp_path / "new")
    change, without_index = 1, 0
    while True:
        out = tmp_path / f"killed{change}"
        publish(newer=False)
        prepare(root, out, options)
        publish(newer=True)
        if not killed_at(change, root, out):
            break
        if (out / INDEX_FILE).exists():
            assert visible(out) in (old, new), change
        else:
            without_index += 1
        prepare(root, out, options)
        assert contents(out) == new, change
        change += 1
    assert without_index > 0


def test_two_runs_at_once_do_not_mix(root, tmp_path):
    import fcntl

    out = tmp_path / "out"
    out.mkdir()
    descriptor = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process"):
            prepare(root, out, Options("mot16"))
    finally:
        os.close(descriptor)
    prepare(root, out, Options("mot16"))


def test_halves_need_sequences(tmp_path):
    part = photos("train", "images/train", [1], tmp_path)
    with pytest.raises(UserError, match="no training sequences"):
        build(Collection(("person",), [part]), tmp_path, tmp_path / "out", Options("custom", True))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
def test_sizes_are_those_of_the_decoded_picture(tmp_path, suffix):
    file = tmp_path / f"a{suffix}"
    cv2.imwrite(str(file), np.zeros((33, 57, 3), np.uint8))
    assert image_size(file) == (57, 33)


def test_lossless_webp_tells_its_size(tmp_path):
    file = tmp_path / "a.webp"
    cv2.imwrite(str(file), np.zeros((33, 57, 3), np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 101])
    assert file.read_bytes()[12:16] == b"VP8L"
    assert image_size(file) == (57, 33)


def test_sizes_follow_a_rotation_that_the_camera_asked_for(tmp_path):
    plain = cv2.imencode(".jpg", np.zeros((33, 57, 3), np.uint8))[1].tobytes()
    # One entry in the first directory: orientation (0x0112), short, one value, 6.
    tiff = bytes.fromhex("4d4d002a00000008000101120003000000010006000000000000")
    notes = b"Exif\0\0" + tiff
    file = tmp_path / "a.jpg"
    segment = b"\xff\xe1" + (len(notes) + 2).to_bytes(2, "big") + notes
    file.write_bytes(plain[:2] + segment + plain[2:])
    assert cv2.imread(str(file)).shape[:2] == (57, 33)
    assert image_size(file) == (33, 57)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"BM", b"not a picture"])
def test_damaged_pictures_are_named(tmp_path, content):
    file = tmp_path / "a.jpg"
    file.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        image_size(file)


def test_pictures_below_follow_links_once(tmp_path):
    assert pictures_below(tmp_path) == []
    (tmp_path / "a").mkdir()
    (tmp_path / "a/2.jpg").write_bytes(PICTURE)
    (tmp_path / "a/10.jpg").write_bytes(PICTURE)
    (tmp_path / "a/notes.txt").write_text("")
    (tmp_path / "a/again").symlink_to(tmp_path)
    assert pictures_below(tmp_path) == ["a/2.jpg", "a/10.jpg"]


def test_frames_named_from_0_count_from_1():
    assert frame_numbers([]) == []
    assert frame_numbers(["000000.jpg", "000001.jpg"]) == [1, 2]


def test_dropped_boxes_are_counted_over_sequences(root, tmp_path):
    with (root / "train/S1/gt/gt.txt").open("a") as handle:
        handle.write("3,7,1,1,0,20,1,1,1\n3,8,1,1,5,20,0,1,1\n99,8,1,1,5,20,1,1,1\n")
    (split,) = prepare(root, tmp_path / "out", Options("mot16")).splits
    assert split.dropped == Counter({"no size": 1, "mark 0": 1, "no picture": 1})
    assert (split.sequences, split.pictures, split.boxes, split.ids) == (2, 8, 4, 3)
