"""One step in double precision, where rounding hides nothing; see ``test_processes``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from train.config import load_config
from train.data.loader import Part, batches
from train.trainer import Trainer


def main(config: str, folder: str, out: str) -> None:
    """Write the loss, its parts and the gradients of a run's first step."""
    torch.set_default_dtype(torch.float64)
    # The losses leave half precision by ``float()``.
    Tensor.float = Tensor.double  # type: ignore[method-assign]
    trainer = Trainer(load_config(config), Path(folder))
    trainer.objective.double()
    processes = trainer.accelerator
    part = Part(0, processes.process_index, processes.num_processes)
    some = list(batches(trainer.data, 0, trainer.config, part))[
        : trainer.config.schedule.accumulate
    ]
    for batch in some:
        for name in ("heatmap", "sizes_ltrb", "offsets"):
            setattr(batch, name, getattr(batch, name).double())
        assert batch.taught is not None
        for name, value in vars(batch.taught).items():
            if value is not None and value.is_floating_point():
                setattr(batch.taught, name, value.double())
    loss, parts = trainer._step(some)
    if trainer.is_first:
        named = nn.Module.named_parameters(processes.unwrap_model(trainer.objective))
        gradients = {name: value.grad for name, value in named if value.grad is not None}
        torch.save({"loss": loss, "parts": parts, "gradients": gradients}, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
