"""Clocks, power and names of a machine, from files and programs as real ones have them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from benchmarks.contenders import ExportedModel
from benchmarks.timing.machine import clock_warnings, clocks, load_warnings, machine_facts
from benchmarks.timing.nvidia import Nvml, ask, gpu_clock_mhz, gpu_facts
from benchmarks.timing.power import EnergyLog, Meter, find_meters, is_measured, measure_energy
from tests.stub_model import write_stub_model


def nothing(command: list[str]) -> str:
    return ""


def write(root: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


@pytest.fixture
def jetson(tmp_path: Path) -> Path:
    """The files of an Orin Nano at 15 W."""
    sensor = "sys/class/hwmon/hwmon1"
    write(
        tmp_path,
        {
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": 1510400,
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": 729600,
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil",
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "schedutil",
            "sys/class/devfreq/13e00000.host1x/cur_freq": 115200000,
            "sys/class/devfreq/17000000.gpu/cur_freq": 624750000,
            "sys/class/hwmon/hwmon0/name": "cpu_thermal",
            f"{sensor}/name": "ina3221",
            **{
                f"{sensor}/in{number}_label": name
                for number, name in enumerate(
                    ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC", "", "", "", "sum of shunt voltages"), 1
                )
                if name
            },
            **{f"{sensor}/in{number}_input": 5000 for number in (1, 2, 3, 7)},
            f"{sensor}/curr1_input": 1200,
            f"{sensor}/curr2_input": 400,
            f"{sensor}/curr3_input": 300,
            "etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 33958178",
            "usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "11.4.19"}}',
        },
    )
    return tmp_path


def jetson_says(command: list[str]) -> str:
    assert command == ["nvpmodel", "-q"]
    return "NV Fan Mode:quiet\nNV Power Mode: MODE_15W\n0\n"


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert clocks(tmp_path, nothing) == {}
    assert machine_facts(tmp_path, nothing) == {}
    assert not is_measured(tmp_path)


def test_a_program_that_is_missing_or_fails_says_nothing() -> None:
    assert ask(["a-program-that-nobody-has"]) == ""
    assert ask([sys.executable, "-c", "print('half'); exit(3)"]) == ""
    assert ask([sys.executable, "-c", "print('whole')"]) == "whole\n"


def test_a_jetson(jetson: Path) -> None:
    assert clocks(jetson, nothing) == {"cpu_mhz": 1510.4, "gpu_mhz": 624.75}
    assert machine_facts(jetson, jetson_says) == {
        "governor": "schedutil",
        "power_mode": "MODE_15W",
        "l4t": "35.4.1",
        "cuda": "11.4.19",
    }


def test_the_clock_of_cpuinfo_where_nothing_scales(tmp_path: Path) -> None:
    lines = "processor\t: 0\ncpu MHz\t\t: 2599.998\ncpu MHz\t\t: 2600.5"
    write(tmp_path, {"proc/cpuinfo": lines})
    assert clocks(tmp_path, nothing) == {"cpu_mhz": 2600.5}


def test_warnings_begin_beyond_a_tenth_of_the_clock_and_half_of_the_cores() -> None:
    assert clock_warnings({"cpu_mhz": 1000}, {"cpu_mhz": 900}) == []
    assert len(clock_warnings({"cpu_mhz": 1000, "gpu_mhz": 500}, {"cpu_mhz": 899})) == 1
    assert len(clock_warnings({"cpu_mhz": 1000}, {"cpu_mhz": 1200})) == 1
    assert load_warnings({"load_average": [4.0, 0, 0], "cores": 8}) == []
    assert "4.1 on 8 cores" in load_warnings({"load_average": [4.1, 0, 0], "cores": 8})[0]
    assert load_warnings({"cores": 8}) == []


def meters_of(root: Path) -> list[Meter]:
    with Nvml() as nvml:
        return find_meters(root, nvml)


def test_the_whole_board_is_measured_once(jetson: Path) -> None:
    (total,) = meters_of(jetson)
    assert is_measured(jetson)
    assert (total.name, total.read(), total.wraps_at) == ("VDD_IN", 6.0, None)


def test_rails_without_a_total_count_together(jetson: Path) -> None:
    # As an AGX Orin: no rail measures what comes in.
    (jetson / "sys/class/hwmon/hwmon1/in1_label").write_text("VDD_GPU_SOC\n")
    # A kernel with the power ready made.
    write(jetson, {"sys/class/hwmon/hwmon1/power2_input": 2500000})
    meters = meters_of(jetson)
    assert [meter.name for meter in meters] == ["VDD_GPU_SOC", "VDD_CPU_GPU_CV", "VDD_SOC"]
    assert [meter.read() for meter in meters] == [6.0, 2.5, 1.5]


@pytest.fixture
def desktop(tmp_path: Path) -> Path:
    zone = "sys/class/powercap/intel-rapl"
    write(
        tmp_path,
        {
            f"{zone}:0/name": "package-0",
            f"{zone}:0/energy_uj": 262143000000,
            f"{zone}:0/max_energy_range_uj": 262143328850,
            f"{zone}:0:0/name": "core",
            f"{zone}:0:0/energy_uj": 5,
            f"{zone}:1/name": "psys",
            f"{zone}:1/energy_uj": 7,
            # Only root may read this one.
            f"{zone}:2/name": "package-1",
            f"{zone}:2/max_energy_range_uj": 262143328850,
        },
    )
    return tmp_path


def test_a_counter_that_wraps(desktop: Path) -> None:
    (package,) = meters_of(desktop)
    assert package.name == "package-0"
    log = EnergyLog([package])
    log.sample(0.0)
    write(desktop, {"sys/class/powercap/intel-rapl:0/energy_uj": 1000000})
    log.sample(0.1)
    assert log.joules["package-0"] == pytest.approx(0.32885 + 1.0)
    write(desktop, {"sys/class/powercap/intel-rapl:0/energy_uj": 1500000})
    log.sample(0.2)
    assert log.joules["package-0"] == pytest.approx(0.32885 + 1.5)


def test_power_is_integrated_and_a_silent_meter_counts_no_longer(jetson: Path) -> None:
    meters = meters_of(jetson)
    log = EnergyLog(meters)
    current = jetson / "sys/class/hwmon/hwmon1/curr1_input"
    log.sample(10.0)
    current.write_text("2400\n")
    log.sample(10.5)
    # From 6 to 12 W in half a second.
    assert log.joules == {"VDD_IN": pytest.approx(4.5)}
    current.unlink()
    log.sample(11.0)
    assert log.joules == {}
    current.write_text("2400\n")
    log.sample(11.5)
    assert log.joules == {}


def test_energy_of_a_frame(jetson: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.timing.power.SETTLE_SECONDS", 0)
    monkeypatch.setattr("benchmarks.timing.power.RUN_SECONDS", 0.05)
    file = tmp_path / "m.onnx"
    write_stub_model(file)
    frames = [np.zeros((48, 64, 3), np.uint8)]
    with ExportedModel("m", "", file).open(threads=1) as contender:
        found = measure_energy(contender, frames, 25, jetson)
        assert found["power_w"] == pytest.approx(6.0)
        assert found["power_by_meter_w"] == {"VDD_IN": found["power_w"]}
        # At 6 W, 50 ms are 300 mJ in all.
        assert 0 < found["energy_mj"] <= 1000 * 6 * 0.5
        assert measure_energy(contender, frames, 25, tmp_path / "elsewhere") == {}


def test_a_gpu_by_nvidia_smi() -> None:
    def says(command: list[str]) -> str:
        return "NVIDIA GeForce RTX 3060, 535.129.03, 1807\n" * 2

    assert gpu_facts(says) == {"gpu": "NVIDIA GeForce RTX 3060", "gpu_driver": "535.129.03"}
    assert gpu_clock_mhz(says) == 1807
    assert gpu_clock_mhz(lambda _: "Tesla K80, 470.1, [N/A]\n") is None
    assert gpu_facts(lambda _: "No devices were found\n") == {}


class FakeNvml(ModuleType):
    """The functions of NVML that are used, for two GPUs; the second has no energy counter."""

    NVML_CLOCK_GRAPHICS = 0

    class NVMLError(Exception):
        """What every function may raise."""

    def nvmlInit(self) -> None:
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self.is_open = False

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index > 1:
            raise self.NVMLError
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes) -> int:
        return {b"GPU-a": 0, b"GPU-b": 1}[uuid]

    def nvmlDeviceGetName(self, handle: int) -> bytes | str:
        return (b"NVIDIA A100", "NVIDIA T4")[handle]

    def nvmlSystemGetDriverVersion(self) -> str:
        return "550.54.15"

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return 12040

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:
        return (1410, 585)[handle]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        if handle == 1:
            raise self.NVMLError
        return 123456789

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 27500


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml("pynvml")
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake


def test_a_gpu_by_nvml(nvml: FakeNvml, tmp_path: Path) -> None:
    assert gpu_facts(nothing) == {
        "gpu": "NVIDIA A100",
        "gpu_driver": "550.54.15",
        "cuda_driver": "12.4",
    }
    assert clocks(tmp_path, nothing) == {"gpu_mhz": 1410}
    with Nvml() as opened:
        (meter,) = find_meters(tmp_path, opened)
        assert (meter.name, meter.read(), meter.wraps_at) == ("gpu", 123456.789, 0)
    assert not nvml.is_open


@pytest.mark.parametrize("visible", ["1", "GPU-b,GPU-a"])
def test_the_gpu_that_cuda_takes_is_asked(
    nvml: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_facts(nothing)["gpu"] == "NVIDIA T4"
    with Nvml() as opened:
        (meter,) = find_meters(tmp_path, opened)
        assert (meter.read(), meter.wraps_at) == (27.5, None)


@pytest.mark.parametrize("hidden", ["", "7"])
def test_a_hidden_gpu_is_not_asked(
    nvml: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert gpu_facts(nothing) == {}
    assert meters_of(tmp_path) == [] and not nvml.is_open
