"""A label-free teacher's outputs on disk: it looks at a picture once, not in every epoch and run.

One SQLite file in WAL mode holds the outputs of all teachers. A record is found by the teacher's
fingerprint and a hash of what the teacher looked at, so another model, another setting or another
picture is a miss and never a wrong answer. Several processes may use the file at once, on one
machine: WAL needs shared memory. A process killed at any moment leaves a sound file.

A cache may be lost but must not stand in the way. A folder that cannot be written to is refused at
once, as a wrong path is better known before the work begins than after it. What fails later, a full
disk for instance, costs one warning, and the run goes on without the cache.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy.typing as npt

from runtime.console import warn
from runtime.errors import UserError
from runtime.files import output_directory
from train.teachers.cache.database import (
    FAULTS,
    PAGE_BYTES,
    Damage,
    Database,
    is_damage,
    make_room,
    open_database,
    transaction,
)
from train.teachers.cache.packing import DIGEST_BYTES, Arrays, pack, unpack

FILE_NAME = "teacher-outputs.sqlite"
CHECKSUM_BYTES = 8
# A batch of records is written when it has this many, or is this old.
BATCH = 64
BATCH_S = 5.0
# Uses are noted in batches as well.
USES = 1024

T = TypeVar("T")


class TeacherCache:
    """The outputs of one teacher, in a file that it shares with others.

    When the file is full, other teachers' records make room first, then this one's, each in the
    order of their last use. Records written or found since the cache was opened stay: a pass over
    more pictures than fit would otherwise push out each record before it is used again. What does
    not fit is not kept.

    A record whose checksum is wrong counts as not found. A file that is damaged as a whole, or was
    written by something else, is renamed, and a new one begun. Use from one thread.

    Args:
        folder: Where the file stands; created where missing.
        fingerprint: Of the teacher: changes whenever its outputs may change.
        limit_mb: Bound on the file's size in units of 1024 * 1024 bytes. While a process uses it
            SQLite's log stands beside it, usually about 1 MB.

    Attributes:
        path: The file.

    Raises:
        UserError: The folder cannot be written to, or the file not be opened.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with TeacherCache(Path(folder), "yolox-1", limit_mb=8) as cache:
        ...         cache.keep(b"picture", (np.array([0.5], np.float32),))
        ...     with TeacherCache(Path(folder), "yolox-1", limit_mb=8) as cache:
        ...         cache.find(b"picture"), cache.find(b"another")
        ((array([0.5], dtype=float32),), None)
    """

    def __init__(self, folder: Path, fingerprint: str, limit_mb: float) -> None:
        self.path = output_directory(folder) / FILE_NAME
        self._teacher = blake2b(fingerprint.encode(), digest_size=DIGEST_BYTES).digest()
        self._limit = int(limit_mb * 1024 * 1024)
        self._run = time.time_ns()  # the time of use of all that this cache finds or keeps
        self._pending: dict[bytes, bytes] = {}
        self._uses: list[int] = []
        self._written = time.monotonic()
        self._full = False
        self._rebuilt = False
        self._database: Database | None = None
        try:
            self._database = open_database(self.path)
        except (*FAULTS, OSError) as error:
            raise UserError(
                f"the teacher's cache {self.path} cannot be opened ({error}): correct its "
                "permissions, or choose another folder"
            ) from error
        self._try(lambda connection: self._make_room(connection, 0))  # the bound may be a new one

    def find(self, key: bytes) -> Arrays | None:
        """Return the arrays kept under ``key``, not to be written to, or None."""
        value: object = self._pending.get(key)
        if value is None:
            row = self._try(
                lambda connection: connection.execute(
                    "SELECT records.id, used, value FROM records JOIN outputs USING (id) "
                    "WHERE teacher = ? AND key = ?",
                    (self._teacher, key),
                ).fetchone()
            )
            if row is None:
                return None
            record, used, value = row
            if used != self._run:
                self._uses.append(record)
            if len(self._uses) >= USES:
                self.flush()
        return self._checked(key, value)

    def keep(self, key: bytes, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Keep arrays of float32, float16 or int64 under ``key``; they are written in batches."""
        if self._database is None or self._full:
            return
        packed = pack(arrays)
        self._pending[key] = self._checksum(key, packed) + packed
        if len(self._pending) >= BATCH or time.monotonic() - self._written > BATCH_S:
            self.flush()

    def flush(self) -> None:
        """Write what is not written yet."""
        self._try(self._write)
        self._pending.clear()
        self._uses.clear()
        self._written = time.monotonic()

    def close(self) -> None:
        """Write what is not written yet and close the file; nothing is found or kept any more."""
        self.flush()
        self._disconnect()

    def __enter__(self) -> TeacherCache:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _checksum(self, key: bytes, packed: bytes | memoryview) -> bytes:
        # Teacher and key are part of it, so that a record in the place of another is noticed.
        digest = blake2b(packed, digest_size=CHECKSUM_BYTES, key=self._teacher)
        digest.update(key)
        return digest.digest()

    def _checked(self, key: bytes, value: object) -> Arrays | None:
        """Unpack a record; None for a damaged one."""
        if not isinstance(value, bytes):
            return None
        packed = memoryview(value)[CHECKSUM_BYTES:]
        return unpack(packed) if value[:CHECKSUM_BYTES] == self._checksum(key, packed) else None

    def _write(self, connection: sqlite3.Connection) -> None:
        if self._uses:
            with transaction(connection):
                uses = [(self._run, record) for record in self._uses]
                connection.executemany("UPDATE records SET used = ? WHERE id = ?", uses)
        if not self._pending:
            return
        # A record's last page is on average half empty; it is never more than empty.
        wanted = sum(len(value) + PAGE_BYTES for value in self._pending.values())
        if not self._make_room(connection, wanted):
            self._full = True
            warn(
                f"the teacher's cache {self.path} is full, at {self._limit / 2**20:g} MB: the rest "
                "is computed again in the next run, give it more with cache_mb"
            )
            return
        with transaction(connection):
            for key, value in self._pending.items():
                self._insert(connection, key, value)

    def _insert(self, connection: sqlite3.Connection, key: bytes, value: bytes) -> None:
        connection.execute(
            "DELETE FROM outputs WHERE id = (SELECT id FROM records WHERE teacher = ? AND key = ?)",
            (self._teacher, key),
        )
        record = connection.execute(
            "INSERT OR REPLACE INTO records (teacher, key, used, size) VALUES (?, ?, ?, ?)",
            (self._teacher, key, self._run, len(value)),
        ).lastrowid
        connection.execute("INSERT OR REPLACE INTO outputs VALUES (?, ?)", (record, value))

    def _make_room(self, connection: sqlite3.Connection, wanted: int) -> bool:
        return make_room(connection, self._limit, wanted, teacher=self._teacher, run=self._run)

    def _try(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Do something with the database; None where it cannot be done."""
        if self._database is None:
            return None
        try:
            return work(self._database.connection)
        except FAULTS as error:
            if is_damage(error, self.path):
                self._rebuild(error)
            else:  # locked, disk full, input or output error
                self._give_up(error)
        return self._try(work)

    def _rebuild(self, damage: Exception) -> None:
        """Begin a new file; where the new one is damaged as well, no other."""
        assert self._database is not None, "found damaged through a connection"
        if self._rebuilt:
            self._give_up(damage)
            return
        self._rebuilt = True
        identity = self._database.identity
        self._database.connection.close()
        try:
            self._database = open_database(self.path, Damage(identity, str(damage)))
        except (*FAULTS, OSError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        warn(f"the teacher's cache {self.path} fails ({error}): going on without it")
        self._disconnect()

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.connection.close()
        self._database = None
