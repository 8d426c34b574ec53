"""What an NVIDIA GPU tells of itself: NVML where ``nvidia-ml-py`` is installed, else nvidia-smi."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from types import ModuleType
from typing import Any

TIMEOUT_SECONDS = 10
QUERY = "name,driver_version,clocks.gr"

Ask = Callable[[list[str]], str]


def ask(command: list[str]) -> str:
    """Return what a program of the system prints, nothing where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def gpu_facts(ask: Ask = ask) -> dict[str, Any]:
    """Return ``gpu``, ``gpu_driver`` and ``cuda_driver``, the CUDA version that the driver has.

    Args:
        ask: Runs a command and returns what it prints.

    Returns:
        Nothing where there is no GPU.
    """
    with Nvml() as nvml:
        if nvml.handle is not None:
            version = nvml.get("nvmlSystemGetCudaDriverVersion")
            found = {
                "gpu": _text(nvml.get("nvmlDeviceGetName", nvml.handle)),
                "gpu_driver": _text(nvml.get("nvmlSystemGetDriverVersion")),
                "cuda_driver": version and f"{version // 1000}.{version % 1000 // 10}",
            }
            return {name: value for name, value in found.items() if value}
    name, driver, _ = _query(ask)
    return {"gpu": name, "gpu_driver": driver} if name else {}


def gpu_clock_mhz(ask: Ask = ask) -> float | None:
    """Return the clock of the GPU's cores in MHz, None where there is none or it does not tell."""
    with Nvml() as nvml:
        if nvml.handle is not None:
            kind = nvml.library.NVML_CLOCK_GRAPHICS
            clock = nvml.get("nvmlDeviceGetClockInfo", nvml.handle, kind)
            return None if clock is None else float(clock)
    told = _query(ask)[2]
    return float(told) if told.replace(".", "", 1).isdigit() else None


class Nvml:
    """NVML, open for as long as the context lasts.

    Attributes:
        handle: The GPU that CUDA takes first; None without NVML or a GPU.
    """

    handle: Any = None
    _is_open = False

    def get(self, function: str, *arguments: Any) -> Any:
        """Return what a function of NVML tells, None where this GPU does not support it."""
        try:
            return getattr(self.library, function)(*arguments)
        except self.library.NVMLError:
            return None

    def __enter__(self) -> Nvml:
        try:
            # An optional package: nvidia-ml-py.
            import pynvml
        except ImportError:
            return self
        self.library: ModuleType = pynvml
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return self
        self._is_open = True
        try:
            self.handle = _first_visible(pynvml)
        except pynvml.NVMLError:
            self.handle = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_open:
            self.library.nvmlShutdown()


def _first_visible(library: ModuleType) -> Any:
    """Return the handle of the first GPU that CUDA may use; NVML itself sees all."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if first.isdigit():
        return library.nvmlDeviceGetHandleByIndex(int(first))
    return library.nvmlDeviceGetHandleByUUID(first.encode()) if first else None


def _query(ask: Ask) -> tuple[str, str, str]:
    """Return name, driver and clock of the first GPU as nvidia-smi prints them, else nothing."""
    lines = ask(["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"])
    cells = [cell.strip() for cell in lines.partition("\n")[0].split(",")]
    return (cells[0], cells[1], cells[2]) if len(cells) == 3 else ("", "", "")


def _text(value: str | bytes | None) -> str | None:
    # Bytes in releases of nvidia-ml-py before 12.
    return value.decode() if isinstance(value, bytes) else value
