"""A disk that is soon full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAGE = 4096


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[tuple[str, str]]:
    """Make a folder that holds little: a disk in memory, or a limit where mounting is not allowed.

    Args:
        folder: Is made.
        size: In bytes; rounded up to pages.

    Yields:
        What kind of disk it is, and Python that the process which writes there runs before.
    """
    folder.mkdir()
    size = -(-size // PAGE) * PAGE
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        # Python ignores the signal, so that writing fails as on a full disk.
        limit = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"
        yield f"files limited to {size >> 10} KiB each", limit
        return
    try:
        yield f"a disk of {size >> 10} KiB", ""
    finally:
        subprocess.run(["umount", str(folder)], capture_output=True, check=True)
