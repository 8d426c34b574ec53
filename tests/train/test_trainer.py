"""The loop: it learns, it resumes to the same weights, it stops when it must."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from runtime.errors import UserError
from train.config import TrainConfig
from train.data.loader import batches
from train.models import load_model
from train.trainer import LOG_FILE, MODEL_FILE, STATE_FILE, Trainer


def with_changes(config: dict[str, Any], **changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({**config, **changes})


def assert_same_weights(first: Path, second: Path) -> None:
    weights = load_file(first), load_file(second)
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def losses(directory: Path) -> list[float]:
    with (directory / LOG_FILE).open(newline="") as handle:
        return [float(row["loss"]) for row in csv.DictReader(handle)]


@pytest.fixture
def teacher(tiny_run: TrainConfig, tmp_path: Path) -> Path:
    out = tmp_path / "teacher"
    out.mkdir()
    return Trainer(tiny_run, out).run()


def test_training_lowers_the_loss(tiny_config: dict[str, Any], tmp_path: Path) -> None:
    schedule = {"epochs": 5, "images_per_epoch": 32, "batch": 4}
    Trainer(with_changes(tiny_config, schedule=schedule), tmp_path).run()
    history = losses(tmp_path)
    assert len(history) == 40
    assert sum(history[-5:]) < 0.6 * sum(history[:5])
    model = load_model(tmp_path)
    assert (model.input_wh, model.classes, model.embedding_dim) == ((96, 64), ("person",), 8)


def test_an_interrupted_run_ends_at_the_same_weights(
    tiny_run: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    Trainer(tiny_run, whole).run()

    trainer, step = Trainer(tiny_run, broken), Trainer._step

    def fail_in_the_second_epoch(self: Trainer, *arguments: Any) -> Any:
        if self.clock.step == 4:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", fail_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    monkeypatch.undo()
    assert len(losses(broken)) == 4
    Trainer(tiny_run, broken, resume=True).run()
    assert_same_weights(whole / MODEL_FILE, broken / MODEL_FILE)
    assert losses(whole) == losses(broken)


def test_loader_processes_change_nothing(tiny_config: dict[str, Any], tmp_path: Path) -> None:
    schedule = {"epochs": 1, "images_per_epoch": 8, "batch": 4}
    for workers in (0, 2):
        (tmp_path / str(workers)).mkdir()
        config = with_changes(tiny_config, workers=workers, schedule=schedule)
        Trainer(config, tmp_path / str(workers)).run()
    assert_same_weights(tmp_path / "0" / MODEL_FILE, tmp_path / "2" / MODEL_FILE)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_student_is_distilled(
    tiny_config: dict[str, Any], teacher: Path, tmp_path: Path, alpha: float
) -> None:
    config = with_changes(
        tiny_config, teacher={"checkpoint": str(teacher)}, distill={"alpha": alpha}, seed=1
    )
    trainer = Trainer(config, tmp_path)
    assert trainer.teacher is not None
    before = {key: value.clone() for key, value in trainer.teacher.model.state_dict().items()}
    trainer.run()
    frozen = trainer.teacher.model.state_dict()
    assert all(torch.equal(frozen[key], before[key]) for key in before)
    header = (tmp_path / LOG_FILE).read_text().splitlines()[0].split(",")
    assert {"hm", "id", "kd_heatmap", "kd_box", "kd_embedding", "kd_relation"} <= set(header)


def test_alpha_one_ignores_the_labels_in_the_weights(
    tiny_config: dict[str, Any], teacher: Path, tmp_path: Path
) -> None:
    """With alpha 1 the task losses are logged but must not move a weight."""
    runs = []
    for name, weight in (("a", 1.0), ("b", 7.0)):
        out = tmp_path / name
        out.mkdir()
        config = with_changes(
            tiny_config,
            teacher={"checkpoint": str(teacher)},
            distill={"alpha": 1.0},
            loss={"hm": weight},
        )
        runs.append(Trainer(config, out).run())
    assert_same_weights(*runs)


def test_a_loss_that_is_not_finite_names_its_part(
    tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    trainer = Trainer(with_changes(tiny_config), tmp_path)
    with torch.no_grad():
        trainer.model.heads["wh"][-1].bias.fill_(float("nan"))
    with pytest.raises(UserError, match=r"epoch 1, step 0, in wh"):
        trainer.run()


def test_time_bounds_a_run(tiny_config: dict[str, Any], tmp_path: Path) -> None:
    schedule = {"epochs": 1000, "images_per_epoch": 8, "batch": 4, "max_minutes": 0.01}
    trainer = Trainer(with_changes(tiny_config, schedule=schedule), tmp_path)
    trainer.run()
    assert 0 < trainer.clock.step < 1000
    assert trainer.clock.seconds >= 0.6
    assert (tmp_path / MODEL_FILE).exists()


def test_resuming_refuses_another_configuration_and_damage(
    tiny_config: dict[str, Any], teacher: Path
) -> None:
    run = teacher.parent
    with pytest.raises(UserError, match="differs from the checkpoint's in seed"):
        Trainer(with_changes(tiny_config, seed=5), run, resume=True)
    (run / STATE_FILE).write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="not a checkpoint of this run"):
        Trainer(with_changes(tiny_config), run, resume=True)


def test_a_killed_process_leaves_a_checkpoint_to_go_on_from(
    tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    """The real thing: SIGKILL in the middle, then --resume, against an uninterrupted run."""
    tiny_config["schedule"] = {"epochs": 4, "images_per_epoch": 16, "batch": 4}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(tiny_config))
    command = [sys.executable, "-c", "from train.cli import main; main()", str(file), "--out"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([*command, str(killed)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (killed / STATE_FILE).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert (killed / STATE_FILE).exists()
    for arguments in ([str(killed), "--resume"], [str(whole)]):
        subprocess.run([*command, *arguments], check=True, capture_output=True)
    assert_same_weights(killed / MODEL_FILE, whole / MODEL_FILE)


def test_gradients_of_several_batches_are_averaged(
    tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    schedule = tiny_config["schedule"] | {"clip": 1e9}
    gradients = []
    for count in (1, 3):
        trainer = Trainer(with_changes(tiny_config, schedule=schedule), tmp_path)
        batch = next(batches(trainer.data, 0, trainer.config))
        loss, parts = trainer._step([batch] * count, 0.0)
        gradients.append([p.grad.clone() for p in trainer.parameters if p.grad is not None])
        assert parts["hm"] > 0 and loss > 0
    assert len(gradients[0]) == len(gradients[1]) > 50
    for single, several in zip(*gradients, strict=True):
        torch.testing.assert_close(several, single, rtol=1e-3, atol=1e-5)


def test_a_step_takes_as_many_batches_as_it_is_told(
    tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    # 12 pictures an epoch are 3 batches of 4: one step of 2 batches, and one that is left over.
    schedule = tiny_config["schedule"] | {"accumulate": 2}
    Trainer(with_changes(tiny_config, schedule=schedule), tmp_path).run()
    assert len(losses(tmp_path)) == 2
