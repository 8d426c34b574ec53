"""Configurations: what is read, overridden and refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from runtime.errors import UserError
from train.config import load_config

MINIMAL = {"data": [{"kind": "photos", "path": "photos"}]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


def test_the_smallest_configuration_has_defaults(file: Path) -> None:
    config = load_config(file)
    assert config.model.name == "nano"
    assert config.teacher is None
    assert config.data[0].weight == 1.0


def test_overrides_reach_into_sections_and_lists(file: Path) -> None:
    changes = ("schedule.epochs=3", "teacher.checkpoint=out/t", "data.0.weight=0.5", "seed=7")
    config = load_config(file, changes)
    assert (config.schedule.epochs, config.seed, config.data[0].weight) == (3, 7, 0.5)
    assert config.teacher is not None and config.teacher.checkpoint == Path("out/t")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("schedule.epochs=0", "schedule.epochs: Input should be greater than 0"),
        ("schedule.epoch=3", "schedule.epoch: there is no such key"),
        ("model.num_classes=2", "model.num_classes is 2, classes names 1"),
        ("input_wh=[100,64]", "multiples of 32"),
        ("distill.alpha=1.5", "distill.alpha"),
        ("data.0.kind=video", "data.0"),
        ("data.5.weight=1", "no such place"),
        ("epochs", r"--set epochs: write it as section\.key=value"),
        ("a=[1", "not YAML"),
    ],
)
def test_mistakes_are_named(file: Path, change: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_config(file, (change,))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_mapping(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(UserError, match="must hold keys"):
        load_config(tmp_path / "a.yaml")
