"""Models: shapes, files, and what they refuse."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from runtime.errors import UserError
from train.models import REGISTRY, build_model, load_model, save_model


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("stride", [4, 8])
def test_maps_have_the_shapes_the_registry_promises(name: str, stride: int) -> None:
    model = build_model(name, num_classes=3, embedding_dim=16, stride=stride).eval()
    with torch.inference_mode():
        maps = model(torch.rand(2, 3, 64, 96))
    shapes = {key: tuple(value.shape) for key, value in maps.items()}
    height, width = 64 // stride, 96 // stride
    assert shapes == {
        "hm": (2, 3, height, width),
        "wh": (2, 4, height, width),
        "reg": (2, 2, height, width),
        "id": (2, 16, height, width),
    }


def test_a_detector_has_no_identity_head() -> None:
    assert set(build_model("nano", embedding_dim=0)(torch.rand(1, 3, 64, 64))) == {
        "hm",
        "wh",
        "reg",
    }


def test_nano_keeps_to_its_size() -> None:
    assert build_model("nano").parameter_count() <= 1_500_000


def test_an_untrained_heatmap_is_nearly_empty() -> None:
    torch.manual_seed(0)
    scores = build_model("nano").eval()(torch.rand(1, 3, 64, 64))["hm"].sigmoid()
    assert 0.02 < scores.mean() < 0.3


@pytest.mark.parametrize("name", REGISTRY)
def test_a_saved_model_comes_back_bit_equal(name: str, tmp_path: Path) -> None:
    model = build_model(name, num_classes=2, embedding_dim=12, stride=4).eval()
    file = tmp_path / "model.safetensors"
    save_model(file, model, classes=("a", "b"), input_wh=(96, 64), options={"stride": 4})
    loaded = load_model(file)
    assert (loaded.name, loaded.classes, loaded.input_wh) == (name, ("a", "b"), (96, 64))
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        before, after = model(images), loaded(images)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_bare_file_needs_a_name(tmp_path: Path) -> None:
    file = tmp_path / "bare.safetensors"
    save_file(build_model("nano", embedding_dim=24).state_dict(), file)
    with pytest.raises(UserError, match="--arch"):
        load_model(file)
    assert load_model(file, "nano").embedding_dim == 24
    with pytest.raises(UserError, match="does not fit"):
        load_model(file, "small")


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps({"a": 1})])
def test_other_files_are_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(UserError, match="not a safetensors file") as caught:
        load_model(file)
    assert "\n" not in str(caught.value)


def test_what_does_not_exist_is_named() -> None:
    with pytest.raises(UserError, match=r"nothing\.safetensors"):
        load_model("nothing.safetensors")
    with pytest.raises(UserError, match="nano, small"):
        build_model("huge")
    with pytest.raises(UserError, match="stride 4 or 8"):
        build_model("nano", stride=3)
