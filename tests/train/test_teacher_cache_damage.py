"""The teacher's cache under damage, kill -9, full disks and other processes: never in the way."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from tests.train.teacher_records import ROOM, assert_same, fill, found, key_of, outputs
from train.teachers.cache import TeacherCache
from train.teachers.cache.cache import BATCH, FILE_NAME
from train.teachers.cache.database import open_database

ROOT = Path(__file__).resolve().parents[2]


def test_an_unusable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="file is a file"):
        TeacherCache(tmp_path / "file", "a", ROOM)
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(UserError, match=r"cannot be opened \(unable to open database file\)"):
        TeacherCache(tmp_path, "a", ROOM)


def foreign_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE holidays (place TEXT)")
    connection.commit()
    connection.close()


def older_version(path: Path) -> None:
    fill(path.parent, range(3))
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE records ADD COLUMN more")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text("my notes, long before there was a cache\n" * 9),
        lambda path: path.write_bytes(os.urandom(9000)),
        foreign_database,
        older_version,
    ],
    ids=["text", "noise", "foreign", "older"],
)
def test_what_is_not_the_cache_is_set_aside_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write
) -> None:
    write(tmp_path / FILE_NAME)
    (tmp_path / "mine.txt").write_text("mine")
    before = (tmp_path / FILE_NAME).read_bytes()
    fill(tmp_path, range(4))
    warning = capsys.readouterr().err
    assert warning.startswith("warning: ") and warning.count("\n") == 1
    assert f"{FILE_NAME}.aside-1" in warning
    assert (tmp_path / f"{FILE_NAME}.aside-1").read_bytes() == before
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert found(tmp_path, range(4)) == list(range(4))
    assert capsys.readouterr().err == ""


def test_a_second_file_set_aside_leaves_the_first(tmp_path: Path) -> None:
    for text in ("one", "two"):
        (tmp_path / FILE_NAME).write_text(text * 100)
        fill(tmp_path, range(1))
    for number, text in enumerate(("one", "two"), 1):
        assert (tmp_path / f"{FILE_NAME}.aside-{number}").read_text() == text * 100


def test_a_damaged_record_is_not_found_and_replaced(tmp_path: Path) -> None:
    fill(tmp_path, range(10))
    content = bytearray((tmp_path / FILE_NAME).read_bytes())
    place = content.index(outputs(7)[3].tobytes()[:200])
    content[place + 50] ^= 4
    (tmp_path / FILE_NAME).write_bytes(content)
    assert found(tmp_path, range(10)) == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    fill(tmp_path, range(7, 8))
    assert found(tmp_path, range(10)) == list(range(10))


def test_a_record_in_the_place_of_another_is_not_believed(tmp_path: Path) -> None:
    fill(tmp_path, range(2))
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("UPDATE outputs SET value = (SELECT value FROM outputs WHERE id = 1)")
    connection.commit()
    connection.close()
    assert found(tmp_path, range(2)) == [0]


@pytest.mark.parametrize("seed", range(6))
def test_damage_anywhere_is_survived(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    fill(tmp_path, range(40))
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(0 if seed % 2 else 4096, len(content), 30 + 200 * seed).tolist():
        content[place] = int(rng.integers(256))
    path.write_bytes(content[: len(content) // 2] if seed == 5 else content)
    with TeacherCache(tmp_path, "a", ROOM) as cache:
        for number in range(60):
            arrays = cache.find(key_of(number))
            if arrays is None:
                cache.keep(key_of(number), outputs(number))
            else:
                assert_same(arrays, outputs(number))
    assert capsys.readouterr().err.count("\n") <= 2


@pytest.mark.parametrize("place", [18, 47])  # versions, as if a later SQLite had written it
def test_a_damaged_header_is_no_reason_to_stop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: int
) -> None:
    fill(tmp_path, range(3))
    content = bytearray((tmp_path / FILE_NAME).read_bytes())
    content[place] = 99
    (tmp_path / FILE_NAME).write_bytes(content)
    fill(tmp_path, range(3, 6))
    assert "aside-1" in capsys.readouterr().err
    assert found(tmp_path, range(6)) == [3, 4, 5]


def test_damage_found_on_the_way_costs_a_new_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, range(200))
    content = bytearray((tmp_path / FILE_NAME).read_bytes())
    content[4096 * 2 :] = bytes(len(content) - 4096 * 2)
    (tmp_path / FILE_NAME).write_bytes(content)
    fill(tmp_path, range(200, 400))
    assert capsys.readouterr().err.count("\n") == 1
    assert found(tmp_path, range(200, 400)) == list(range(200, 400))


def test_two_that_find_the_same_damage_begin_one_new_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, range(200))
    content = bytearray((tmp_path / FILE_NAME).read_bytes())
    content[4096 * 2 :] = bytes(len(content) - 4096 * 2)
    (tmp_path / FILE_NAME).write_bytes(content)
    caches = [TeacherCache(tmp_path, "a", ROOM) for _ in range(2)]
    for number, cache in enumerate(caches):
        assert cache.find(key_of(number)) is None
        cache.keep(key_of(number), outputs(number))
        cache.flush()
    for cache in caches:
        cache.close()
    assert found(tmp_path, range(2)) == [0, 1]
    assert not (tmp_path / f"{FILE_NAME}.aside-2").exists()


def test_a_full_disk_costs_a_warning_and_the_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TeacherCache(tmp_path, "a", ROOM) as cache:
        cache.keep(key_of(0), outputs(0))
        cache.flush()
        assert cache._database is not None
        # What SQLite then says is what it says of a full disk.
        cache._database.connection.execute("PRAGMA max_page_count = 20").fetchall()
        for number in range(1, 300):
            assert cache.find(key_of(number)) is None
            cache.keep(key_of(number), outputs(number))
    warning = capsys.readouterr().err
    assert "database or disk is full" in warning and "going on without it" in warning
    assert warning.count("\n") == 1
    assert found(tmp_path, range(300)) == [0]


def test_a_lock_that_is_not_released_costs_a_warning_and_the_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.teachers.cache.database.BUSY_S", 0.05)
    with TeacherCache(tmp_path, "a", ROOM) as cache:
        other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        cache.keep(key_of(0), outputs(0))
        cache.flush()
        assert cache.find(key_of(0)) is None
        other.close()
    assert "database is locked" in capsys.readouterr().err


ENDLESS_WRITER = """
import sys
from pathlib import Path
from tests.train.teacher_records import key_of, outputs
from train.teachers.cache import TeacherCache
with TeacherCache(Path(sys.argv[1]), "a", 64) as cache:
    number = int(sys.argv[2])
    while True:
        cache.keep(key_of(number), outputs(number))
        number += 1
        if number % 100 == 0:
            print(number, flush=True)
"""


def test_killed_writers_leave_a_sound_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = 0
    for round_ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", ENDLESS_WRITER, str(tmp_path), str(written)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        for line in itertools.islice(writer.stdout, 2):
            written = int(line)
        time.sleep(0.003 * round_)  # another moment each time
        writer.send_signal(signal.SIGKILL)
        writer.wait(timeout=20)
        writer.stdout.close()
        connection = sqlite3.connect(tmp_path / FILE_NAME)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        # At most the last batch of each writer is lost.
        assert len(found(tmp_path, range(written))) >= written - BATCH * (round_ + 1)
    assert capsys.readouterr().err == ""


def test_several_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        ranges = [range(200), range(100, 300)]
        for job in [pool.submit(fill, tmp_path, numbers) for numbers in ranges]:
            job.result(timeout=120)
    assert found(tmp_path, range(300)) == list(range(300))


@pytest.mark.parametrize("content", [b"", b"something else" * 99], ids=["new", "foreign"])
def test_files_that_are_opened_at_the_same_moment(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    together = threading.Barrier(4)
    identities: list[tuple[int, int]] = []

    def work() -> None:
        together.wait()
        database = open_database(tmp_path / FILE_NAME)
        identities.append(database.identity)
        database.connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(identities) == 4 and len(set(identities)) == 1
    assert not (tmp_path / f"{FILE_NAME}.aside-2").exists()
    assert (tmp_path / f"{FILE_NAME}.aside-1").exists() == bool(content)
