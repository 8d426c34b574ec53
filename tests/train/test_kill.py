"""Runs that are killed for real, at any moment, and resumed, against one that is not."""

from __future__ import annotations

import csv
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from train.state import BEST_FILE, LOG_FILE, MODEL_FILE, STATE_FILE, TRACKING_FILE, VALIDATION_FILE

ROOT = Path(__file__).resolve().parents[2]
KILLED = -signal.SIGKILL


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as handle:
        return [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in csv.DictReader(handle)
        ]


def train_killed(config: Path, runs: dict[Path, list[int]]) -> list[list[int]]:
    """Train into each folder, killed at these moments; return how the processes ended."""
    command = [sys.executable, "-m", "tests.train.killing", str(config)]
    command += [f"{out}:{','.join(map(str, kills))}" for out, kills in runs.items()]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("model: ")]
    return [[int(end) for end in line.split()] for line in lines]


def assert_same_runs(first: Path, second: Path) -> None:
    for name in (MODEL_FILE, BEST_FILE):
        weights = load_file(first / name), load_file(second / name)
        assert weights[0].keys() == weights[1].keys()
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    for name in (LOG_FILE, VALIDATION_FILE, TRACKING_FILE):
        assert rows(first / name) == rows(second / name)
    assert not list(second.glob(".*"))


@pytest.fixture(scope="module")
def config(tiny_sequence: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of three steps, a checkpoint after every step, and all kinds of validation."""
    entries: dict[str, Any] = {
        "model": {"name": "nano", "embedding_dim": 8},
        "input_wh": [96, 64],
        "data": [{"kind": "mot", "path": str(tiny_sequence)}],
        "schedule": {
            "epochs": 2,
            "images_per_epoch": 12,
            "batch": 2,
            "accumulate": 2,
            "checkpoint_minutes": 0,
        },
        "validation": [{"kind": "mot", "path": str(tiny_sequence)}],
        "validation_pictures": 2,
        "tracking": {"sequences": [str(tiny_sequence)], "frames": [1, 3]},
        "threads": 1,
        "workers": 0,
        "precision": "fp32",
        "log_every": 1,
    }
    file = tmp_path_factory.mktemp("config") / "run.yaml"
    file.write_text(yaml.safe_dump(entries))
    return file


@pytest.fixture(scope="module")
def whole(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing interrupts."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert train_killed(config, {out: [0]}) == [[0]]
    return out


def test_kills_at_any_moment_change_nothing(config: Path, whole: Path, tmp_path: Path) -> None:
    assert len(rows(whole / LOG_FILE)) == 6
    assert len(rows(whole / VALIDATION_FILE)) == len(rows(whole / TRACKING_FILE)) == 2
    moments = int((whole / "moments").read_text())
    assert moments > 40
    draw = random.Random(0)
    # The first falls before there is any checkpoint; later ones count from where they resumed.
    many = [draw.randrange(1, 3), *(draw.randrange(4, moments // 3) for _ in range(5)), 0]
    # Between the last step, its row, the other logs, the best model, the model, the checkpoint.
    ends = range(moments - 13, moments, 3)
    runs = {tmp_path / "many": many} | {tmp_path / str(end): [end, 0] for end in ends}
    for (out, kills), how in zip(runs.items(), train_killed(config, runs), strict=True):
        assert how[:3] == [KILLED if kill else 0 for kill in kills[:3]]
        assert how[-1] == 0 and set(how) <= {KILLED, 0}
        assert_same_runs(whole, out)


def test_signals_from_outside(config: Path, whole: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "train", str(config), "--out", str(tmp_path)]

    def begin(*more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, *more],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    first = begin()
    wait_for_steps(tmp_path, 1, first)
    first.terminate()
    _, said = first.communicate(timeout=60)
    assert first.returncode == 130
    assert said.rstrip().endswith("interrupted") and "Traceback" not in said
    assert (tmp_path / STATE_FILE).exists()

    second = begin("--resume")
    wait_for_steps(tmp_path, 3, second)
    second.kill()
    second.communicate(timeout=60)
    assert second.returncode == KILLED

    third = begin("--resume")
    _, said = third.communicate(timeout=120)
    assert third.returncode == 0, said
    assert_same_runs(whole, tmp_path)


def wait_for_steps(out: Path, steps: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        log = out / LOG_FILE
        if log.exists() and log.read_text().count("\n") > steps:
            return
        time.sleep(0.01)
    raise AssertionError(f"the run did not get to step {steps}")
