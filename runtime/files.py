"""Writing files so that a final name always stands for a whole file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime.errors import UserError


def output_directory(path: str | os.PathLike[str]) -> Path:
    """Create ``path`` and prove that a file can be written there.

    Args:
        path: Directory to create; existing directories are kept as they are.

    Returns:
        The directory.

    Raises:
        UserError: It is a file, or it cannot be created or written to.
    """
    directory = Path(path)
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file: give a directory for the output")
    probe = directory / f".write-probe-{os.getpid()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot write to {directory} ({reason}): choose another output directory"
        ) from error
    return directory


@contextmanager
def atomic_path(final: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary sibling of ``final`` that takes its name only on success.

    The suffix is kept, since OpenCV and ONNX choose the format by it. On an exception the temporary
    file is removed and whatever stood at ``final`` before is untouched.

    Args:
        final: The path the file shall have in the end.

    Yields:
        The path to write to.

    Raises:
        UserError: The directory cannot be written to, or the disk is full.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     with atomic_path(Path(directory) / "a.txt") as temporary:
        ...         _ = temporary.write_text("whole")
        ...     (Path(directory) / "a.txt").read_text()
        'whole'
    """
    final = Path(final)
    temporary = final.with_name(f".{final.stem}.{os.getpid()}.part{final.suffix}")
    try:
        yield temporary
        # The data reaches the disk before the name does, or a power cut could leave an empty file.
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(final)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot write {final} ({reason}): free space or choose another place"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all.

    Args:
        path: The file.
        content: Plain values.

    Raises:
        UserError: The file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def existing_file(path: str | os.PathLike[str], what: str) -> Path:
    """Return ``path`` if it is a file that can be opened for reading.

    Args:
        path: The file.
        what: What it should be, for the message ("model", "ground truth").

    Raises:
        UserError: It does not exist, is a directory, or is not readable.
    """
    file = Path(path)
    if not file.exists():
        raise UserError(f"{what} {file} does not exist: check the path")
    if file.is_dir():
        raise UserError(f"{what} {file} is a directory: give the file itself")
    if not os.access(file, os.R_OK):
        raise UserError(f"{what} {file} cannot be read: check its permissions")
    return file


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
