"""Checkpoints of other projects: exported by name, and never with a head they do not fill."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from export.exporter import ExportConfig, export_model
from runtime.engines import open_engine
from runtime.errors import UserError
from tests.export.test_export import trained_like
from train.models import build_model


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """Weights under the names that FairMOT's family uses."""
    model = trained_like(build_model("nano", embedding_dim=16))
    return {
        key.removeprefix("heads.").removeprefix("body."): value
        for key, value in model.state_dict().items()
    }


def config_for(state: dict[str, torch.Tensor], directory: Path, arch: str | None) -> ExportConfig:
    file = directory / "w.pth"
    torch.save({"epoch": 30, "state_dict": state}, file)
    out = directory / "out"
    out.mkdir(exist_ok=True)
    return ExportConfig(
        checkpoint=file, out=out, arch=arch, size_wh=(96, 64), topk=20, parity_frames=2
    )


def test_a_whole_checkpoint_is_exported(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    done = export_model(config_for(state, tmp_path, "nano"))
    file, result = done.file, done.result
    info = open_engine(file, "cpu").info
    assert (info.arch, info.embedding_dim, info.classes) == ("nano", 16, ("person",))
    assert result.passed


@pytest.mark.parametrize("head", ["hm", "wh", "reg"])
def test_a_missing_head_is_not_made_up(
    head: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    partial = {key: value for key, value in state.items() if not key.startswith(head)}
    with pytest.raises(UserError, match=rf"4 missing \({head}\.0\.weight"):
        export_model(config_for(partial, tmp_path, "nano"))
    assert not list((tmp_path / "out").iterdir())
