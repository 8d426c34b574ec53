"""Power and energy while something runs: a Jetson's rails, Intel's RAPL, NVML."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from benchmarks.contenders import Contender
from benchmarks.timing.machine import ROOT, read_number, read_text
from benchmarks.timing.nvidia import Nvml
from runtime.sources.base import Frame

# RAPL renews its counter each millisecond, the INA3221 of a Jetson its mean every few.
SAMPLE_SECONDS = 0.02
SETTLE_SECONDS = 0.5
RUN_SECONDS = 3.0
# What comes in from the supply; the other rails of such a board are parts of it.
TOTAL_RAILS = ("VDD_IN", "POM_5V_IN")


class Meter(Protocol):
    """Something that measures power.

    Attributes:
        name: What it measures.
        wraps_at: Joules at which a counter begins anew; None for one that reads watts.
    """

    name: str
    wraps_at: float | None

    def read(self) -> float | None:
        """Return joules since some moment or the watts of now; None if it does not tell."""


class Rapl:
    """Energy counter of one processor package (Linux powercap).

    Args:
        folder: ``intel-rapl:N`` in ``/sys/class/powercap``.
    """

    def __init__(self, folder: Path) -> None:
        self.name = read_text(folder / "name").strip()
        self.wraps_at: float | None = (read_number(folder / "max_energy_range_uj") or 0) / 1e6
        self._file = folder / "energy_uj"

    def read(self) -> float | None:
        """Return the counter in joules; on most systems only root may read it."""
        value = read_number(self._file)
        return None if value is None else value / 1e6


class Rail:
    """One supply rail of a Jetson, measured by an INA3221 (hwmon).

    Args:
        folder: The sensor's folder in ``/sys/class/hwmon``.
        number: Of the rail's channel.
    """

    wraps_at: float | None = None

    def __init__(self, folder: Path, number: str) -> None:
        self.name = read_text(folder / f"in{number}_label").strip()
        self._power = folder / f"power{number}_input"
        self._factors = (folder / f"in{number}_input", folder / f"curr{number}_input")

    def read(self) -> float | None:
        """Return watts; the files tell microwatts, or millivolts and milliamperes."""
        power = read_number(self._power)
        if power is not None:
            return power / 1e6
        voltage, current = (read_number(file) for file in self._factors)
        return None if voltage is None or current is None else voltage * current / 1e6


class NvmlMeter:
    """Power of an NVIDIA GPU: its energy counter, or its power where it has none.

    Args:
        nvml: Open, with a GPU.
    """

    name = "gpu"

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self._function = "nvmlDeviceGetTotalEnergyConsumption"
        # The counter does not wrap while the driver is loaded.
        self.wraps_at: float | None = 0.0
        if self.read() is None:
            self._function = "nvmlDeviceGetPowerUsage"
            self.wraps_at = None

    def read(self) -> float | None:
        """Return joules or watts; NVML counts in thousandths."""
        value = self._nvml.get(self._function, self._nvml.handle)
        return None if value is None else float(value) / 1e3


def find_meters(root: Path, nvml: Nvml) -> list[Meter]:
    """Return what measures this machine without counting anything twice.

    Args:
        root: Where ``sys`` lies.
        nvml: Open; asked where the board measures nothing itself.

    Returns:
        On a Jetson the rail of the whole board, or all its rails where there is none; elsewhere
        processor packages and GPU. Only meters that can be read.
    """
    rails = [
        Rail(folder, file.name.removeprefix("in").removesuffix("_label"))
        for folder in sorted((root / "sys/class/hwmon").glob("hwmon*"))
        if read_text(folder / "name").strip() == "ina3221"
        for file in sorted(folder.glob("in*_label"))
    ]
    # The chip has a channel for the sum of its shunt voltages, which is no power.
    rails = [rail for rail in rails if rail.read() is not None]
    if rails:
        total = [rail for rail in rails if rail.name in TOTAL_RAILS]
        return list(total[:1] or rails)
    packages = [
        Rapl(folder)
        for folder in sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
        if folder.name.count(":") == 1
    ]
    # The domain psys is the whole platform, packages and all.
    found: list[Meter] = [one for one in packages if one.name.startswith("package")]
    if nvml.handle is not None:
        found.append(NvmlMeter(nvml))
    return [meter for meter in found if meter.read() is not None]


def is_measured(root: Path = ROOT) -> bool:
    """Tell whether anything measures this machine's power."""
    with Nvml() as nvml:
        return bool(find_meters(root, nvml))


class EnergyLog:
    """Adds up energy while its context lasts, sampling in a thread of its own.

    Args:
        meters: Each readable.

    Attributes:
        joules: Of each meter by its name, complete when the context has ended; a meter that fell
            silent is not in it.
        seconds: How long the context lasted.
    """

    def __init__(self, meters: Sequence[Meter]) -> None:
        self.joules = {meter.name: 0.0 for meter in meters}
        self.seconds = 0.0
        self._meters = list(meters)
        self._last: dict[str, tuple[float, float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def sample(self, now: float) -> None:
        """Add what was used since the last sample.

        Args:
            now: Seconds of a clock that only goes forward.
        """
        for meter in self._meters:
            value = meter.read()
            if value is None or meter.name not in self.joules:
                self.joules.pop(meter.name, None)
                continue
            before, old = self._last.get(meter.name, (now, value))
            self._last[meter.name] = (now, value)
            if meter.wraps_at is None:
                self.joules[meter.name] += (value + old) / 2 * (now - before)
            else:
                used = value - old + (meter.wraps_at if value < old else 0)
                self.joules[meter.name] += max(0.0, used)

    def __enter__(self) -> EnergyLog:
        self._start = time.perf_counter()
        self.sample(self._start)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        end = time.perf_counter()
        self.sample(end)
        self.seconds = end - self._start

    def _run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.sample(time.perf_counter())


def measure_energy(
    contender: Contender, frames: Sequence[Frame], fps: float, root: Path = ROOT
) -> dict[str, Any]:
    """Measure power and energy while a contender tracks frames as fast as it can.

    Args:
        contender: Opened.
        frames: uint8 BGR ``[H, W, 3]``, round and round.
        fps: Frames per second of the sequence.
        root: Where ``sys`` lies.

    Returns:
        ``power_w`` and ``energy_mj`` per frame of all that is measured together, what the machine
        uses at rest included, and ``power_by_meter_w``; nothing where nothing is measured.
    """
    with ExitStack() as stack:
        meters = find_meters(root, stack.enter_context(Nvml()))
        if not meters:
            return {}
        contender.begin(fps)
        pictures = itertools.cycle(frames)
        _run_for(contender, pictures, SETTLE_SECONDS)
        with EnergyLog(meters) as log:
            count = _run_for(contender, pictures, RUN_SECONDS)
    if not log.joules:
        return {}
    total = sum(log.joules.values())
    return {
        "power_w": total / log.seconds,
        "energy_mj": 1000 * total / count,
        "power_by_meter_w": {name: used / log.seconds for name, used in log.joules.items()},
    }


def _run_for(contender: Contender, pictures: itertools.cycle[Frame], seconds: float) -> int:
    """Track frames for some time and return how many."""
    count = 0
    end = time.perf_counter() + seconds
    while count == 0 or time.perf_counter() < end:
        contender.step(next(pictures))
        count += 1
    return count
