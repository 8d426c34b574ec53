"""A teacher's outputs on disk: found again, kept apart and bounded."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from tests.train.teacher_records import ROOM, assert_same, fill, found, key_of, outputs
from train.teachers.cache import TeacherCache, content_key
from train.teachers.cache import cache as cache_module
from train.teachers.cache.cache import BATCH, FILE_NAME
from train.teachers.cache.packing import Arrays, pack, unpack


@pytest.mark.parametrize("arrays", [(), outputs(0, objects=0), outputs(1), (np.array(3),)])
def test_arrays_survive_packing(arrays: Arrays) -> None:
    assert_same(unpack(pack(arrays)), arrays)


def test_objects_of_python_are_not_packed() -> None:
    with pytest.raises(ValueError):
        pack([np.array([{}], object)])


def test_an_empty_cache_finds_nothing_and_stays_small(tmp_path: Path) -> None:
    assert found(tmp_path / "new" / "folder", range(3)) == []
    assert [file.name for file in (tmp_path / "new" / "folder").iterdir()] == [FILE_NAME]
    assert (tmp_path / "new" / "folder" / FILE_NAME).stat().st_size < 40_000


def test_what_is_kept_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with TeacherCache(tmp_path, "a", ROOM) as cache:
        for number in range(BATCH + 3):
            cache.keep(key_of(number), outputs(number))
        late = cache.find(key_of(BATCH + 2))  # not written yet
    assert late is not None
    assert_same(late, outputs(BATCH + 2))
    assert found(tmp_path, range(BATCH + 10)) == list(range(BATCH + 3))
    assert capsys.readouterr().err == ""


def test_a_picture_without_objects_is_known_as_such(tmp_path: Path) -> None:
    nothing = outputs(0, objects=0)
    with TeacherCache(tmp_path, "a", ROOM) as cache:
        cache.keep(b"k", nothing)
    with TeacherCache(tmp_path, "a", ROOM) as cache:
        again = cache.find(b"k")
    assert again is not None
    assert_same(again, nothing)


def test_a_record_is_replaced(tmp_path: Path) -> None:
    for number in (1, 2, 2):
        with TeacherCache(tmp_path, "a", ROOM) as cache:
            cache.keep(b"k", outputs(number))
    with TeacherCache(tmp_path, "a", ROOM) as cache:
        again = cache.find(b"k")
    assert again is not None
    assert_same(again, outputs(2))
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
              for table in ("records", "outputs")]  # fmt: skip
    connection.close()
    assert counts == [1, 1]


def test_another_teacher_finds_nothing(tmp_path: Path) -> None:
    fill(tmp_path, range(5), "a")
    assert found(tmp_path, range(5), "b") == []
    assert found(tmp_path, range(5), "a") == list(range(5))


def test_the_content_decides() -> None:
    image = np.random.default_rng(0).integers(0, 255, (8, 6, 3)).astype(np.uint8)
    boxes, classes = np.ones((2, 4), np.float32), np.zeros(2, np.int64)
    changed = image.copy()
    changed[7, 5, 2] ^= 1
    keys = [
        content_key(image),
        content_key(changed),
        content_key(image.reshape(6, 8, 3)),
        content_key(image[:0]),
        content_key(image, boxes),
        content_key(image, boxes, classes),
        content_key(image, boxes + 1, classes),
        content_key(image, boxes, classes + 1),
        content_key(image, boxes[:0], classes[:0]),
    ]
    assert len(set(keys)) == len(keys)
    strided = np.concatenate([image, image], axis=1)[:, :6]
    assert content_key(strided) == content_key(image.copy()) == keys[0]


def database_bytes(folder: Path) -> int:
    return (folder / FILE_NAME).stat().st_size


def test_the_bound_holds_and_other_teachers_go_first(tmp_path: Path) -> None:
    limit = 1024 * 1024
    fill(tmp_path, range(100), "a", limit_mb=1)
    fill(tmp_path, range(100), "b", limit_mb=1)
    assert database_bytes(tmp_path) <= limit
    assert found(tmp_path, range(100), "b") == list(range(100))
    left = found(tmp_path, range(100), "a")
    assert 0 < len(left) < 100
    assert left == list(range(100 - len(left), 100))  # the oldest are gone
    # Now a's records were used last, and yet b's own go before none of a's.
    fill(tmp_path, range(100, 150), "b", limit_mb=1)
    assert found(tmp_path, range(150), "b") == list(range(150))
    assert len(found(tmp_path, range(100), "a")) < len(left)
    assert database_bytes(tmp_path) <= limit


def test_what_was_used_last_stays(tmp_path: Path) -> None:
    fill(tmp_path, range(150), limit_mb=1)
    used = found(tmp_path, range(40))
    assert used == list(range(40))
    fill(tmp_path, range(150, 200), limit_mb=1)
    left = found(tmp_path, range(200))
    assert set(left) >= {*range(40), *range(150, 200)}
    assert len(left) < 200


def test_a_pass_over_more_than_fits_keeps_its_first_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, range(600), limit_mb=1)
    warning = capsys.readouterr().err
    assert "full, at 1 MB" in warning and "cache_mb" in warning
    assert warning.count("\n") == 1
    left = found(tmp_path, range(600))
    assert len(left) > 100 and left == list(range(len(left)))
    assert database_bytes(tmp_path) <= 1024 * 1024


def test_a_lower_bound_shrinks_the_file(tmp_path: Path) -> None:
    fill(tmp_path, range(800))
    assert database_bytes(tmp_path) > 3_000_000
    TeacherCache(tmp_path, "a", 1).close()
    assert database_bytes(tmp_path) <= 1024 * 1024
    left = found(tmp_path, range(800))
    assert len(left) > 100 and left[-1] == 799


def test_a_bound_too_small_for_anything(tmp_path: Path) -> None:
    fill(tmp_path, range(5), limit_mb=0.001)
    assert found(tmp_path, range(5)) == []


def test_records_that_are_old_enough_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "BATCH_S", 0.0)
    with TeacherCache(tmp_path, "a", ROOM) as cache:
        cache.keep(key_of(0), outputs(0))
        assert found(tmp_path, range(1)) == [0]
