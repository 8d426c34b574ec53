"""``kd-train`` as it is called: the command that needs no name, and those that do."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

import train.trainer
from runtime.errors import UserError
from train.cli import cli


def call(*arguments: object) -> str:
    """Run the command and return what it printed; its errors are raised."""
    runner = CliRunner()
    result = runner.invoke(cli, [str(argument) for argument in arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.mark.parametrize("arguments", [(), ("--resume",), ("run",), ("config.yaml",)])
def test_without_a_configuration_it_says_what_is_missing(arguments: tuple[str, ...]) -> None:
    with pytest.raises(click.UsageError, match="give a CONFIG and --out DIR, or --list-models"):
        call(*arguments)


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("config.yaml", "--help")])
def test_help_shows_both_uses(arguments: tuple[str, ...]) -> None:
    shown = call(*arguments)
    assert "CONFIG --out DIR" in shown
    assert "COMMAND [ARGS]" in shown
    for word in ("--set", "--strict", "--list-models", "convert"):
        assert word in shown
    assert "\n  run " not in shown
    assert "SOURCE OUT.safetensors" in call("convert", "--help")


def test_a_configuration_needs_no_command(
    tiny_sequence: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class StandInTrainer:
        def __init__(self, config: object, out: Path, resume: bool, strict: bool) -> None:
            seen.append((out, resume, strict))

        def run(self) -> Path:
            return tmp_path / "model.safetensors"

    monkeypatch.setattr(train.trainer, "Trainer", StandInTrainer)
    config = tmp_path / "config.yaml"
    config.write_text(f"data: [{{kind: mot, path: {tiny_sequence}}}]\n")
    out = tmp_path / "out"
    assert "model: " in call(config, "--out", out)
    call("--out", out, "--strict", config)
    call("run", config, "--out", out, "--resume")
    assert seen == [(out, False, False), (out, False, True), (out, True, False)]


def test_convert_writes_one_file_and_one_line(tmp_path: Path) -> None:
    source, out = tmp_path / "w.pth", tmp_path / "w.safetensors"
    torch.save({"state_dict": {"a": torch.ones(500, 1000), "b": torch.ones(3)}}, source)
    assert call("convert", source, out) == f"weights: {out}, 2 tensors, 2.0 MB\n"
    assert load_file(out)["a"].shape == (500, 1000)
    with pytest.raises(UserError, match="does not exist"):
        call("convert", tmp_path / "nothing.pth", out)
    with pytest.raises(click.MissingParameter):
        call("convert", source)
