"""``kd-bench data``: figures that hang together, and errors in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from benchmarks.cli import main
from benchmarks.records.data import STAGES, measure, time_stages
from train.config import TrainConfig, load_config
from train.data.loader import TrainingSet


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    for folder in ("images/train", "labels/train"):
        (photos / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in "abc":
        picture = rng.integers(0, 255, (60, 80, 3)).astype(np.uint8)
        cv2.imwrite(str(photos / "images/train" / f"{name}.jpg"), picture)
        (photos / "labels/train" / f"{name}.txt").write_text("0 0.5 0.5 0.3 0.6\n")
    content = {
        "input_wh": [96, 64],
        "data": [{"kind": "photos", "path": str(photos)}],
        "schedule": {"batch": 4},
        "workers": 1,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "run.yaml"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["kd-bench", "data", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        main()
    return done.value.code


def test_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path / "none.yaml") == 1
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [0, 1])
def test_figures_hang_together(config_file: Path, workers: int) -> None:
    result = measure(load_config(config_file), workers=workers, pictures=6, rounds=2)
    assert result["settings"]["pictures_per_round"] == 8  # whole batches
    assert result["settings"]["workers"] == workers
    assert result["sources"] == [{"name": "photos/train", "pictures": 3, "ids": 0}]
    assert all(value > 0 for value in result["throughput"].values())
    comparison = result["comparison"]
    assert comparison["low"] <= comparison["ratio"] <= comparison["high"]
    assert tuple(result["stages"]) == STAGES
    json.dumps(result)


def test_stages_add_up(config_file: Path) -> None:
    config: TrainConfig = load_config(config_file, ("schedule.images_per_epoch=5",))
    threads = cv2.getNumThreads()
    times = time_stages(TrainingSet(config, 8))
    assert times.shape == (5, len(STAGES))
    assert (times > 0).all()
    np.testing.assert_allclose(times[:, :3].sum(axis=1), times[:, 3], rtol=1e-6)
    assert cv2.getNumThreads() == threads


def test_the_command_prints_and_writes(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config_file.parent / "data.json"
    options = ("--pictures", 4, "--rounds", 2, "--json", file, "--set", "augment.style=fairmot")
    assert run(monkeypatch, config_file, *options) == 0
    printed = capsys.readouterr().out
    assert "style fairmot, 1 loader process, 2 rounds of 4" in printed
    assert "loader / decoding alone" in printed
    assert json.loads(file.read_text())["settings"]["style"] == "fairmot"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_one_line(
    config_file: Path,
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for file in (config_file.parent / "photos/images/train").iterdir():
        file.write_bytes(b"broken")
    assert run(monkeypatch, config_file, "--workers", workers) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "is not a readable image" in error
