"""Configurations: what is read, overridden and refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from runtime.errors import UserError
from train.config import load_config
from train.teachers.config import FairMOTTeacherConfig

MINIMAL = {"data": [{"kind": "photos", "path": "photos"}]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    return path


def test_the_smallest_configuration_has_defaults(file: Path) -> None:
    config = load_config(file)
    assert config.model.name == "nano"
    assert config.distill is None
    assert config.data[0].weight == 1.0


def test_overrides_reach_into_sections_and_lists(file: Path) -> None:
    changes = (
        "schedule.epochs=3",
        "distill.teachers=[{kind: fairmot, checkpoint: out/other}]",
        "distill.teachers.0.checkpoint=out/t",
        "data.0.weight=0.5",
        "seed=7",
    )
    config = load_config(file, changes)
    assert (config.schedule.epochs, config.seed, config.data[0].weight) == (3, 7, 0.5)
    assert config.distill is not None
    (teacher,) = config.distill.teachers
    assert isinstance(teacher, FairMOTTeacherConfig) and teacher.checkpoint == Path("out/t")
    assert (config.distill.alpha, teacher.losses.feature, teacher.losses.location) == (0.5, 1, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("schedule.epochs=0", "schedule.epochs: Input should be greater than 0"),
        ("schedule.epoch=3", "schedule.epoch: there is no such key"),
        ("model.num_classes=2", "model.num_classes is 2, classes names 1"),
        ("input_wh=[100,64]", "multiples of 32"),
        ("distill.alpha=1.5", "distill.alpha"),
        ("distill.teachers=[]", "distill.teachers"),
        ("distill.teachers=[{kind: onnx}]", "give it a detector, an embedder, or both"),
        (
            "distill.teachers=[{kind: dinov2, weights: d.pth, losses: {heatmap: 1}}]",
            "heatmap: there is no such key",
        ),
        (
            "distill.teachers=[{kind: dinov2, weights: d.pth, weight: 0}]",
            "all teachers have weight 0",
        ),
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


def test_a_preset_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config("thesis")
    assert config.distill is not None and config.model.name == "hrnet_18"
    (teacher,) = config.distill.teachers
    assert teacher.kind == "dinov2" and teacher.losses.location > 0
    # A file of that name comes first.
    (tmp_path / "thesis").write_text(yaml.safe_dump(MINIMAL))
    assert load_config("thesis").model.name == "nano"
    with pytest.raises(UserError, match=r"configuration \.\./thesis does not exist"):
        load_config("../thesis")


def test_a_file_that_is_no_mapping(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(UserError, match="must hold keys"):
        load_config(tmp_path / "a.yaml")
