"""The export: equal to PyTorch, or not there at all."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from export.exporter import PARITY_FILE, ExportConfig, export_model
from export.fused import FusedTracker
from export.parity import THRESHOLDS, ParityResult, pairwise_iou
from export.reference import has_tied_peaks
from runtime.detector import load
from runtime.engines import open_engine
from runtime.errors import UserError
from train.models import TrackingModel, build_model, save_model
from train.models.decode import boxes_at, top_peaks


def trained_like(model: TrackingModel, seed: int = 0) -> TrackingModel:
    """Give a fresh model statistics, heads and scores as lively as a trained one's."""
    generator = torch.Generator().manual_seed(seed)

    def noise(like: torch.Tensor) -> torch.Tensor:
        return torch.rand(like.shape, generator=generator)

    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                assert layer.running_mean is not None and layer.running_var is not None
                layer.running_mean.copy_(noise(layer.running_mean) * 0.2 - 0.1)
                layer.running_var.copy_(noise(layer.running_var) + 0.5)
                layer.weight.copy_(noise(layer.weight) + 0.5)
                layer.bias.copy_(noise(layer.bias) * 0.2 - 0.1)
        for name, head in model.heads.items():
            head[-1].weight.mul_(8)
            if name == "wh":
                head[-1].bias.fill_(2.0)
    return model.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = trained_like(build_model("nano", num_classes=2, embedding_dim=16))
    file = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    settings = {"high_threshold": 0.25}
    save_model(file, model, classes=("a", "b"), input_wh=(96, 64), tracker=settings)
    return file


def config_for(checkpoint: Path, out: Path, **changes: object) -> ExportConfig:
    config = ExportConfig(checkpoint=checkpoint, out=out, topk=20, parity_frames=4)
    return dataclasses.replace(config, **changes)


def test_the_exported_file_describes_itself_and_equals_the_model(
    checkpoint: Path, tmp_path: Path
) -> None:
    done = export_model(config_for(checkpoint, tmp_path, name="student"))
    file, result = done.file, done.result
    assert file == tmp_path / "student.onnx"
    assert result and result.detections > 0
    info = open_engine(file, "cpu").info
    assert (info.arch, info.size_wh, info.topk) == ("nano", (96, 64), 20)
    assert (info.stride, info.embedding_dim, info.classes) == (8, 16, ("a", "b"))
    assert info.tracker == {"high_threshold": 0.25}
    assert info.parity["passed"] is True
    written = json.loads((tmp_path / PARITY_FILE).read_text())
    assert written["passed"] and written["figures"] == result.figures
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [PARITY_FILE, "student.onnx"]


def test_outputs_are_what_the_contract_says(checkpoint: Path, tmp_path: Path) -> None:
    file = export_model(config_for(checkpoint, tmp_path)).file
    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3)).astype(np.uint8)
    outputs = open_engine(file, "cpu").run(frames)
    assert {name: (value.dtype, value.shape) for name, value in outputs.items()} == {
        "boxes": (np.float32, (1, 20, 4)),
        "scores": (np.float32, (1, 20)),
        "classes": (np.int64, (1, 20)),
        "embeddings": (np.float32, (1, 20, 16)),
    }
    assert (np.diff(outputs["scores"][0]) <= 0).all()
    assert set(np.unique(outputs["classes"])) <= {0, 1}
    np.testing.assert_allclose(np.linalg.norm(outputs["embeddings"], axis=-1), 1, rtol=1e-5)
    # Nothing of the machine that exported it travels along.
    assert b"/" + b"site-packages" not in file.read_bytes()
    onnx.checker.check_model(onnx.load(file), full_check=True)


def test_a_detector_without_embeddings(tmp_path: Path) -> None:
    model = trained_like(build_model("nano", embedding_dim=0))
    save_model(tmp_path / "m.safetensors", model, classes=("person",), input_wh=(96, 64))
    done = export_model(config_for(tmp_path / "m.safetensors", tmp_path))
    file, result = done.file, done.result
    assert "embedding_cosine_worst" not in result.figures
    detections = load(file)(np.zeros((48, 64, 3), np.uint8))
    assert detections.embeddings is None


@pytest.mark.parametrize("opset", [18, 22])
@pytest.mark.parametrize("stride", [4, 8])
def test_other_opsets_and_strides(opset: int, stride: int, tmp_path: Path) -> None:
    model = trained_like(build_model("nano", embedding_dim=8, stride=stride))
    file = tmp_path / "m.safetensors"
    save_model(file, model, classes=("p",), input_wh=(64, 64), options={"stride": stride})
    done = export_model(config_for(file, tmp_path, opset=opset, size_wh=(96, 32)))
    exported, result = done.file, done.result
    assert result
    assert onnx.load(exported).opset_import[0].version == opset


def test_a_model_with_its_own_pixel_normalisation(tmp_path: Path) -> None:
    model = trained_like(build_model("mobilenet_v2", embedding_dim=8))
    save_model(tmp_path / "m.safetensors", model, classes=("person",), input_wh=(96, 64))
    result = export_model(config_for(tmp_path / "m.safetensors", tmp_path)).result
    assert result


def test_peaks_equal_a_plain_search() -> None:
    logits = torch.randn(2, 3, 7, 9)
    scores, classes, cells = top_peaks(logits, 10)
    for image in range(2):
        found = []
        for label in range(3):
            for y in range(7):
                for x in range(9):
                    around = logits[image, label, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
                    if logits[image, label, y, x] == around.max():
                        found.append((logits[image, label, y, x].item(), label, y * 9 + x))
        best = sorted(found, reverse=True)[:10]
        assert classes[image].tolist() == [label for _, label, _ in best]
        assert cells[image].tolist() == [cell for _, _, cell in best]
        expected = torch.tensor([value for value, _, _ in best]).sigmoid()
        torch.testing.assert_close(scores[image], expected)


def test_boxes_are_read_where_the_peak_is() -> None:
    maps = {"wh": torch.zeros(1, 4, 5, 6), "reg": torch.zeros(1, 2, 5, 6)}
    maps["wh"][0, :, 3, 4] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    maps["reg"][0, :, 3, 4] = torch.tensor([0.25, 0.5])
    box = boxes_at(maps, torch.tensor([[3 * 6 + 4]]), stride=8)
    assert box.tolist() == [[[(4.25 - 1) * 8, (3.5 - 2) * 8, (4.25 + 3) * 8, (3.5 + 4) * 8]]]


def test_a_graph_that_computes_something_else_is_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FusedTracker.__init__

    def with_a_fault(self: FusedTracker, model: TrackingModel, *rest: Any) -> None:
        original(self, model, *rest)
        with torch.no_grad():
            self.model.heads["wh"][-1].bias[0] += 0.05

    monkeypatch.setattr(FusedTracker, "__init__", with_a_fault)
    with pytest.raises(UserError, match="box_error_px"):
        export_model(config_for(checkpoint, tmp_path))
    assert [entry.name for entry in tmp_path.iterdir()] == [PARITY_FILE]
    assert json.loads((tmp_path / PARITY_FILE).read_text())["passed"] is False

    done = export_model(config_for(checkpoint, tmp_path, allow_mismatch=True))
    file, result = done.file, done.result
    assert not result
    assert open_engine(file, "cpu").info.parity["passed"] is False


def test_a_fault_in_the_embedding_alone_is_caught(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FusedTracker.__init__

    def with_a_fault(self: FusedTracker, model: TrackingModel, *rest: Any) -> None:
        original(self, model, *rest)
        with torch.no_grad():
            self.model.heads["id"][-1].weight[3].neg_()

    monkeypatch.setattr(FusedTracker, "__init__", with_a_fault)
    with pytest.raises(UserError, match="embedding_cosine_worst"):
        export_model(config_for(checkpoint, tmp_path))


def test_nothing_to_compare_is_not_a_pass() -> None:
    perfect = {"matched": 1.0, "box_error_px": 0.0, "score_error": 0.0, "identity_agreement": 1.0}
    assert ParityResult("fp32", 4, 5, perfect, THRESHOLDS["fp32"], "x")
    assert not ParityResult("fp32", 4, 0, perfect, THRESHOLDS["fp32"], "x")
    spoilt = perfect | {"score_error": float("nan")}
    assert not ParityResult("fp32", 4, 5, spoilt, THRESHOLDS["fp32"], "x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_wh": (100, 64)}, "multiples of 32"),
        ({"topk": 0}, "from 1 to"),
        ({"topk": 100_000}, "from 1 to"),
        ({"arch": "small"}, "holds nano, not small"),
        ({"parity_source": Path("nowhere.mp4")}, r"nowhere\.mp4"),
    ],
)
def test_wrong_settings_leave_nothing_behind(
    changes: dict[str, object], message: str, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        export_model(config_for(checkpoint, tmp_path, **changes))
    assert not list(tmp_path.iterdir())


def test_overlap_of_boxes() -> None:
    first = np.array([[0, 0, 10, 10]], np.float32)
    second = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    np.testing.assert_allclose(pairwise_iou(first, second), [[1, 1 / 3, 0]], rtol=1e-6)


def test_neighbours_that_only_rounding_tells_apart_are_a_tie() -> None:
    heatmap = torch.full((1, 2, 5, 6), -9.0)
    assert not has_tied_peaks(heatmap)
    heatmap[0, 1, 2, 2] = 1.0
    assert not has_tied_peaks(heatmap)
    # A clear second in the window, and an equal peak further away or of another class.
    heatmap[0, 1, 2, 3], heatmap[0, 1, 4, 5], heatmap[0, 0, 2, 2] = 0.9, 1.0, 1.0
    assert not has_tied_peaks(heatmap)
    heatmap[0, 1, 1, 1] = 1.0 + 1e-6
    assert has_tied_peaks(heatmap)
    # What no tracker looks at may tie.
    assert not has_tied_peaks(heatmap - 6)
