"""Several processes train as one does on the same batches."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

from runtime.errors import UserError
from tests.train.tiny_onnx import mean_colour
from train.data.loader import Part, places
from train.finite import what_is_not_finite
from train.models import build_model, save_model
from train.models.synced_norm import SyncedBatchNorm2d, synced
from train.processes import errors_of_others
from train.state import LOG_FILE, MODEL_FILE, STATE_FILE

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def command(config: Path, out: Path, processes: int, *more: str) -> list[str]:
    launcher = LAUNCHER if processes > 1 else []
    return [sys.executable, *launcher, "-m", "train", str(config), "--out", str(out), *more]


def rows(out: Path) -> list[dict[str, float]]:
    with (out / LOG_FILE).open(newline="") as handle:
        return [
            {key: float(value) for key, value in row.items() if key != "seconds"}
            for row in csv.DictReader(handle)
        ]


@pytest.fixture
def config(tiny_config: dict[str, Any], tmp_path: Path) -> Path:
    """Four steps of two batches of four pictures, with a teacher of either kind."""
    teacher = tmp_path / "teacher.safetensors"
    torch.manual_seed(5)
    model = build_model("nano", num_classes=1, embedding_dim=6)
    save_model(teacher, model, classes=("person",), input_wh=(96, 64))
    followed = {
        "kind": "fairmot",
        "checkpoint": str(teacher),
        "peak_threshold": 0,
        "losses": {"relation": 0, "feature": 0, "location": 1},
    }
    asked_before = {
        "kind": "onnx",
        "embedder": {"path": str(mean_colour(tmp_path / "e.onnx", [1, 3, 16, 8]))},
        "cache": str(tmp_path / "cache"),
        "losses": {"relation": 0},
    }
    tiny_config["distill"] = {"teachers": [followed, asked_before]}
    tiny_config["schedule"] |= {
        "images_per_epoch": 16,
        "accumulate": 2,
        # AdamW divides by the size of a gradient: where it is about 0, rounding decides the sign
        # of a whole step.
        "learning_rate": 1e-5,
        "checkpoint_minutes": 0,
    }
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(tiny_config))
    return file


@pytest.mark.parametrize(("pictures", "batch", "first"), [(3, 4, 0), (9, 4, 0), (16, 4, 2)])
def test_processes_share_the_batches_of_one(pictures: int, batch: int, first: int) -> None:
    alone = [list(batch_places) for batch_places in places(pictures, batch, Part(first))]
    shares = [places(pictures, batch, Part(first, process, 2)) for process in range(2)]
    assert [[*one, *other] for one, other in zip(*shares, strict=True)] == alone
    assert len(alone) == pictures // batch - first


def test_two_processes_train_as_one(config: Path, tmp_path: Path) -> None:
    outs = [tmp_path / str(processes) for processes in (1, 2)]
    for processes, out in enumerate(outs, 1):
        done = subprocess.run(
            command(config, out, processes), cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("model: ") == 1
    one, two = (rows(out) for out in outs)
    assert len(one) == 4
    for row, other in zip(one, two, strict=True):
        # The log has five decimals.
        assert other == pytest.approx(row, rel=1e-5, abs=2e-5)
        assert all(
            row[name] > 0 for name in ("hm", "id", "kd0_box", "kd0_location", "kd1_embedding")
        )
    weights = [load_file(out / MODEL_FILE) for out in outs]
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=1e-4, atol=1e-4)


def test_the_gradients_of_two_processes_are_those_of_one(config: Path, tmp_path: Path) -> None:
    entries = yaml.safe_load(config.read_text())
    entries["schedule"]["clip"] = 1e9
    config.write_text(yaml.safe_dump(entries))
    files = [tmp_path / f"{processes}.pt" for processes in (1, 2)]
    for launcher, file in zip(([], LAUNCHER), files, strict=True):
        arguments = [*launcher, "-m", "tests.train.in_double", config, tmp_path, file]
        subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, check=True)
    one, two = (torch.load(file, weights_only=True) for file in files)
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-12)
    assert two["parts"] == pytest.approx(one["parts"], rel=1e-10)
    assert one["gradients"].keys() == two["gradients"].keys()
    assert len(one["gradients"]) > 50
    for name, gradient in one["gradients"].items():
        other = two["gradients"][name]
        assert (gradient - other).norm() <= 1e-9 * gradient.norm() + 1e-14, name


def logged(out: Path, steps: int) -> bool:
    log = out / LOG_FILE
    return log.exists() and log.read_text().count("\n") > steps


def test_the_end_of_one_process_ends_the_run_and_one_goes_on(config: Path, tmp_path: Path) -> None:
    """A lost process must not leave the other waiting, and its run resumes with fewer."""
    entries = yaml.safe_load(config.read_text())
    entries["schedule"] |= {"epochs": 2, "images_per_epoch": 160}
    config.write_text(yaml.safe_dump(entries))
    out = tmp_path / "out"
    launched = subprocess.Popen(
        command(config, out, 2), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    # Behind the second step's row there is at least the first step's checkpoint.
    while not logged(out, 2) and time.monotonic() < deadline:
        assert launched.poll() is None
        time.sleep(0.02)
    second = next(
        child
        for child in psutil.Process(launched.pid).children()
        if child.environ().get("RANK") == "1"
    )
    second.kill()
    _, said = launched.communicate(timeout=60)
    assert launched.returncode != 0
    assert "train/cli.py" not in said, "a traceback of the remaining process"
    steps = torch.load(out / STATE_FILE, weights_only=True)["clock"]["step"]
    assert 0 < steps < 40
    subprocess.run(command(config, out, 1, "--resume"), cwd=ROOT, check=True, capture_output=True)
    assert [row["step"] for row in rows(out)] == list(range(1, 41))


def test_a_batch_that_cannot_be_shared(config: Path, tmp_path: Path) -> None:
    entries = yaml.safe_load(config.read_text())
    entries["schedule"]["batch"] = 3
    config.write_text(yaml.safe_dump(entries))
    launched = subprocess.run(
        command(config, tmp_path / "out", 2), cwd=ROOT, capture_output=True, text=True
    )
    assert launched.returncode != 0
    assert "error: schedule.batch is 3, which 2 processes cannot share evenly" in launched.stderr


def test_batch_norms_of_several_processes_keep_their_names() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    maps = torch.randn(2, 3, 5, 5)
    names, before = list(module.state_dict()), module.eval()(maps)
    module = synced(module, torch.device("cpu"))
    assert isinstance(module[1], SyncedBatchNorm2d) and isinstance(module[1], nn.BatchNorm2d)
    assert list(module.state_dict()) == names
    assert torch.equal(module.eval()(maps), before)


def test_a_lost_connection_is_one_line_and_other_errors_are_not_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("train.processes.process_count", lambda: 2)
    with (
        pytest.raises(UserError, match="another process of this run has ended"),
        errors_of_others(),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer")
    with pytest.raises(RuntimeError, match="a size"), errors_of_others():
        raise RuntimeError("a size does not fit")


def test_what_is_not_finite_is_named_with_its_process_s_pictures() -> None:
    rows = torch.ones(2, 3, dtype=torch.float64).numpy()
    assert what_is_not_finite(rows, ["hm", "wh"], 4, 4) == ""
    rows[0, 0] = float("inf")
    assert what_is_not_finite(rows, ["hm", "wh"], 4, 4) == "in total, on the pictures 4 to 5"
    rows[:, 1] = float("nan")
    assert what_is_not_finite(rows, ["hm", "wh"], 4, 4) == "in hm, on the pictures 4 to 7"
