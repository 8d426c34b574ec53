"""The training loop, for teachers and for students."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runtime.console import console, progress
from runtime.errors import UserError
from runtime.files import atomic_path
from train.config import TrainConfig
from train.data.loader import Batch, TrainingSet, batches
from train.data.sources import open_pictures
from train.ema import AveragedWeights
from train.logs import append_row, drop_rows_after
from train.losses.distillation import DistillationLoss
from train.losses.fairmot import FairMOTLoss
from train.models import TrackingModel, build_model, load_model, save_model
from train.models.checkpoint import checkpoint_path, load_into
from train.models.pretrained import load_body_weights
from train.schedule import learning_rate, run_progress
from train.teachers.fairmot import FairMOTTeacher
from train.validation import DetectionScores, tracker_settings, validate_detection

STATE_FILE = "state.pt"
MODEL_FILE = "model.safetensors"
LOG_FILE = "training.csv"
VALIDATION_FILE = "validation.csv"


@dataclass
class Clock:
    """Where a run stands: finished epochs, steps, and seconds from the first step."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0


class Trainer:
    """One run.

    Args:
        config: What to train, and on what.
        out: Folder for the checkpoint, the model and the log; it must exist.
        resume: Go on from the checkpoint in ``out``.
        strict: Refuse an ``init`` that does not fill the model.

    Raises:
        UserError: The data, the teacher or the checkpoint cannot be used.
    """

    def __init__(
        self, config: TrainConfig, out: Path, resume: bool = False, strict: bool = False
    ) -> None:
        self.config = config
        self.out = out
        torch.manual_seed(config.seed)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.bf16 = use_bf16(config.precision, self.device)
        self.model = self._build_model(resume, strict)
        self.data = TrainingSet(config, self.model.stride)
        self.validation = [open_pictures(entry) for entry in config.validation]
        self.task_loss = FairMOTLoss(config.loss, self.model.embedding_dim, self.data.num_ids)
        self.task_loss.to(self.device)
        self.teacher = self._build_teacher()
        self.distill_loss = self._build_distillation()
        self.average = AveragedWeights(self.model, config.schedule.ema)
        self.parameters = [
            parameter
            for module in (self.model, self.task_loss, self.distill_loss)
            if module is not None
            for parameter in module.parameters()
            if parameter.requires_grad
        ]
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, self.task_loss, self.distill_loss),
            lr=config.schedule.learning_rate,
            weight_decay=config.schedule.weight_decay,
        )
        self.clock = Clock()
        if resume:
            self._restore()

    def run(self) -> Path:
        """Train to the end.

        Returns:
            The finished model file.

        Raises:
            UserError: The loss is no longer finite, or a file cannot be written.
        """
        schedule = self.config.schedule
        steps_per_epoch = schedule.images_per_epoch // (schedule.batch * schedule.accumulate)
        total = schedule.epochs * steps_per_epoch
        if not steps_per_epoch:
            raise UserError("schedule.images_per_epoch is less than one step needs: raise it")
        self._say_what_is_trained(total)
        started = time.perf_counter() - self.clock.seconds
        with progress() as bar:
            task = bar.add_task("training", total=total, completed=self.clock.step)
            while self.clock.epoch < schedule.epochs and self._progress(total) < 1:
                epoch = batches(self.data, self.clock.epoch, self.config)
                for some in in_groups(epoch, schedule.accumulate):
                    loss, parts = self._step(some, self._progress(total))
                    self.clock.step += 1
                    self.clock.seconds = time.perf_counter() - started
                    if self.clock.step % self.config.log_every == 0:
                        self._log(loss, parts)
                    shown = " ".join(f"{name} {value:.3g}" for name, value in parts.items())
                    bar.update(
                        task,
                        completed=round(self._progress(total) * total),
                        status=f"loss {loss:.3g}  {shown}",
                    )
                    if self._progress(total) >= 1:
                        break
                self.clock.epoch += 1
                self._save(self._validate())
        return self.out / MODEL_FILE

    def _step(self, some: Sequence[Batch], done: float) -> tuple[float, dict[str, float]]:
        """Take one optimisation step on the batches together; return the loss and its parts."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.schedule, done)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        total, means = 0.0, dict[str, float]()
        for batch in some:
            loss, parts = self._losses(batch.to(self.device))
            self._check_finite(loss, parts)
            (loss / len(some)).backward()
            total += float(loss.detach()) / len(some)
            for name, part in parts.items():
                means[name] = means.get(name, 0.0) + float(part.detach()) / len(some)
        nn.utils.clip_grad_norm_(self.parameters, self.config.schedule.clip)
        self.optimizer.step()
        self.average.update(self.model)
        return total, means

    def _losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch and its parts."""
        images = batch.model_input()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            outputs, features = self.model.forward_with_features(images)
            seen = self.teacher(images) if self.teacher is not None else None
        loss, parts = self.task_loss(outputs, batch)
        if seen is not None and self.distill_loss is not None:
            alpha = self.config.distill.alpha
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                distillation, more = self.distill_loss(outputs, features, seen)
            loss = (1 - alpha) * loss + alpha * distillation
            parts |= more
        return loss, parts

    def _check_finite(self, loss: Tensor, parts: dict[str, Tensor]) -> None:
        if torch.isfinite(loss):
            return
        broken = [name for name, part in parts.items() if not torch.isfinite(part)] or ["total"]
        raise UserError(
            f"the loss is no longer finite at epoch {self.clock.epoch + 1}, step "
            f"{self.clock.step}, in {', '.join(broken)}: lower schedule.learning_rate; "
            "the last checkpoint is kept"
        )

    def _progress(self, total_steps: int) -> float:
        minutes = self.clock.seconds / 60
        return run_progress(self.clock.step, total_steps, minutes, self.config.schedule.max_minutes)

    def _build_model(self, resume: bool, strict: bool) -> TrackingModel:
        config = self.config.model
        model = build_model(
            config.name,
            num_classes=config.num_classes,
            embedding_dim=config.embedding_dim,
            **config.options,
        )
        if config.body_weights is not None:
            load_body_weights(model, config.body_weights)
        # A resumed run takes all its weights from its own checkpoint.
        if self.config.init is not None and not resume:
            load_into(model, self.config.init, strict=strict)
        return model.to(self.device).to(memory_format=torch.channels_last)

    def _build_teacher(self) -> FairMOTTeacher | None:
        if self.config.teacher is None:
            return None
        path = checkpoint_path(self.config.teacher.checkpoint)
        # A head that the file does not fill would teach noise.
        model = load_model(path, self.config.teacher.name, strict=True)
        if model.num_classes != self.model.num_classes:
            raise UserError(
                f"teacher {path} tells {model.num_classes} classes apart, the student "
                f"{self.model.num_classes}: choose matching models"
            )
        teacher = FairMOTTeacher(model, self.config.distill.peak_threshold, self.model.stride)
        return teacher.to(self.device).to(memory_format=torch.channels_last)

    def _build_distillation(self) -> DistillationLoss | None:
        if self.teacher is None:
            return None
        teacher = self.teacher.model
        return DistillationLoss(
            self.config.distill,
            student_channels=self.model.feature_channels,
            teacher_channels=teacher.feature_channels,
            student_dim=self.model.embedding_dim,
            teacher_dim=teacher.embedding_dim,
        ).to(self.device)

    def _say_what_is_trained(self, total: int) -> None:
        say = console().print
        millions = self.model.parameter_count() / 1e6
        precision = "bf16" if self.bf16 else "fp32"
        say(f"model    {self.model.name}, {millions:.2f} M parameters, {precision}, {self.device}")
        for name, pictures, ids in self.data.describe():
            say(f"data     {name}: {pictures} pictures, {ids} identities", markup=False)
        if self.teacher is not None:
            say(f"teacher  {self.teacher.model.name}, alpha {self.config.distill.alpha}")
        limit = self.config.schedule.max_minutes
        bound = f", at most {limit:g} minutes" if limit else ""
        pictures = self.config.schedule.batch * self.config.schedule.accumulate
        say(f"schedule {total} steps of {pictures} pictures{bound}")

    def _validate(self) -> DetectionScores | None:
        """Try the averaged weights on held-out pictures; None without any."""
        if not self.validation:
            return None
        model = build_model(
            self.model.name,
            num_classes=self.model.num_classes,
            embedding_dim=self.model.embedding_dim,
            **self.config.model.options,
        )
        model.load_state_dict(self.average.state)
        model.to(self.device).to(memory_format=torch.channels_last).eval()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            scores = validate_detection(
                model, self.validation, self.config.input_wh, self.config.validation_pictures
            )
        row = {"epoch": self.clock.epoch, "step": self.clock.step} | asdict(scores)
        append_row(self.out / VALIDATION_FILE, row)
        return scores

    def _log(self, loss: float, parts: dict[str, float]) -> None:
        """Append one row to the log."""
        row: dict[str, Any] = {
            "epoch": self.clock.epoch + 1,
            "step": self.clock.step,
            "seconds": round(self.clock.seconds, 2),
            "loss": round(loss, 5),
        }
        append_row(
            self.out / LOG_FILE, row | {name: round(value, 5) for name, value in parts.items()}
        )

    def _save(self, scores: DetectionScores | None) -> None:
        """Write the model and, after it, the checkpoint."""
        save_model(
            self.out / MODEL_FILE,
            self.model,
            classes=tuple(self.config.classes),
            input_wh=self.config.input_wh,
            state=self.average.state,
            options=self.config.model.options,
            tracker=tracker_settings(scores.threshold) if scores else {},
        )
        state = {
            "config": self.config.model_dump_json(),
            "clock": vars(self.clock),
            "model": self.model.state_dict(),
            "task_loss": self.task_loss.state_dict(),
            "distill_loss": self.distill_loss.state_dict() if self.distill_loss else {},
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
            "rng": torch.get_rng_state(),
        }
        with atomic_path(self.out / STATE_FILE) as temporary:
            torch.save(state, temporary)

    def _restore(self) -> None:
        """Go on from the checkpoint: same weights, same optimiser, same pictures to come."""
        file = self.out / STATE_FILE
        if not file.exists():
            raise UserError(f"{self.out} holds no {STATE_FILE} to resume: start without --resume")
        try:
            state = torch.load(file, map_location=self.device, weights_only=True)
            self._check_same_config(state["config"])
            self.model.load_state_dict(state["model"])
            self.task_loss.load_state_dict(state["task_loss"])
            if self.distill_loss is not None:
                self.distill_loss.load_state_dict(state["distill_loss"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average.load_state_dict(state["average"])
            torch.set_rng_state(state["rng"].cpu())
            self.clock = Clock(**state["clock"])
        except UserError:
            raise
        except Exception as error:  # torch.load raises many kinds for a damaged file
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"{file} is not a checkpoint of this run ({reason}): start without --resume"
            ) from error
        for name in (LOG_FILE, VALIDATION_FILE):
            drop_rows_after(self.out / name, self.clock.step)

    def _check_same_config(self, saved: str) -> None:
        # What an earlier version did not know has its default in that version's checkpoint.
        before = TrainConfig.model_validate_json(saved).model_dump(mode="json")
        now = self.config.model_dump(mode="json")
        changed = [key for key in now if before.get(key) != now[key]]
        if changed:
            raise UserError(
                f"the configuration differs from the checkpoint's in {', '.join(changed)}: "
                "resume with the same one, or start in another folder"
            )


def in_groups(items: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Yield ``size`` items at a time; what is left at the end is dropped."""
    rest = iter(items)
    while len(group := list(itertools.islice(rest, size))) == size:
        yield group


def parameter_groups(*modules: nn.Module | None) -> list[dict[str, Any]]:
    """Split parameters so that weight decay spares biases, norms and the uncertainties.

    Args:
        *modules: Modules to train; None is skipped.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for module in modules:
        for parameter in module.parameters() if module is not None else ():
            if parameter.requires_grad:
                (decayed if parameter.ndim > 1 else spared).append(parameter)
    return [{"params": decayed}, {"params": spared, "weight_decay": 0.0}]


def use_bf16(precision: str, device: torch.device) -> bool:
    """Tell whether to compute in bf16.

    Args:
        precision: ``bf16``, ``fp32``, or ``auto`` for bf16 where the hardware multiplies in it: on
            a processor that only emulates it, it is slower than fp32.
        device: Where the model runs.
    """
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
