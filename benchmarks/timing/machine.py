"""What the machine does while it measures: clocks, load, power mode."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks.timing.nvidia import Ask, ask, gpu_clock_mhz

ROOT = Path("/")
CLOCK_CHANGE = 0.1
# The GPU of a Jetson as devfreq names it, by address and generation.
JETSON_GPU = re.compile(r"\.(gpu|gp10b|gv11b|ga10b)$")


def clocks(root: Path = ROOT, ask: Ask = ask) -> dict[str, float]:
    """Read the clocks of the moment.

    Args:
        root: Where ``sys`` and ``proc`` lie.
        ask: Runs a command and returns what it prints.

    Returns:
        ``cpu_mhz`` of the fastest core, since the others may rest, and ``gpu_mhz``; what cannot be
        found out is left away.
    """
    cores = [read_number(file) for file in cpufreq(root, "scaling_cur_freq")]
    found = [kilohertz / 1e3 for kilohertz in cores if kilohertz]
    if not found:
        lines = re.findall(r"^cpu MHz\s*:\s*([\d.]+)", read_text(root / "proc/cpuinfo"), re.M)
        found = [float(line) for line in lines]
    gpu = next(
        (
            read_number(folder / "cur_freq")
            for folder in sorted((root / "sys/class/devfreq").glob("*"))
            if JETSON_GPU.search(folder.name)
        ),
        None,
    )
    gpu_mhz = gpu / 1e6 if gpu else gpu_clock_mhz(ask)
    told = {"cpu_mhz": max(found, default=None), "gpu_mhz": gpu_mhz}
    return {name: value for name, value in told.items() if value is not None}


def clock_warnings(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """Return a line for each clock that changed by more than a tenth.

    Examples:
        >>> clock_warnings({"cpu_mhz": 2000.0}, {"cpu_mhz": 1500.0})
        ['cpu_mhz went from 2000 to 1500 while measuring: compare times within this run only']
    """
    return [
        f"{name} went from {old:.0f} to {after[name]:.0f} while measuring: "
        "compare times within this run only"
        for name, old in before.items()
        if name in after and abs(after[name] - old) > CLOCK_CHANGE * old
    ]


def load_warnings(surroundings: dict[str, Any]) -> list[str]:
    """Return a line if the machine was busy before the measurement began.

    Args:
        surroundings: What ``benchmarks.timing.environment.environment`` told.

    Examples:
        >>> load_warnings({"load_average": [0.2, 0.1, 0.1], "cores": 2})
        []
    """
    load, cores = surroundings.get("load_average"), surroundings.get("cores")
    if not load or not cores or load[0] <= cores / 2:
        return []
    return [
        f"the load average was {load[0]:.1f} on {cores} cores before measuring: "
        "compare times within this run only"
    ]


def machine_facts(root: Path = ROOT, ask: Ask = ask) -> dict[str, str]:
    """Return what limits the machine's speed, and its system where it is a Jetson.

    Args:
        root: Where ``sys``, ``etc`` and ``usr`` lie.
        ask: Runs a command and returns what it prints.

    Returns:
        ``governor`` of the CPU, ``power_mode`` of nvpmodel, ``l4t`` (release of Jetson Linux) and
        ``cuda`` (installed toolkit); what there is not is left away.
    """
    governors = {read_text(file).strip() for file in cpufreq(root, "scaling_governor")} - {""}
    mode = re.search(r"Power Mode:\s*(\S+)", ask(["nvpmodel", "-q"]))
    # "# R35 (release), REVISION: 4.1, GCID: ..."
    release = re.search(
        r"R(\d+) \(release\), REVISION: ([\d.]+)", read_text(root / "etc/nv_tegra_release")
    )
    toolkit = re.search(
        r'"cuda"\s*:\s*{[^}]*"version"\s*:\s*"([^"]+)"',
        read_text(root / "usr/local/cuda/version.json"),
    )
    found = {
        "governor": ", ".join(sorted(governors)),
        "power_mode": mode[1] if mode else "",
        "l4t": f"{release[1]}.{release[2]}" if release else "",
        "cuda": toolkit[1] if toolkit else "",
    }
    return {name: value for name, value in found.items() if value}


def cpufreq(root: Path, name: str) -> list[Path]:
    """Return a file of each core's frequency scaling."""
    return sorted((root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/cpufreq/{name}"))


def read_text(file: Path) -> str:
    """Return what a file of the system holds, nothing where it is missing or locked."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def read_number(file: Path) -> float | None:
    """Return the number a file of the system holds, None where there is none."""
    try:
        return float(read_text(file))
    except ValueError:
        return None
