"""The loop: it learns, it resumes to the same weights, it stops when it must."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from runtime.errors import UserError
from train.config import TrainConfig
from train.data.batch import Batch
from train.data.loader import batches
from train.logs import append_row, drop_rows_after
from train.losses.fairmot import FairMOTLoss
from train.models import load_model
from train.state import BEST_FILE, LOG_FILE, MODEL_FILE, STATE_FILE, TRACKING_FILE, Clock
from train.tracking import TrackingScores
from train.trainer import Trainer


def with_changes(config: dict[str, Any], **changes: Any) -> TrainConfig:
    return TrainConfig.model_validate({**config, **changes})


def distilled_from(teacher: Path, alpha: float) -> dict[str, Any]:
    return {"alpha": alpha, "teachers": [{"kind": "fairmot", "checkpoint": str(teacher)}]}


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
    config = with_changes(tiny_config, distill=distilled_from(teacher, alpha), seed=1)
    trainer = Trainer(config, tmp_path)
    assert trainer.distiller is not None
    networks = trainer.distiller.networks
    before = {key: value.clone() for key, value in networks.state_dict().items()}
    trainer.run()
    frozen = networks.state_dict()
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
            distill=distilled_from(teacher, 1.0),
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
    with pytest.raises(UserError, match=r"epoch 1, step 1, in wh, on the pictures 0 to 3 of"):
        trainer.run()


def test_a_loss_that_is_not_finite_later_on_names_its_batch(
    tiny_config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the second epoch's only step, the second of two batches."""
    schedule = tiny_config["schedule"] | {"images_per_epoch": 8, "accumulate": 2}
    trainer = Trainer(with_changes(tiny_config, schedule=schedule, seed=3), tmp_path)
    forward, calls = FairMOTLoss.forward, list[Batch]()

    def overflowing(self: FairMOTLoss, outputs: dict[str, Tensor], batch: Batch) -> Any:
        calls.append(batch)
        loss, parts = forward(self, outputs, batch)
        if len(calls) == 4:
            parts["hm"] = parts["hm"] / 0
        return loss + parts["hm"] * 0, parts

    monkeypatch.setattr(FairMOTLoss, "forward", overflowing)
    place = "epoch 2, step 2, in hm, on the pictures 4 to 7 of the epoch with seed 3"
    with pytest.raises(UserError, match=place):
        trainer.run()
    # The message says enough to look at the batch again.
    trainer.data.set_epoch(1)
    again = torch.from_numpy(trainer.data[4]["images"])
    assert torch.equal(calls[3].images[0], again)
    assert Clock(**torch.load(tmp_path / STATE_FILE, weights_only=True)["clock"]).step == 1


def test_identities_stay_integers_in_half_precision(
    tiny_config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    cross_entropy = F.cross_entropy

    def recording(logits: Tensor, ids: Tensor, **settings: Any) -> Tensor:
        seen.append((logits.dtype, ids.dtype))
        return cross_entropy(logits, ids, **settings)

    monkeypatch.setattr(F, "cross_entropy", recording)
    trainer = Trainer(with_changes(tiny_config, precision="bf16"), tmp_path)
    with trainer.accelerator.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == torch.bfloat16
    trainer._step([next(batches(trainer.data, 0, trainer.config))])
    assert seen == [(torch.float32, torch.int64)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU, where fp16 is allowed")
def test_fp16_needs_a_gpu(tiny_config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fp16 trains on a GPU only"):
        Trainer(with_changes(tiny_config, precision="fp16"), tmp_path)


def test_a_run_of_another_precision_in_the_same_process(
    tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        trainer = Trainer(with_changes(tiny_config, precision=precision), tmp_path)
        with trainer.accelerator.autocast():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_the_best_weights_by_tracking_are_kept(
    tiny_config: dict[str, Any],
    tiny_sequence: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figures = iter([0.5, 0.25])
    monkeypatch.setattr(TrackingScores, "figure", lambda self, name: next(figures))
    monkeypatch.setattr(TrackingScores, "to_row", lambda self: {"IDSW": 0})
    tracking = {"sequences": [str(tiny_sequence)], "every": 2, "frames": [1, 2]}
    schedule = tiny_config["schedule"] | {"epochs": 3, "images_per_epoch": 4}
    config = with_changes(tiny_config, tracking=tracking, schedule=schedule)
    trainer = Trainer(config, tmp_path)
    trainer.run()
    # After the second epoch, and after the last.
    log = (tmp_path / TRACKING_FILE).read_text().split()
    assert log == ["epoch,step,IDSW,MOTA", "2,2,0,0.5", "3,3,0,0.25"]
    best, last = load_file(tmp_path / BEST_FILE), load_file(tmp_path / MODEL_FILE)
    assert any(not torch.equal(best[key], last[key]) for key in best)
    assert load_model(tmp_path / BEST_FILE).input_wh == (96, 64)
    assert Trainer(config, tmp_path, resume=True).best == 0.5


def test_logs_lose_what_comes_after_the_checkpoint_and_half_rows(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    drop_rows_after(file, 3)
    assert not file.exists()
    file.write_text("epo")
    drop_rows_after(file, 3)
    assert not file.exists()
    for step in (1, 2, 3, 12):
        append_row(file, {"epoch": 1, "step": step})
    whole = file.read_bytes()
    drop_rows_after(file, 12)
    assert file.read_bytes() == whole
    # Half of "1,12" reads like a row of step 1.
    file.write_bytes(whole.removesuffix(b"2\r\n"))
    drop_rows_after(file, 3)
    assert file.read_bytes() == whole.removesuffix(b"1,12\r\n")


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


def test_gradients_of_several_batches_are_averaged(
    tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    schedule = tiny_config["schedule"] | {"clip": 1e9}
    gradients = []
    for count in (1, 3):
        trainer = Trainer(with_changes(tiny_config, schedule=schedule), tmp_path)
        batch = next(batches(trainer.data, 0, trainer.config))
        loss, parts = trainer._step([batch] * count)
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
