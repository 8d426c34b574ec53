"""DINOv2 as a teacher: the published network's features, and no others.

No published weights are at hand here; ``dinov2_reference`` stands for the published network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from runtime.errors import UserError
from tests.train.dinov2_reference import (
    TINY,
    State,
    in_chunks,
    in_timm,
    in_transformers,
    published,
    reference,
    resampling,
)
from tests.train.parity.formula import picture, uniform
from train.config import load_config
from train.teachers import dinov2_weights
from train.teachers.config import DINOv2TeacherConfig
from train.teachers.dinov2 import MEAN, STD, DINOv2Teacher, patch_grid, positions_at
from train.teachers.dinov2_weights import SIZES, Size, build_dinov2
from train.teachers.output import to_grid

PRESET = Path(__file__).resolve().parents[2] / "train" / "presets" / "thesis.yaml"
LARGER = Size(width=36, depth=3, heads=2)


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let base and small be networks of three blocks."""
    monkeypatch.setitem(SIZES, "base", TINY)
    monkeypatch.setitem(SIZES, "small", LARGER)


def saved(path: Path, state: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def teacher(path: Path, stride: int = 4, **options: Any) -> DINOv2Teacher:
    return DINOv2Teacher(
        DINOv2TeacherConfig(kind="dinov2", weights=path, **options), student_stride=stride
    )


def assert_same(features: Tensor | None, expected: Tensor, stride: int = 4) -> None:
    """Compare features with a reference on the grid of patches of a picture of 80 x 144."""
    assert features is not None
    expected = to_grid(expected.float(), (80 // stride, 144 // stride), F.adaptive_avg_pool2d)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("named", "file"),
    [
        (dict, "w.pth"),
        (in_timm, "w.safetensors"),
        (in_chunks, "w.pth"),
        (in_transformers, "w.safetensors"),
        (lambda state: in_transformers(state, "dinov2."), "w.pt"),
    ],
    ids=["published", "timm", "chunks", "transformers", "transformers with a prefix"],
)
@pytest.mark.parametrize("registers", [0, 4])
def test_features_are_the_published_networks_under_all_names(
    named: Callable[[State], State], file: str, registers: int, tmp_path: Path
) -> None:
    state, images = published(registers), picture((144, 80))
    expected = reference(state, images)
    assert expected.shape == (1, 24, 6, 10)
    path = saved(tmp_path / file, named(state))
    taught = teacher(path)
    assert_same(taught(images).features, expected)
    assert taught.name == ("dinov2 base with 4 registers" if registers else "dinov2 base")


def test_a_training_checkpoint_is_opened(tmp_path: Path) -> None:
    state, images = published(), picture((144, 80))
    path = saved(tmp_path / "teacher_checkpoint.pth", {"teacher": in_chunks(state)})
    assert_same(teacher(path)(images).features, reference(state, images))


@pytest.mark.parametrize(
    ("layer", "scale", "stride", "registers"),
    [
        (1, 1.0, 8, 0),
        (2, 1.0, 4, 4),
        (3, 0.6, 4, 0),
        (None, 0.6, 8, 4),
        (None, 2.0, 8, 0),
    ],
)
def test_layers_scales_and_strides(
    layer: int | None, scale: float, stride: int, registers: int, tmp_path: Path
) -> None:
    state, images = published(registers), torch.cat([picture((144, 80)), picture((144, 80)) / 2])
    taught = teacher(saved(tmp_path / "w.pth", state), stride, scale=scale, layer=layer)
    expected = reference(state, images, scale, layer)
    assert_same(taught(images).features, expected, stride)
    assert len(taught.blocks) == (layer or 3)


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("grid_hw", [(43, 78), (23, 30), (37, 30), (1, 50)])
def test_position_embeddings_are_interpolated_as_published(
    grid_hw: tuple[int, int], smooth: bool
) -> None:
    own = torch.from_numpy(uniform("positions", (5, 37, 37)))
    offset = 0.0 if smooth else 0.1
    down, right = (resampling(37, side, smooth, offset) for side in grid_hw)
    found = positions_at(own.float()[None], grid_hw, smooth)
    torch.testing.assert_close(found[0], (down @ own @ right.T).float(), atol=1e-5, rtol=0)


def test_the_trained_grid_is_not_interpolated(tmp_path: Path) -> None:
    state, images = published(), picture((518, 518))
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    kernel, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    patches = F.conv2d((images - mean) / std, kernel, bias, stride=14)
    patches = patches + state["pos_embed"][0, 1:].T.reshape(1, 24, 37, 37)
    taught = teacher(saved(tmp_path / "w.pth", state), 14, layer=1)
    inputs: list[Tensor] = []
    taught.blocks[0].register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    taught(images)
    torch.testing.assert_close(inputs[0][:, 1:], patches.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("size", ["small", "base", "large"])
@pytest.mark.parametrize("registers", ["", "reg4_"])
def test_networks_are_timms(size: str, registers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    own: Any
    theirs: Any
    with torch.device("meta"):
        own = build_dinov2(SIZES[size], 4 if registers else 0)
        theirs = timm.create_model(
            f"vit_{size}_patch14_{registers}dinov2", pretrained=False, num_classes=0, img_size=518
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
    if not registers:
        # The class token's position embedding is part of that token here.
        shapes["pos_embed"] = (1, shapes["pos_embed"][1] - 1, shapes["pos_embed"][2])
    assert {name: tuple(tensor.shape) for name, tensor in own.state_dict().items()} == shapes
    assert own.blocks[0].attn.num_heads == theirs.blocks[0].attn.num_heads
    assert own.norm.eps == theirs.norm.eps == 1e-6


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("centre_xy", [(24, 56), (120, 24), (72, 40)])
def test_what_is_seen_lies_at_its_place_in_the_students_grid(
    centre_xy: tuple[int, int], scale: float, stride: int, tmp_path: Path
) -> None:
    taught = teacher(saved(tmp_path / "w.pth", published()), stride, scale=scale, layer=1)
    dark = torch.zeros(1, 3, 80, 144)
    bright = dark.clone()
    x, y = centre_xy
    bright[..., y - 8 : y + 8, x - 8 : x + 8] = 1
    before, after = taught(dark).features, taught(bright).features
    assert before is not None and after is not None
    energy = (after - before).square().sum(1)[0]
    # Attention lets all places know a little; this is the background.
    energy = (energy - energy.median()).clamp(min=0)
    rows, columns = torch.meshgrid(*(torch.arange(n) + 0.5 for n in energy.shape), indexing="ij")
    found = [float((energy * place).sum() / energy.sum() * stride) for place in (columns, rows)]
    assert found == pytest.approx(centre_xy, abs=4)


def test_the_teacher_is_frozen(tmp_path: Path) -> None:
    taught = teacher(saved(tmp_path / "w.pth", published()), 8)
    assert taught.train() is taught and not any(part.training for part in taught.modules())
    assert not any(parameter.requires_grad for parameter in taught.parameters())
    assert not any(
        isinstance(part, torch.nn.modules.batchnorm._NormBase) for part in taught.modules()
    )
    images = picture((144, 80)).requires_grad_()
    before = {name: value.clone() for name, value in taught.state_dict().items()}
    seen = taught(images)
    assert seen.features is not None and not seen.features.requires_grad
    assert (seen.heatmap, seen.cells, seen.scores, seen.sides, seen.offsets) == (None,) * 5
    assert seen.embeddings is None and taught.embedding_dim == 0
    assert seen.features.shape == (1, taught.feature_channels, 10, 18)
    assert taught.feature_channels == 24
    after = taught.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    # A batch's other pictures make no difference.
    both = taught(torch.cat([images, images / 3])).features
    assert both is not None
    torch.testing.assert_close(both[:1], seen.features, atol=1e-5, rtol=1e-5)


def test_the_callers_autocast_holds(tmp_path: Path) -> None:
    taught = teacher(saved(tmp_path / "w.pth", published()), 8)
    kinds = set()
    block: Any = taught.blocks[0]
    block.attn.qkv.register_forward_hook(lambda _, __, out: kinds.add(out.dtype))
    exact = taught(picture((144, 80))).features
    with torch.autocast("cpu", torch.bfloat16):
        rough = taught(picture((144, 80))).features
    assert kinds == {torch.float32, torch.bfloat16}
    assert exact is not None and rough is not None
    assert F.cosine_similarity(exact, rough.float(), dim=1).min() > 0.995


def test_a_picture_smaller_than_a_patch_is_one_patch() -> None:
    assert patch_grid((5, 30), 1.0) == (1, 2)


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        teacher(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_file(tmp_path: Path) -> None:
    assert "none.pth does not exist" in refusal(tmp_path / "none.pth")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "w.pth").touch()
    assert "w.pth is empty" in refusal(tmp_path / "w.pth")


def test_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "w.pth is a text file" in refusal(tmp_path / "w.pth")


@pytest.mark.parametrize("named", [dict, in_transformers])
@pytest.mark.parametrize("missing", ["blocks.2.", "norm.", "blocks.0.attn.qkv.bias", "pos_embed"])
def test_a_file_that_is_not_whole(
    missing: str, named: Callable[[State], State], tmp_path: Path
) -> None:
    state = published()
    half = {name: tensor for name, tensor in state.items() if not name.startswith(missing)}
    message = refusal(saved(tmp_path / "w.pth", named(half)))
    left = len(state) - len(half)
    # The mask token is in no network.
    assert f"w.pth does not fit dinov2 base, {len(half) - 1} of {len(state) - 1} tensors" in message
    assert f"{left} missing ({missing}" in message


def test_a_query_without_its_key(tmp_path: Path) -> None:
    state = in_transformers(published())
    del state["encoder.layer.1.attention.attention.key.weight"]
    assert "1 missing (blocks.1.attn.qkv.weight)" in refusal(saved(tmp_path / "w.pth", state))


def test_another_size_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", in_transformers(published(size=LARGER)))
    message = refusal(path)
    assert "w.pth holds dinov2 small, the configuration says base: set size: small" in message
    assert teacher(path, size="small").feature_channels == LARGER.width


def test_a_giant_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dinov2_weights, "GIANT_WIDTH", 48)
    path = saved(tmp_path / "w.pth", published(size=Size(48, 3, 2)))
    assert "holds dinov2 giant, the configuration says base: one of" in refusal(path)


def test_more_blocks_than_the_network_has(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", published(size=Size(24, 4, 2)))
    assert "14 unknown to the model (blocks.3.norm1.weight" in refusal(path)


@pytest.mark.parametrize(
    ("name", "shape", "told"),
    [
        ("norm.bias", (25,), "norm.bias 25 -> 24"),
        ("pos_embed", (1, 257, 24), "pos_embed 1x257x24 -> 1x1369x24"),
        ("patch_embed.proj.weight", (24, 3, 16, 16), "weight 24x3x16x16 -> 24x3x14x14"),
        ("cls_token", (), "cls_token scalar -> 1x1x24"),
        ("register_tokens", (4, 24), "1 unknown to the model"),
    ],
)
def test_a_tensor_of_another_shape(
    name: str, shape: tuple[int, ...], told: str, tmp_path: Path
) -> None:
    message = refusal(saved(tmp_path / "w.pth", published() | {name: torch.zeros(shape)}))
    assert told in message


def test_two_tensors_for_one_place(tmp_path: Path) -> None:
    state = published()
    message = refusal(saved(tmp_path / "w.pth", state | {"backbone.norm.bias": torch.zeros(24)}))
    assert "1 unknown to the model (backbone.norm.bias)" in message


def test_whole_numbers_are_refused(tmp_path: Path) -> None:
    state = published() | {"norm.bias": torch.zeros(24, dtype=torch.int8)}
    assert "whole numbers in 1 tensors such as norm.bias" in refusal(
        saved(tmp_path / "w.pth", state)
    )


def test_another_network_altogether(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", {"hm.0.weight": torch.ones(3, 3)})
    assert "0 of 48 tensors do: 48 missing" in refusal(path)


def test_a_block_the_network_does_not_have(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", published())
    message = refusal(path, layer=4)
    assert message == (
        "layer: 4, but dinov2 base has 3 blocks: choose 1 to 3, or leave it out for the last"
    )


def test_the_preset_is_the_papers_recipe() -> None:
    config = load_config(PRESET)
    assert (config.model.name, config.input_wh) == ("hrnet_18", (1088, 608))
    assert config.distill is not None and config.distill.alpha == 0.5
    (taught,) = config.distill.teachers
    assert isinstance(taught, DINOv2TeacherConfig) and taught.size == "base"
    assert {name: weight for name, weight in taught.losses if weight} == {"location": 1.0}
    assert config.schedule.images_per_epoch % config.schedule.batch == 0
    assert load_config(PRESET, ("distill=null",)).distill is None
