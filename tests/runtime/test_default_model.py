"""The person tracker that comes with the package."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from benchmarks.contenders.exported import exported_models
from runtime.cli import main
from runtime.default import DEFAULT_MODEL, DEFAULT_MODEL_INT8, packaged_model
from runtime.detector import load
from tests.runtime.conftest import write_images
from train.cli import DEFAULT_STUDENT
from train.config import load_config
from train.models.checkpoint import load_model


@pytest.mark.parametrize("given", [None, "default-int8"])
def test_kd_run_takes_it_and_says_so(tmp_path, monkeypatch, capfd, given):
    monkeypatch.chdir(tmp_path)
    images = write_images(tmp_path / "walk", 3)
    option = ["--model", given] if given else []
    monkeypatch.setattr(sys, "argv", ["kd-run", str(images), "--out", "out", *option])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert f"({given or 'default'}.onnx)" in "".join(capfd.readouterr())
    assert (tmp_path / "out" / "tracks.txt").is_file()


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").write_text("")
    assert packaged_model("default") == ("default", None)
    assert packaged_model(None)[0] == str(DEFAULT_MODEL)


def test_benchmarks_take_it_by_name():
    found = exported_models(["default", "small=default-int8"])
    assert [(one.name, one.path) for one in found] == [
        ("default", DEFAULT_MODEL),
        ("small", DEFAULT_MODEL_INT8),
    ]


@pytest.mark.parametrize("file", [DEFAULT_MODEL, DEFAULT_MODEL_INT8])
def test_it_fits_into_the_wheel_and_runs(file):
    assert file.stat().st_size <= 6e6
    with load(file, "cpu", 1) as detector:
        found = detector(np.full((480, 640, 3), 127, np.uint8))
    assert detector.info.classes == ("person",)
    assert len(found.scores) < 3, "a grey picture shows nobody"


def test_the_student_behind_it_is_the_preset_s_model():
    student = load_model(DEFAULT_STUDENT)
    assert student.name == load_config("default").model.name
    assert all(torch.isfinite(value).all() for value in student.state_dict().values())
