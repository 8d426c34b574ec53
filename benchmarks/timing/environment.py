"""What a measurement was made on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.timing.machine import machine_facts
from benchmarks.timing.nvidia import gpu_facts
from runtime.version import __version__

# Of torch only the version that is installed: importing it takes seconds and hundreds of megabytes.
PACKAGES = (
    *("numpy", "opencv-python-headless", "onnxruntime", "onnxruntime-gpu"),
    *("tensorrt", "tensorrt-rtx-cu13", "torch"),
)


def environment(threads: int | None = None) -> dict[str, Any]:
    """Describe the machine and the software.

    Args:
        threads: Number of threads the engine was told to use; None where it chose itself.

    Returns:
        Plain values by name; entries that cannot be found out are left away.
    """
    found: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": _usable_cores(),
        "threads": threads,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_average": _load_average(),
        **machine_facts(),
        **gpu_facts(),
        "python": platform.python_version(),
        "kd-mot": __version__,
        **{name: _package_version(name) for name in PACKAGES},
        "git_commit": git_commit(),
    }
    return {key: value for key, value in found.items() if value is not None}


def cpu_name() -> str:
    """Return the processor's name as Linux tells it, else the architecture."""
    # ARM boards have no model name in cpuinfo; their device tree names the board.
    board = Path("/proc/device-tree/model")
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if board.is_file():
        return board.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    return platform.processor() or platform.machine()


def git_commit() -> str | None:
    """Return the commit of the checkout this package runs from, ``+`` behind it if changed."""
    root = Path(__file__).resolve().parents[2]
    # An installed package may lie inside some other project's checkout.
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _usable_cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _load_average() -> list[float] | None:
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except (OSError, AttributeError):
        return None


def _package_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
