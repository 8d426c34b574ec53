"""A file that is whole at every moment, also when the process is killed."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from runtime.console import warn
from runtime.errors import UserError

# What file systems answer that know no locks; without one, two runs are not told apart.
NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}


class GrowingFile:
    """Grows under a partial name in the same folder and takes its final name at the end.

    ``tracks.txt`` grows as ``tracks.part.txt``. Every piece is handed to the operating system in
    one call, so a killed process leaves all pieces up to its last one. A partial file that an
    earlier run left is kept as ``tracks.killed-1.txt``, or the next free number. A lock on the
    partial file, which ends with the process however it ends, keeps two runs apart.

    Args:
        path: The final name.

    Attributes:
        path: The final name.
        partial: The name while it grows.
        size: Bytes of all whole pieces.
        frames: Frames written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(f"{path.stem}.part{path.suffix}")
        self.size = 0
        self.frames = 0
        self._handle = -1

    def open(self) -> None:
        """Create and lock the partial file.

        Raises:
            UserError: It cannot be written, or another process is writing it.
        """
        try:
            while not self._claim():
                pass
        except OSError as error:
            raise self._cannot_write(error) from error

    def write_header(self, content: bytes) -> None:
        """Append what is not yet a frame; raises as ``write_frame`` does."""
        self._append(content)

    def write_frame(self, content: bytes) -> None:
        """Append the content of one frame, which may be empty.

        Raises:
            UserError: The disk is full, or writing failed otherwise; the file then ends with the
                last whole frame.
        """
        self._append(content)
        self.frames += 1

    def patch(self, position: int, content: bytes) -> None:
        """Replace bytes that were written.

        Raises:
            UserError: Writing failed.
        """
        try:
            os.pwrite(self._handle, content, position)
        except OSError as error:
            raise self._cannot_write(error) from error

    def close(self, keep: bool) -> None:
        """Let the file go.

        Args:
            keep: Whether it takes its final name. Otherwise it stays under the partial one, or is
                removed when it holds no frame.

        Raises:
            UserError: The content does not reach the disk; it stays under the partial name.
        """
        if self._handle < 0:
            return
        try:
            # Ctrl-C may have come between a write and its being noted.
            os.ftruncate(self._handle, self.size)
            if keep:
                # The data reaches the disk before the name does, or a power cut could leave an
                # empty file.
                os.fsync(self._handle)
                self.partial.replace(self.path)
            elif not self.frames:
                self.partial.unlink(missing_ok=True)
        except OSError as error:
            raise self._cannot_write(error) from error
        finally:
            os.close(self._handle)
            self._handle = -1

    def _append(self, content: bytes) -> None:
        end = self.size
        try:
            while content:
                # Only a disk that is filling up or a signal takes less than the whole.
                written = os.pwrite(self._handle, content, end)
                end, content = end + written, content[written:]
        except OSError as error:
            os.ftruncate(self._handle, self.size)
            raise self._cannot_write(error) from error
        self.size = end

    def _claim(self) -> bool:
        """Try to get a new, locked partial file; False means that things changed meanwhile."""
        handle = os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock(handle, self.path)
            status = os.fstat(handle)
            try:
                same = os.path.samestat(status, self.partial.stat())
            except FileNotFoundError:
                same = False
            if same and not status.st_size:
                self._handle, handle = handle, -1
                return True
            if same:
                kept = keep_aside(self.partial, self.path, "killed")
                warn(f"an earlier run was killed while it wrote {self.path}: kept as {kept}")
        finally:
            if handle >= 0:
                os.close(handle)
        return False

    def _cannot_write(self, error: OSError) -> UserError:
        kept = f", the frames before it ({self.frames}) are kept" if self.frames else ""
        return UserError(
            f"cannot write {self.path} ({error.strerror or error}){kept}: free space or choose "
            "another place"
        )


def lock(handle: int, path: Path) -> None:
    """Lock an opened file or folder for this process, as long as it is open.

    Args:
        handle: File descriptor.
        path: What is written, for the message.

    Raises:
        UserError: Another process holds the lock.
        OSError: It cannot be locked for another reason.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise UserError(
                f"another run is writing {path}: wait for its end or choose another output "
                "directory"
            ) from error
        if error.errno not in NO_LOCKS:
            raise


def keep_aside(old: Path, final: Path, what: str) -> Path:
    """Rename ``old`` to the first free name of the form ``STEM.WHAT-NUMBER.SUFFIX``.

    Args:
        old: A file or folder that must not be overwritten.
        final: Whose stem and suffix it gets.
        what: Why it is kept, in a word.

    Returns:
        Its new name.
    """
    number = 1
    while (kept := final.with_name(f"{final.stem}.{what}-{number}{final.suffix}")).exists():
        number += 1
    old.rename(kept)
    return kept
