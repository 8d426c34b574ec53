"""Models: shapes, files, and what they refuse."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torchvision.models import mobilenet_v2

from runtime.errors import UserError
from train.models import TrackingModel, build_model, load_model, save_model
from train.models.pretrained import load_body_weights

# Other models have one stride; all are tested in test_family.
STRIDES = [("nano", 4), ("nano", 8), ("small", 4), ("small", 8), ("mobile", 8), ("mobilenet_v2", 8)]


def build_with_stride(name: str, stride: int, **options: int) -> TrackingModel:
    own = {} if name.startswith("mobile") else {"stride": stride}
    return build_model(name, **options, **own).eval()


@pytest.mark.parametrize(("name", "stride"), STRIDES)
def test_maps_have_the_shapes_the_registry_promises(name: str, stride: int) -> None:
    model = build_with_stride(name, stride, num_classes=3, embedding_dim=16)
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


@pytest.mark.parametrize(("name", "stride"), STRIDES)
def test_a_saved_model_comes_back_bit_equal(name: str, stride: int, tmp_path: Path) -> None:
    model = build_with_stride(name, stride, num_classes=2, embedding_dim=12)
    file = tmp_path / "model.safetensors"
    options = {} if name.startswith("mobile") else {"stride": stride}
    save_model(file, model, classes=("a", "b"), input_wh=(96, 64), options=options)
    loaded = load_model(file)
    assert (loaded.name, loaded.classes, loaded.input_wh) == (name, ("a", "b"), (96, 64))
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        before, after = model(images), loaded(images)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_what_does_not_exist_is_named() -> None:
    with pytest.raises(UserError, match="nano, small"):
        build_model("huge")
    with pytest.raises(UserError, match="stride 4 or 8"):
        build_model("nano", stride=3)


def imagenet_file(path: Path, old_names: bool) -> dict[str, torch.Tensor]:
    """Write MobileNetV2 weights, with the layer names of one publisher or another's."""
    torch.manual_seed(3)
    state = mobilenet_v2().state_dict()
    if old_names:
        state = {f"features.layer{index}": value for index, value in enumerate(state.values())}
    torch.save(state, path)
    return state


@pytest.mark.parametrize("old_names", [False, True])
def test_a_body_starts_from_imagenet(old_names: bool, tmp_path: Path) -> None:
    state = imagenet_file(tmp_path / "w.pt", old_names)
    model = build_model("mobilenet_v2").eval()
    load_body_weights(model, tmp_path / "w.pt")
    own = list(model.body.stages.state_dict().values())
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(own, state.values(), strict=False))


def test_frozen_stages_do_not_move_and_the_others_do() -> None:
    model = build_model("mobilenet_v2", frozen=1).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sum(value.square().mean() for value in model(torch.rand(2, 3, 64, 64)).values()).backward()
    optimizer.step()
    changed = {
        key for key, value in model.state_dict().items() if not torch.equal(value, before[key])
    }
    assert not any(key.startswith("body.stages.0.") for key in changed)
    assert any(key.startswith("body.stages.1.") for key in changed)
    assert any(key.startswith("body.laterals.") for key in changed)


def test_the_folded_copies_of_frozen_stages_follow_the_weights(tmp_path: Path) -> None:
    model = build_model("mobilenet_v2", frozen=3).train()
    images = torch.rand(2, 3, 64, 64)
    for seed in range(2):
        torch.manual_seed(seed)
        fresh = build_model("mobilenet_v2", frozen=3)
        model.load_state_dict(fresh.state_dict())
        keys = set(model.state_dict())
        lateral = model.body.laterals[0]
        seen = []
        hook = lateral.register_forward_hook(
            lambda _, inputs, __, seen=seen: seen.append(inputs[0])
        )
        model.train()(images)
        model.eval()(images)
        hook.remove()
        torch.testing.assert_close(seen[0], seen[1], rtol=1e-4, atol=1e-4)
        assert set(model.state_dict()) == keys


def test_other_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.pt"
    torch.save({"features.0": torch.zeros(3)}, file)
    with pytest.raises(UserError, match="not those of MobileNetV2"):
        load_body_weights(build_model("mobilenet_v2"), file)
    file.write_bytes(pickle.dumps(print, protocol=2))
    with pytest.raises(UserError, match=r"checkpoint .*w\.pt"):
        load_body_weights(build_model("mobilenet_v2"), file)
    imagenet_file(file, old_names=False)
    with pytest.raises(UserError, match="nano has no body"):
        load_body_weights(build_model("nano"), file)
