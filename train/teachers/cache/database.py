"""The cache's SQLite file: opening it, setting a damaged one aside, keeping it within its bound."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.console import warn

# SQLite keeps it in the file's header, to tell whose file it is.
APPLICATION_ID = int.from_bytes(b"kdmt", "big")
# Outputs stand in a table of their own: noting a use then rewrites 80 bytes, not a whole record.
SCHEMA = (
    "CREATE TABLE records (id INTEGER PRIMARY KEY, teacher BLOB NOT NULL, key BLOB NOT NULL, "
    "used INTEGER NOT NULL, size INTEGER NOT NULL, UNIQUE (teacher, key))",
    "CREATE TABLE outputs (id INTEGER PRIMARY KEY, value BLOB NOT NULL)",
)
SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",  # safe in WAL mode; a power cut may cost the newest records
    "PRAGMA wal_autocheckpoint = 256",  # pages: the log stays near 1 MB
    "PRAGMA journal_size_limit = 1048576",
)
# The second comes up where SQLite quotes damaged text.
FAULTS = (sqlite3.DatabaseError, UnicodeDecodeError)
BUSY_S = 30.0
PAGE_BYTES = 4096
AT_ONCE = 4096  # records that one transaction drops
# Room is made for more than the records at hand: finding the oldest sorts the whole table.
SLACK = 0.05


@dataclass(frozen=True)
class Database:
    """An open file.

    Attributes:
        connection: To it; every statement is a transaction of its own unless in ``transaction``.
        identity: Device and inode, to notice that another file has taken its place.
    """

    connection: sqlite3.Connection
    identity: tuple[int, int]


@dataclass(frozen=True)
class Damage:
    """What is wrong with a file that was open.

    Attributes:
        identity: Of the file.
        reason: What SQLite said.
    """

    identity: tuple[int, int]
    reason: str


def open_database(path: Path, damage: Damage | None = None) -> Database:
    """Open the file; a damaged one, or one of another kind, is set aside and a new one begun.

    Args:
        path: The file.
        damage: Found after it was opened the last time. Nothing is set aside where another process
            has found it before and has begun a new file.

    Raises:
        sqlite3.OperationalError: It cannot be opened or written to.
        OSError: It cannot be renamed.
    """
    with _alone(path.parent):
        if damage is not None and path.exists() and _identity(path) == damage.identity:
            _set_aside(path, damage.reason)
        try:
            connection = _connect(path)
        except FAULTS as error:
            if not is_damage(error, path):
                raise
            _set_aside(path, str(error))
            connection = _connect(path)
        return Database(connection, _identity(path))


def is_damage(error: Exception, path: Path) -> bool:
    """Tell a damaged file, or one of another kind, from a disk or a lock that stands in the way.

    Args:
        error: One of ``FAULTS``.
        path: The file.
    """
    if not isinstance(error, sqlite3.OperationalError):
        return True
    # So SQLite calls headers with impossible numbers.
    return "unsupported file format" in str(error) or (
        "readonly database" in str(error) and os.access(path, os.W_OK)
    )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do several statements or, on an exception, none of them."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def make_room(
    connection: sqlite3.Connection, limit: int, wanted: int, *, teacher: bytes, run: int
) -> bool:
    """Drop records until ``wanted`` bytes fit under ``limit``; return whether they do.

    Other teachers' records go first, then those of ``teacher``, the ones used longest ago first.
    Records last used at the time ``run`` stay.
    """
    goal = _bytes_used(connection) + wanted - limit
    slack = int(SLACK * limit) if goal > 0 else 0
    while goal + slack > 0:
        with transaction(connection):
            oldest = connection.execute(
                "SELECT id, CAST(size AS INTEGER) FROM records WHERE used != ? "
                "ORDER BY teacher = ?, used, id LIMIT ?",
                (run, teacher, AT_ONCE),
            ).fetchall()
            ends = np.cumsum([size for _, size in oldest])
            dropped = oldest[: int(np.searchsorted(ends, goal + slack)) + 1]
            for table in ("records", "outputs"):
                rows = [(record,) for record, _ in dropped]
                connection.executemany(f"DELETE FROM {table} WHERE id = ?", rows)
        if not dropped:
            break
        # Again, as records that share pages with others free less than their size.
        goal = _bytes_used(connection) + wanted - limit
    too_long = _value(connection, "page_count") * PAGE_BYTES > limit
    if too_long and _value(connection, "freelist_count"):
        # The bound is a lower one than before. To give pages back one by one, as SQLite also can,
        # takes a time that grows with the square of their number.
        connection.execute("VACUUM")
    return _bytes_used(connection) + wanted <= limit


def _connect(path: Path) -> sqlite3.Connection:
    """Open the database, and create the tables in an empty one.

    Raises:
        sqlite3.DatabaseError: It cannot be opened, is damaged, or not a cache of this version.
        UnicodeDecodeError: It is damaged.
    """
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    connection.text_factory = bytes  # damaged text must not raise
    try:
        tables = connection.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL").fetchall()
        owner = _value(connection, "application_id")
        if not tables and not owner:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            with transaction(connection):
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                for statement in SCHEMA:
                    connection.execute(statement)
        elif owner != APPLICATION_ID or tables != [(text.encode(),) for text in SCHEMA]:
            raise sqlite3.DatabaseError("it is not a cache of this version")
        for statement in SETTINGS:
            connection.execute(statement).fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _set_aside(path: Path, reason: str) -> None:
    """Rename a database, with what SQLite has put beside it; nothing is deleted."""
    number = 1
    while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    warn(
        f"the teacher's cache {path} is of no use ({reason}): it is now {aside.name}, which may "
        "be deleted, and a new one is begun"
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder; the system lifts it whatever becomes of the process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _value(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _bytes_used(connection: sqlite3.Connection) -> int:
    pages = _value(connection, "page_count") - _value(connection, "freelist_count")
    return pages * PAGE_BYTES
