"""Checkpoints of the original networks give the original's numbers.

What the original networks gave was recorded once by ``parity/record.py``; the weights come from a
formula, so that no file of weights is needed.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runtime.errors import UserError
from tests.train.parity.formula import checkpoint, picture, sample_places
from tests.train.parity.record import markdown
from train.models import load_model

FOLDER = Path(__file__).parent / "parity"
ROOT = Path(__file__).resolve().parents[2]
NETWORKS = ("dla_34", "hrnet_18", "hrnet_32", "yolov5s")
LARGEST_ERROR = 1e-4


@cache
def recorded(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def write_original(name: str, folder: Path) -> Path:
    """Write a checkpoint as FairMOT writes it after training on several GPUs."""
    record = recorded(name)
    shapes = {key: tuple(shape) for key, shape in record["shapes"].items()}
    state = checkpoint(shapes, record["gain"])
    file = folder / f"fairmot_{name}.pth"
    torch.save(
        {
            "epoch": 30,
            "state_dict": {f"module.{key}": value for key, value in state.items()},
            "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-4}]},
        },
        file,
    )
    return file


def relative_errors(model: torch.nn.Module, name: str) -> dict[str, float]:
    """Compare with the recorded figures, per head."""
    record = recorded(name)
    with torch.inference_mode():
        maps = model(picture(tuple(record["size_wh"])))
    assert maps.keys() == record["heads"].keys()
    errors = {}
    for head, expected in record["heads"].items():
        values = maps[head].double().numpy()
        assert list(values.shape) == expected["shape"]
        sampled = values.reshape(-1)[sample_places(values.shape)]
        theirs = np.array(expected["values"])
        error = np.linalg.norm(sampled - theirs) / np.linalg.norm(theirs)
        # The norm of the whole map tells of places that were not sampled.
        norm = np.linalg.norm(values)
        errors[head] = max(float(error), abs(norm - expected["norm"]) / expected["norm"])
    return errors


@pytest.mark.parametrize("name", NETWORKS)
def test_a_checkpoint_of_the_original_gives_its_numbers(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # No name is given: the network is recognised by its tensors.
    model = load_model(write_original(name, tmp_path), strict=True)
    assert model.name == name
    assert capsys.readouterr().out == ""
    errors = relative_errors(model, name)
    assert max(errors.values()) < LARGEST_ERROR, errors


def test_one_wrong_tensor_would_be_seen(tmp_path: Path) -> None:
    model = load_model(write_original("dla_34", tmp_path))
    layer = model.body.ida_up.proj_1.conv.conv_offset_mask
    with torch.no_grad():
        # The order of y and x in the shifts, which implementations disagree on.
        swapped = torch.arange(18).view(9, 2).flip(1).flatten()
        layer.weight[:18] = layer.weight[:18][swapped]
    assert max(relative_errors(model, "dla_34").values()) > 10 * LARGEST_ERROR


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    file = write_original("yolov5s", tmp_path)
    with pytest.raises(UserError, match="does not fit the model"):
        load_model(file, "hrnet_18", strict=True)


def test_the_table_in_the_readme_is_the_one_that_was_recorded() -> None:
    content = json.loads((ROOT / "benchmarks" / "results" / "parity.json").read_text())
    assert markdown(content) in (ROOT / "README.md").read_text(encoding="utf-8")
    assert [row["model"] for row in content["rows"]] == list(NETWORKS)
    for row in content["rows"]:
        assert row["keys"] == len(recorded(row["model"])["shapes"])
        assert max(row["relative_error"].values()) < LARGEST_ERROR
