"""The training loop, for teachers and for students."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from runtime.console import console, progress
from runtime.errors import UserError
from train.building import build_distiller, build_student, fresh_model, parameter_groups
from train.config import TrainConfig
from train.data.batch import Batch
from train.data.loader import Part, TrainingSet, batches, in_groups
from train.ema import AveragedWeights
from train.finite import what_is_not_finite
from train.held_out import HeldOut, Verdict, is_better
from train.logs import append_row
from train.losses.fairmot import FairMOTLoss
from train.models import save_model
from train.models.synced_norm import synced
from train.objective import Objective
from train.precision import make_accelerator
from train.processes import first_ones
from train.schedule import learning_rate, run_progress
from train.state import (
    BEST_FILE,
    LOG_FILE,
    MODEL_FILE,
    STATE_FILE,
    VALIDATION_FILE,
    Clock,
    clear_after,
    clear_halves,
    not_a_checkpoint,
    read_state,
    write_state,
)

__all__ = ["LOG_FILE", "MODEL_FILE", "STATE_FILE", "VALIDATION_FILE", "Clock", "Trainer"]

Show = Callable[[str], None]


class Trainer:
    """One run, in one process or as one of several.

    Of several processes each draws its share of every batch; the first one alone logs, validates
    and writes. All of them read the checkpoint, so ``out`` must be the same folder for all.

    The random numbers of a step depend on the seed, the step and the process alone, like the
    pictures: a resumed run draws the same ones.

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
        state = read_state(out, config) if resume else None
        self.accelerator = make_accelerator(config.precision)
        self.device = self.accelerator.device
        self.is_first: bool = self.accelerator.is_main_process
        batch, processes = config.schedule.batch, self.accelerator.num_processes
        if batch % processes:
            raise UserError(
                f"schedule.batch is {batch}, which {processes} processes cannot share evenly: make "
                f"it a multiple of {processes}"
            )
        torch.manual_seed(config.seed)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.model = build_student(config, self.device, resume, strict)
        self.data = TrainingSet(config, self.model.stride)
        self.held_out = HeldOut(config)
        self.task_loss = FairMOTLoss(config.loss, self.model.embedding_dim, self.data.num_ids)
        self.task_loss.to(self.device)
        self.distiller = build_distiller(config, self.model, self.data, self.accelerator)
        # Without anything known the teachers are all there is.
        known = self.data.labelled or self.data.cutouts is not None
        self.alpha = config.distill.alpha if config.distill and known else 1.0
        self.average = AveragedWeights(self.model, config.schedule.ema)
        if self.accelerator.num_processes > 1:
            self.model = synced(self.model, self.device)  # type: ignore[assignment]
        modules = [self.model, self.task_loss, self.distiller]
        groups = parameter_groups(*modules)
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        schedule = config.schedule
        optimizer = torch.optim.AdamW(
            groups, lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        self.optimizer = self.accelerator.prepare_optimizer(optimizer)
        self.clock = Clock()
        self.best: float | None = None
        self.steps_per_epoch = schedule.images_per_epoch // (schedule.batch * schedule.accumulate)
        if not self.steps_per_epoch:
            raise UserError("schedule.images_per_epoch is less than one step needs: raise it")
        self.total_steps = schedule.epochs * self.steps_per_epoch
        if state is not None:
            self._restore(state)
        self.objective: nn.Module = self.accelerator.prepare_model(
            Objective(self.model, self.task_loss, self.distiller, self.alpha)
        )

    def run(self) -> Path:
        """Train to the end.

        Returns:
            The finished model file.

        Raises:
            UserError: The loss is no longer finite, or a file cannot be written.
        """
        if self.is_first:
            self._say_what_is_trained()
            clear_halves(self.out)
            if not self.clock.step:
                self._save()
        self._started = time.perf_counter() - self.clock.seconds
        self._saved = time.perf_counter()
        with progress(shown=self.is_first) as bar:
            task = bar.add_task("training", total=self.total_steps, completed=self.clock.step)

            def show(status: str) -> None:
                done = round(self._progress() * self.total_steps)
                bar.update(task, completed=done, status=status)

            while self.clock.epoch < self.config.schedule.epochs and self._progress() < 1:
                self._train_epoch(show)
                self.clock.epoch += 1
                if self.is_first:
                    self._finish_epoch(show)
        if self.accelerator.num_processes > 1:
            self.accelerator.wait_for_everyone()
            self.accelerator.end_training()
        return self.out / MODEL_FILE

    def _train_epoch(self, show: Show) -> None:
        """Take the steps of an epoch that have not been taken yet."""
        accumulate = self.config.schedule.accumulate
        taken = self.clock.step - self.clock.epoch * self.steps_per_epoch
        part = Part(
            taken * accumulate, self.accelerator.process_index, self.accelerator.num_processes
        )
        epoch = batches(self.data, self.clock.epoch, self.config, part)
        for some in in_groups(epoch, accumulate):
            loss, parts = self._step(some)
            self.clock.step += 1
            self._read_clock()
            if self.is_first:
                if self.clock.step % self.config.log_every == 0:
                    self._log(loss, parts)
                shown = " ".join(f"{name} {value:.3g}" for name, value in parts.items())
                show(f"loss {loss:.3g}  {shown}")
            if self._progress() >= 1:
                break
            # The last step's checkpoint comes after the validation.
            if self.is_first and self.clock.step % self.steps_per_epoch and self._is_time_to_save():
                self._save()

    def _step(self, some: Sequence[Batch]) -> tuple[float, dict[str, float]]:
        """Take one optimisation step on the batches together.

        Returns:
            The loss and its parts, those of all processes.
        """
        source = (self.config.seed, self.clock.step, self.accelerator.process_index)
        torch.manual_seed(int(np.random.SeedSequence(source).generate_state(1)[0]))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.schedule, self._progress())
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        total, means = 0.0, dict[str, float]()
        for place, batch in enumerate(some):
            last = place == len(some) - 1
            # Processes add up their gradients once per step.
            alone = nullcontext() if last else self.accelerator.no_sync(self.objective)
            with alone:
                loss, parts = self.objective(batch.to(self.device))
                value, values = self._values(loss, parts, place)
                self.accelerator.backward(loss / len(some))
            total += value / len(some)
            for name, part in values.items():
                means[name] = means.get(name, 0.0) + part / len(some)
        self.accelerator.clip_grad_norm_(self.parameters, self.config.schedule.clip)
        self.optimizer.step()
        # The gradient scaler of fp16 leaves out steps whose gradients overflow.
        if self.is_first and not self.accelerator.optimizer_step_was_skipped:
            self.average.update(self.model)
        return total, means

    def _values(
        self, loss: Tensor, parts: dict[str, Tensor], place: int
    ) -> tuple[float, dict[str, float]]:
        """Return the loss and its parts as numbers, averaged over processes.

        Args:
            loss: This process's loss.
            parts: Its parts.
            place: Which of the step's batches it is of.

        Raises:
            UserError: One is not finite, in any process; all processes raise it.
        """
        own = torch.stack([loss.detach(), *parts.values()])[None].double()
        rows = self.accelerator.gather(own).cpu().numpy()
        schedule, epoch = self.config.schedule, self.clock.epoch
        taken = self.clock.step - epoch * self.steps_per_epoch
        start = (taken * schedule.accumulate + place) * schedule.batch
        broken = what_is_not_finite(rows, list(parts), start, schedule.batch)
        if broken:
            raise UserError(
                f"the loss is no longer finite at epoch {epoch + 1}, step {self.clock.step + 1}, "
                f"{broken} of the epoch with seed {self.config.seed}: lower "
                "schedule.learning_rate; the last checkpoint is kept"
            )
        value, *values = rows.mean(axis=0).tolist()
        return value, dict(zip(parts, values, strict=True))

    def _progress(self) -> float:
        minutes = self.clock.seconds / 60
        limit = self.config.schedule.max_minutes
        return run_progress(self.clock.step, self.total_steps, minutes, limit)

    def _read_clock(self) -> None:
        self.clock.seconds = time.perf_counter() - self._started
        # Processes that ended at different steps would wait for each other for ever.
        if self.config.schedule.max_minutes:
            self.clock.seconds = first_ones(self.clock.seconds, self.device)

    def _say_what_is_trained(self) -> None:
        say = console().print
        millions = self.model.parameter_count() / 1e6
        precision = self.accelerator.mixed_precision.replace("no", "fp32")
        device = self.device.type
        say(f"model    {self.model.name}, {millions:.2f} M parameters, {precision}, {device}")
        for name, pictures, ids in self.data.describe():
            say(f"data     {name}: {pictures} pictures, {ids} identities", markup=False)
        if self.distiller is not None:
            say(f"teacher  {', '.join(self.distiller.names)}, alpha {self.alpha:g}")
        schedule, processes = self.config.schedule, self.accelerator.num_processes
        shared = f", shared by {processes} processes" if processes > 1 else ""
        bound = f", at most {schedule.max_minutes:g} minutes" if schedule.max_minutes else ""
        pictures = schedule.batch * schedule.accumulate
        say(f"schedule {self.total_steps} steps of {pictures} pictures{shared}{bound}")

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

    def _finish_epoch(self, show: Show) -> None:
        """Try the averaged weights, and write the model and, after it, the checkpoint."""
        last = self.clock.epoch == self.config.schedule.epochs or self._progress() >= 1
        verdict = Verdict()
        if self.held_out.due(self.clock.epoch, last):
            show("trying the averaged weights on what was held out")
            model = fresh_model(self.config)
            model.load_state_dict(self.average.state)
            model.to(self.device).to(memory_format=torch.channels_last).eval()
            with self.accelerator.autocast():
                verdict = self.held_out.judge(model, self.out, self.clock, last)
        if verdict.figure is not None and is_better(verdict.figure, self.best):
            self.best = verdict.figure
            self._save_model(BEST_FILE, verdict)
        self._save_model(MODEL_FILE, verdict)
        self._save()

    def _save_model(self, name: str, verdict: Verdict) -> None:
        """Write the averaged weights."""
        save_model(
            self.out / name,
            self.model,
            classes=tuple(self.config.classes),
            input_wh=self.config.input_wh,
            state=self.average.state,
            options=self.config.model.options,
            tracker=verdict.tracker,
        )

    def _is_time_to_save(self) -> bool:
        minutes = self.config.schedule.checkpoint_minutes
        return minutes is not None and time.perf_counter() - self._saved >= minutes * 60

    def _save(self) -> None:
        """Write the checkpoint."""
        scaler = self.accelerator.scaler
        write_state(
            self.out,
            {
                "config": self.config.model_dump_json(),
                "clock": vars(self.clock),
                "best": self.best,
                "model": self.model.state_dict(),
                "task_loss": self.task_loss.state_dict(),
                "distiller": self.distiller.losses.state_dict() if self.distiller else {},
                "optimizer": self.optimizer.state_dict(),
                "scaler": scaler.state_dict() if scaler is not None else {},
                "average": self.average.state_dict(),
            },
        )
        self._saved = time.perf_counter()

    def _restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint: same weights, same optimiser, same pictures to come."""
        try:
            self.model.load_state_dict(state["model"])
            self.task_loss.load_state_dict(state["task_loss"])
            if self.distiller is not None:
                self.distiller.losses.load_state_dict(state["distiller"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            self.average.load_state_dict(state["average"])
            self.clock = Clock(**state["clock"])
            self.best = state.get("best")
        except (KeyError, TypeError, ValueError, RuntimeError, AssertionError) as error:
            raise not_a_checkpoint(self.out, error) from error
        if self.is_first:
            clear_after(self.out, self.clock.step)
