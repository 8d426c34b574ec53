"""Every model of the registry: its shapes, one step of training, its file, its folded form."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from runtime.errors import UserError
from tests.export.test_export import trained_like
from train.config import LossConfig
from train.data.batch import Batch
from train.losses.fairmot import FairMOTLoss
from train.models import REGISTRY, TrackingModel, build_model, load_model, save_model
from train.models.complexity import measure_complexity
from train.models.decode import boxes_at, sides_at
from train.models.folding import fold_batch_norm
from train.models.listing import list_models
from train.models.pyramid import load_timm_weights

FOREIGN_BODIES = ["timm:mobilenetv4_conv_small", "timm:convnext_atto"]
MODELS = [*REGISTRY, *FOREIGN_BODIES]
HEIGHT, WIDTH = 64, 96


def one_object(model: TrackingModel, sizes: tuple[float, ...] = (1.0, 2.0, 1.0, 2.0)) -> Batch:
    """Return a batch of one picture with an object of the last class and one of the first."""
    height, width = HEIGHT // model.stride, WIDTH // model.stride
    heatmap = torch.zeros(2, model.num_classes, height, width)
    heatmap[0, -1, 2, 3] = heatmap[1, 0, 4, 5] = 1
    return Batch(
        images=torch.randint(0, 256, (2, HEIGHT, WIDTH, 3), dtype=torch.uint8),
        heatmap=heatmap,
        cells=torch.tensor([[2 * width + 3], [4 * width + 5]]),
        sizes_ltrb=torch.tensor(sizes).expand(2, 1, 4),
        offsets=torch.full((2, 1, 2), 0.5),
        ids=torch.tensor([[0], [1]]),
        mask=torch.ones(2, 1, dtype=torch.bool),
        labelled=torch.ones(2, dtype=torch.bool),
    )


def train_a_step(model: TrackingModel, batch: Batch) -> dict[str, torch.Tensor]:
    """Take one step of gradient descent; return the losses before it."""
    loss_function = FairMOTLoss(LossConfig(), model.embedding_dim, num_ids=3)
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    loss, parts = loss_function(model(batch.model_input()), batch)
    loss.backward()
    optimizer.step()
    return {name: part.detach() for name, part in parts.items()}


@pytest.mark.parametrize(
    ("name", "embedding_dim"),
    [*((name, 12) for name in MODELS), ("nano", 0), ("dla_34", 0), ("yolov5s", 0)],
)
def test_a_model_trains_a_step_and_comes_back_bit_equal(
    name: str, embedding_dim: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = build_model(name, num_classes=2, embedding_dim=embedding_dim)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    parts = train_a_step(model, one_object(model))
    assert set(parts) == {"hm", "wh", "reg"} | ({"id"} if embedding_dim else set())
    assert all(torch.isfinite(part) for part in parts.values())
    after = model.state_dict()
    # No layer is built and then left out of the way to a loss.
    trained = {key: value for key, value in model.named_parameters() if value.requires_grad}
    assert [key for key, value in trained.items() if value.grad is None] == []
    assert sum(not torch.equal(before[key], after[key]) for key in trained) > len(trained) / 2
    file = tmp_path / "model.safetensors"
    save_model(file, model, classes=("a", "b"), input_wh=(WIDTH, HEIGHT))
    loaded = load_model(file)
    assert (loaded.name, loaded.num_classes) == (name, 2)
    assert loaded.embedding_dim == embedding_dim
    images = torch.rand(1, 3, HEIGHT, WIDTH)
    with torch.inference_mode():
        expected, maps = model.eval()(images), loaded(images)
    assert maps.keys() == expected.keys()
    assert all(torch.equal(maps[head], expected[head]) for head in expected)
    shape = (HEIGHT // model.stride, WIDTH // model.stride)
    channels = {head: tuple(value.shape) for head, value in maps.items()}
    wanted = {"hm": (1, 2, *shape), "wh": (1, 4, *shape), "reg": (1, 2, *shape)}
    assert channels == wanted | ({"id": (1, 12, *shape)} if embedding_dim else {})


@pytest.mark.parametrize("name", MODELS)
def test_folding_changes_nothing_but_rounding(name: str) -> None:
    torch.manual_seed(1)
    model = trained_like(build_model(name, embedding_dim=8))
    folded = copy.deepcopy(model)
    fold_batch_norm(folded)
    left = sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in folded.modules())
    # What follows a transposed convolution cannot be folded by the same formula.
    allowed = 3 if name.startswith(("resnet", "timm")) else 0
    assert left == allowed
    images = torch.rand(1, 3, HEIGHT, WIDTH)
    with torch.inference_mode():
        expected, maps = model(images), folded(images)
    for head, value in expected.items():
        error = (maps[head] - value).norm() / value.norm()
        assert error < 1e-4, head


def test_the_stride_of_the_family_is_4() -> None:
    students = {"nano", "small", "mobile", "mobilenet_v2"}
    with torch.device("meta"):
        strides = {name: build_model(name).stride for name in REGISTRY}
    assert strides == {name: 8 if name in students else 4 for name in REGISTRY}


def test_complexity_is_counted_by_hand_for_a_head() -> None:
    with_id = measure_complexity("nano", (64, 64))
    model = build_model("nano")
    cells, hidden = 8 * 8, 64
    head = cells * 2 * (9 * model.feature_channels * hidden + hidden * 64)
    with torch.device("meta"):
        without = build_model("nano", embedding_dim=0)
    parameters = 9 * 64 * hidden + hidden + hidden * 64 + 64
    assert with_id.parameters - without.parameter_count() == parameters
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        without(torch.zeros(1, 3, 64, 64, device="meta"))
    assert round(with_id.gflops * 1e9) - counter.get_total_flops() == head


def test_the_list_names_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    list_models()
    out = capsys.readouterr().out
    assert all(name in out for name in REGISTRY)
    assert "1088x608" in out and "timm:NAME" in out


@pytest.mark.parametrize("name", ["nano", "dla_34_conv"])
def test_width_and_height_take_the_place_of_ltrb(name: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {} if name == "nano" else {"ltrb": False}
    if name == "nano":
        with pytest.raises(UserError, match="ltrb"):
            build_model(name, ltrb=False)
        return
    torch.manual_seed(0)
    model = build_model(name, embedding_dim=0, **options)
    uneven = train_a_step(model, one_object(model, (0.5, 2.0, 1.5, 2.0)))
    torch.manual_seed(0)
    again = build_model(name, embedding_dim=0, **options)
    even = train_a_step(again, one_object(again, (1.0, 2.0, 1.0, 2.0)))
    # Only the sums of opposite sides are told.
    torch.testing.assert_close(uneven["wh"], even["wh"])
    save_model(
        tmp_path / "m.safetensors", model, classes=("p",), input_wh=(64, 64), options=options
    )
    assert load_model(tmp_path / "m.safetensors").heads["wh"][-1].out_channels == 2


def test_boxes_of_widths_and_heights_are_centred() -> None:
    maps = {"wh": torch.zeros(1, 2, 5, 6), "reg": torch.zeros(1, 2, 5, 6)}
    maps["wh"][0, :, 3, 4] = torch.tensor([2.0, 6.0])
    cells = torch.tensor([[3 * 6 + 4]])
    assert sides_at(maps, cells).tolist() == [[[1.0, 3.0, 1.0, 3.0]]]
    assert boxes_at(maps, cells, stride=4).tolist() == [[[12.0, 0.0, 20.0, 24.0]]]


def test_what_timm_does_not_have_is_said_in_one_line() -> None:
    with pytest.raises(UserError, match=r"no model 'mobilenetv4_tiny'.*mobilenetv4") as caught:
        build_model("timm:mobilenetv4_tiny")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="strides"):
        build_model("timm:vit_tiny_patch16_224")


def test_a_timm_body_starts_from_published_weights(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    source = timm.create_model("convnext_atto")
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    model = build_model("timm:convnext_atto", embedding_dim=0)
    load_timm_weights(model.body, tmp_path / "model.safetensors")
    # timm names the stages of a body otherwise than those of the whole network.
    theirs = source.stages[0].blocks[0].mlp.fc1.weight
    own = model.body.base.get_parameter("stages_0.blocks.0.mlp.fc1.weight")
    assert torch.equal(own, theirs)
    (tmp_path / "other.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="do not fit convnext_atto"):
        load_timm_weights(model.body, tmp_path / "other.safetensors")
