"""Deformable convolutions in an exported graph: both forms compute what PyTorch does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import export.exporter
from export.cli import cli
from export.deform import DeformForm, installed_onnxruntime, resolve_form
from export.exporter import ExportConfig, export_model
from export.fused import FusedTracker
from export.onnx_file import save_onnx, to_onnx
from runtime.errors import UserError
from runtime.model_info import ModelInfo
from train.models import TrackingModel
from train.models.deform import DeformConv2d, use_form
from train.models.heads import initialise

WIDTH, HEIGHT = 96, 64
STRIDE = 4
TOPK = 20
CAN_RUN_OPERATOR = resolve_form("auto", 20, installed_onnxruntime()) == "operator"
needs_operator = pytest.mark.skipif(not CAN_RUN_OPERATOR, reason="ONNX Runtime is too old")


def small_model() -> TrackingModel:
    """Return a tracker with deformable convolutions that shift, one of them with a stride."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        DeformConv2d(8, 12, stride=2),
        nn.ReLU(),
        DeformConv2d(12, 8),
    )
    model = TrackingModel(
        "small_deform",
        body,
        feature_channels=8,
        stride=STRIDE,
        num_classes=2,
        embedding_dim=6,
        head_channels=8,
    )
    initialise(model)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, DeformConv2d):
                layer.weight.mul_(4)
                layer.bias.normal_(std=0.1)
                layer.conv_offset_mask.weight.normal_(std=0.1)
                layer.conv_offset_mask.bias.normal_()
        model.heads["wh"][-1].bias.fill_(2.0)
    model.classes, model.input_wh = ("a", "b"), (WIDTH, HEIGHT)
    return model.eval()


def info() -> ModelInfo:
    return ModelInfo(
        arch="small_deform",
        size_wh=(WIDTH, HEIGHT),
        stride=STRIDE,
        topk=TOPK,
        embedding_dim=6,
        classes=("a", "b"),
        tool_version="test",
    )


def write(form: str, opset: int, path: Path) -> onnx.ModelProto:
    graph = FusedTracker(small_model(), TOPK)
    use_form(graph, form)
    save_onnx(to_onnx(graph, info(), opset), info(), path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return model


def test_a_model_without_deformable_convolutions_has_nothing_to_choose() -> None:
    model = TrackingModel(
        "none",
        nn.Conv2d(3, 8, 3, stride=4, padding=1),
        feature_channels=8,
        stride=STRIDE,
        num_classes=2,
        embedding_dim=6,
        head_channels=8,
    )
    graph = FusedTracker(model, TOPK)
    use_form(graph, "operator")
    assert {node.domain for node in to_onnx(graph, info(), 18).graph.node} == {""}


@pytest.mark.parametrize(
    ("form", "opset"),
    [
        ("plain", 18),
        ("plain", 22),
        pytest.param("operator", 20, marks=needs_operator),
        pytest.param("operator", 22, marks=needs_operator),
    ],
)
def test_the_graph_equals_the_model(form: str, opset: int, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    written = write(form, opset, path)
    assert [(entry.domain, entry.version) for entry in written.opset_import] == [("", opset)]
    operators = [node.op_type for node in written.graph.node]
    assert {node.domain for node in written.graph.node} == {""}
    assert not written.functions
    if form == "operator":
        assert operators.count("DeformConv") == 2 and "GridSample" not in operators
    else:
        assert "DeformConv" not in operators and operators.count("GridSample") == 2 * 9

    frames = np.random.default_rng(0).integers(0, 256, (1, HEIGHT, WIDTH, 3)).astype(np.uint8)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    boxes, scores, classes, embeddings = session.run(None, {"frames": frames})
    with torch.no_grad():
        expected = FusedTracker(small_model(), TOPK)(torch.from_numpy(frames))
    np.testing.assert_array_equal(classes, expected[2].numpy())
    np.testing.assert_allclose(scores, expected[1].numpy(), atol=1e-4)
    np.testing.assert_allclose(embeddings, expected[3].numpy(), atol=1e-4)
    # In cells, as the network says them.
    np.testing.assert_allclose(boxes / STRIDE, expected[0].numpy() / STRIDE, atol=1e-4)
    # The shifts do something: without them the scores are others.
    still = small_model()
    for layer in still.modules():
        if isinstance(layer, DeformConv2d):
            nn.init.zeros_(layer.conv_offset_mask.weight)
            nn.init.zeros_(layer.conv_offset_mask.bias)
    with torch.no_grad():
        unmoved = FusedTracker(still, TOPK)(torch.from_numpy(frames))
    assert (unmoved[1] - expected[1]).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("form", "opset", "version", "expected"),
    [
        ("auto", 18, None, "plain"),
        ("auto", 20, None, "plain"),
        ("auto", 18, "1.32.0", "plain"),
        ("auto", 19, "1.25.0", "operator"),
        ("auto", 22, "1.25", "operator"),
        ("auto", 20, "1.24.4", "plain"),
        ("auto", 20, "1.9.0", "plain"),
        ("auto", 20, "1.26rc1", "operator"),
        ("auto", 20, "2.0.0", "operator"),
        ("operator", 19, "1.25.0", "operator"),
        ("plain", 22, "1.32.0", "plain"),
        ("plain", 18, None, "plain"),
    ],
)
def test_the_form_follows_from_opset_and_version(
    form: DeformForm, opset: int, version: str | None, expected: str
) -> None:
    assert resolve_form(form, opset, version) == expected


@pytest.mark.parametrize(
    ("opset", "version", "message"),
    [
        (18, "1.32.0", "--opset 19"),
        (20, "1.24.4", r"1\.25 or newer .* 1\.24\.4 is installed"),
        (20, None, "none is installed"),
    ],
)
def test_an_operator_that_cannot_be(opset: int, version: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve_form("operator", opset, version)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExportConfig:
    """An export of the small model, which no registry knows."""
    checkpoint = tmp_path / "m.safetensors"
    checkpoint.write_bytes(b"not read")
    monkeypatch.setattr(export.exporter, "load_model", lambda *_, **__: small_model())
    out = tmp_path / "out"
    out.mkdir()
    return ExportConfig(checkpoint=checkpoint, out=out, topk=TOPK, parity_frames=3)


@pytest.mark.parametrize("form", ["auto", "plain"])
def test_an_export_proves_parity(form: DeformForm, config: ExportConfig) -> None:
    done = export_model(dataclasses.replace(config, deform=form))
    file, result = done.file, done.result
    assert result and result.detections > 0
    operators = {node.op_type for node in onnx.load(file).graph.node}
    assert ("DeformConv" in operators) is (form == "auto" and CAN_RUN_OPERATOR)


def test_an_old_onnxruntime_gets_plain_operators(
    config: ExportConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(model: nn.Module, form: str) -> None:
        raise UserError(f"{type(model).__name__} is written {form}")

    monkeypatch.setattr(export.exporter, "installed_onnxruntime", lambda: "1.24.4")
    monkeypatch.setattr(export.exporter, "use_form", tell)
    with pytest.raises(UserError, match="FusedTracker is written plain"):
        export_model(config)
    assert not list(config.out.iterdir())


def test_the_command_line_says_what_to_do_and_writes_nothing(config: ExportConfig) -> None:
    arguments = [str(config.checkpoint), "-o", str(config.out), "--deform", "operator"]
    result = CliRunner().invoke(cli, [*arguments, "--opset", "18"])
    assert isinstance(result.exception, UserError)
    assert "--opset 19 or higher, or --deform plain" in str(result.exception)
    assert not list(config.out.iterdir())
