"""Files that grow: their names, the lock, a full disk."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from runtime import UserError
from runtime.sinks import growing
from runtime.sinks.growing import GrowingFile
from tests.runtime.results import FillingDisk


def grown(path, *pieces: bytes) -> GrowingFile:
    file = GrowingFile(path)
    file.open()
    for piece in pieces:
        file.write_frame(piece)
    return file


def names(folder) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_without_frames_an_empty_file_takes_the_name_only_if_kept(tmp_path):
    grown(tmp_path / "a.txt").close(keep=False)
    assert names(tmp_path) == []
    grown(tmp_path / "a.txt").close(keep=True)
    assert (tmp_path / "a.txt").read_bytes() == b""


def test_every_piece_can_be_read_at_once(tmp_path):
    file = grown(tmp_path / "a.txt", b"one\n")
    assert names(tmp_path) == ["a.part.txt"]
    assert file.partial.read_bytes() == b"one\n"
    file.write_frame(b"two\n")
    assert file.partial.read_bytes() == b"one\ntwo\n"
    file.close(keep=True)
    assert names(tmp_path) == ["a.txt"]


def test_each_piece_is_one_call(tmp_path, monkeypatch):
    calls = []
    write = os.pwrite
    monkeypatch.setattr(growing.os, "pwrite", lambda *a: calls.append(a[1]) or write(*a))
    grown(tmp_path / "a.txt", b"x" * 500_000, b"y").close(keep=True)
    assert calls == [b"x" * 500_000, b"y"]


def test_what_is_not_kept_stays_under_the_partial_name(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    grown(tmp_path / "a.txt", b"new").close(keep=False)
    assert names(tmp_path) == ["a.part.txt", "a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_partial_files_of_killed_runs_are_kept(tmp_path, capsys):
    (tmp_path / "a.killed-1.txt").write_text("older")
    (tmp_path / "a.part.txt").write_text("killed")
    grown(tmp_path / "a.txt", b"new").close(keep=True)
    assert names(tmp_path) == ["a.killed-1.txt", "a.killed-2.txt", "a.txt"]
    assert (tmp_path / "a.killed-2.txt").read_text() == "killed"
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("warning: ") and "a.killed-2.txt" in said[0]


def test_nothing_is_said_about_an_empty_partial_file(tmp_path, capsys):
    (tmp_path / "a.part.txt").touch()
    grown(tmp_path / "a.txt", b"new").close(keep=True)
    assert names(tmp_path) == ["a.txt"] and capsys.readouterr().err == ""


def test_two_runs_do_not_write_one_file(tmp_path):
    first = grown(tmp_path / "a.txt", b"one")
    with pytest.raises(UserError, match=r"another run is writing .*a\.txt: wait") as caught:
        GrowingFile(tmp_path / "a.txt").open()
    assert "\n" not in str(caught.value)
    code = (
        "import sys, pathlib, runtime.sinks.growing as g\n"
        "try: g.GrowingFile(pathlib.Path(sys.argv[1])).open()\n"
        "except Exception as error: print(type(error).__name__)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.txt")]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "UserError\n"
    first.write_frame(b"two")
    first.close(keep=True)
    assert (tmp_path / "a.txt").read_bytes() == b"onetwo" and names(tmp_path) == ["a.txt"]
    grown(tmp_path / "a.txt", b"next").close(keep=True)
    assert (tmp_path / "a.txt").read_bytes() == b"next"


def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch):
    def no_lock(*_):
        raise OSError(growing.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(growing.fcntl, "flock", no_lock)
    grown(tmp_path / "a.txt", b"one").close(keep=True)
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("room", [4, 6, 7])
def test_a_full_disk_leaves_whole_pieces(tmp_path, monkeypatch, room):
    file = grown(tmp_path / "a.txt", b"one\n")
    monkeypatch.setattr(growing.os, "pwrite", FillingDisk(os.pwrite, room - 4))
    message = (
        r"cannot write .*a\.txt \(No space left.*, the frames before it \(1\) are kept: free space"
    )
    with pytest.raises(UserError, match=message):
        file.write_frame(b"two\n")
    assert file.partial.read_bytes() == b"one\n"
    file.close(keep=True)
    assert (tmp_path / "a.txt").read_bytes() == b"one\n"


def test_a_disk_that_takes_pieces_in_parts_gets_all(tmp_path, monkeypatch):
    write = os.pwrite
    monkeypatch.setattr(growing.os, "pwrite", lambda h, content, at: write(h, content[:3], at))
    grown(tmp_path / "a.txt", b"0123456789", b"abcdef").close(keep=True)
    assert (tmp_path / "a.txt").read_bytes() == b"0123456789abcdef"


def test_an_error_of_the_disk_at_the_end_keeps_the_partial_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    file = grown(tmp_path / "a.txt", b"one")
    monkeypatch.setattr(growing.os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        file.close(keep=True)
    assert names(tmp_path) == ["a.part.txt"]
