"""Post-training quantisation: what is quantised, what is kept, and what it computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export.exporter import ExportConfig, export_model
from export.fused import FusedTracker
from export.onnx_file import infer_shapes, save_onnx, to_onnx
from export.precision.calibration import ValueRange, measure_ranges
from export.precision.int8 import (
    CPU,
    TENSORRT,
    Recipe,
    convolution_groups,
    count_operations,
    quantizable_nodes,
    quantized_tensors,
    to_int8,
)
from runtime.engines import open_engine
from runtime.engines.sidecar import Kind
from runtime.errors import UserError
from runtime.model_info import ModelInfo
from runtime.opencv import cv2
from tests.export.test_export import trained_like
from train.models import build_model, save_model
from train.models.deform import use_form

INFO = ModelInfo("nano", (96, 64), 8, 20, 16, ("a",), precision="int8")


def frames(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (64, 96, 3)).astype(np.uint8) for _ in range(count)]


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    torch.manual_seed(0)
    model = trained_like(build_model("nano", embedding_dim=16))
    return infer_shapes(to_onnx(FusedTracker(model, INFO.topk), INFO))


def operators(model: onnx.ModelProto, kind: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == kind]


def initializer(model: onnx.ModelProto, name: str) -> np.ndarray:
    (found,) = (one for one in model.graph.initializer if one.name == name)
    return onnx.numpy_helper.to_array(found)


def test_nothing_to_quantise_changes_nothing(graph: onnx.ModelProto) -> None:
    assert to_int8(graph, {}, CPU, []) == graph


def test_ranges_are_those_of_the_values_and_hold_zero(graph: onnx.ModelProto) -> None:
    (cast,) = (node.output[0] for node in graph.graph.node if node.name == "pixels/Cast")
    bright = np.full((64, 96, 3), 40, np.uint8)
    bright[0, 0] = 200
    assert measure_ranges(graph, [cast], [bright], INFO) == {cast: ValueRange(0, 200)}


def test_the_dense_part_alone_is_quantised(graph: onnx.ModelProto) -> None:
    names = quantizable_nodes(graph, TENSORRT)
    assert {name.split("/")[1].rstrip("_0123456789") for name in names} == {"Conv"}
    dense = [node.name for node in operators(graph, "Conv")]
    # All convolutions but the heatmap's last, whose values are compared with their neighbours.
    assert names == [name for name in dense if name != "heads.hm.2/Conv"]
    cpu = quantizable_nodes(graph, CPU)
    assert "body.stem.0/Conv" not in cpu and "body.stages.0.0.0/Conv" in cpu
    assert not any(name.startswith(("peaks", "at_peaks", "boxes", "pixels")) for name in cpu)


def test_a_depthwise_convolution_has_the_channels_of_all_its_groups() -> None:
    model = trained_like(build_model("mobile", embedding_dim=4))
    graph = infer_shapes(to_onnx(FusedTracker(model, INFO.topk), INFO))
    chosen = quantizable_nodes(graph, CPU)
    weights = {weight.name: weight for weight in graph.graph.initializer}
    depthwise = [
        node.name for node in operators(graph, "Conv") if weights[node.input[1]].dims[1] == 1
    ]
    assert depthwise and set(depthwise) <= set(chosen)


def test_arithmetic_on_what_is_not_8_bit_is_left_alone() -> None:
    """Positions of a deformable convolution are computed from shifts: 8 bits are far too few."""
    model = trained_like(build_model("resnet_18", embedding_dim=4, head_channels=8))
    tracker = FusedTracker(model, INFO.topk)
    use_form(tracker, "plain")
    graph = infer_shapes(to_onnx(tracker, INFO))
    chosen = set(quantizable_nodes(graph, CPU))
    producers = {name: node for node in graph.graph.node for name in node.output}
    samplers = operators(graph, "GridSample")
    assert samplers
    convolutions = [node.name for node in operators(graph, "Conv")]
    shifts = {name for name in convolutions if "conv_offset_mask" in name}
    assert shifts and not shifts & chosen
    # All features are: of the body, of the heatmap, and the taps of the deformable convolutions.
    left = set(convolutions) - chosen - shifts
    assert "heads.hm.2/Conv" in left and "body.base.conv1/Conv" in left
    for sampler in samplers:
        node = producers[sampler.input[1]]
        while node.op_type != "Conv":
            assert node.name not in chosen
            node = next(producers[name] for name in node.input if name in producers)


@pytest.mark.parametrize("recipe", [CPU, TENSORRT])
def test_a_quantised_graph_computes_nearly_the_same(
    recipe: Recipe, graph: onnx.ModelProto, tmp_path: Path
) -> None:
    nodes = quantizable_nodes(graph, recipe)
    ranges = measure_ranges(graph, quantized_tensors(graph, nodes), frames(4), INFO)
    lowered = to_int8(graph, ranges, recipe, nodes)
    save_onnx(graph, INFO, tmp_path / "fp32.onnx")
    save_onnx(lowered, INFO, tmp_path / "int8.onnx")
    batch = frames(5)[4][None]
    exact = open_engine(tmp_path / "fp32.onnx", "cpu").run(batch)
    found = open_engine(tmp_path / "int8.onnx", "cpu").run(batch)
    difference = np.abs(found["scores"] - exact["scores"])[0, :8]
    assert 0 < difference.max() < 0.02
    quantisers = operators(lowered, "QuantizeLinear")
    zeros = [initializer(lowered, node.input[2]) for node in quantisers]
    if recipe is TENSORRT:
        assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
        int32 = onnx.TensorProto.INT32
        biases = [one for one in lowered.graph.initializer if one.data_type == int32]
        assert not [one for one in biases if "bias" in one.name]
    else:
        assert all(zero.dtype == np.uint8 for zero in zeros)
    # Copies are made cell by cell on the CPU; TensorRT has its own kernel for them.
    assert bool(operators(lowered, "Resize")) == (recipe is TENSORRT)
    # A scale for each output channel of a weight.
    weights = [node for node in operators(lowered, "DequantizeLinear") if "weight" in node.input[0]]
    assert len(weights) == sum("Conv" in name for name in nodes)
    assert all(initializer(lowered, node.input[1]).ndim == 1 for node in weights)


def test_what_follows_a_convolution_is_kept_with_it(graph: onnx.ModelProto) -> None:
    nodes = quantizable_nodes(graph, CPU)
    groups = convolution_groups(graph, nodes)
    assert sorted(name for names in groups.values() for name in names) == sorted(nodes)
    block = groups["body.stages.1.1.second.0"]
    assert block[0] == "body.stages.1.1.second.0/Conv" and "body.stages.1.1/Add" in block
    work = count_operations(graph)
    # 16 channels at half of 96 x 64 pixels, each value from 3 x 3 pixels of 3 channels.
    assert work["body.stem.2/Relu"] == 48 * 32 * 16
    assert work["body.stem.0/Conv"] == 48 * 32 * 16 * 27


def test_layers_that_are_kept_stay_as_they_were(graph: onnx.ModelProto) -> None:
    nodes = quantizable_nodes(graph, TENSORRT)
    ranges = measure_ranges(graph, quantized_tensors(graph, nodes), frames(1), INFO)
    kept = "body.stages.1.0.0/Conv"
    lowered = to_int8(graph, ranges, TENSORRT, [name for name in nodes if name != kept])
    by_name = {node.name: node for node in lowered.graph.node}
    assert by_name[kept].input[1] == "model.body.stages.1.0.0.weight"
    assert by_name["body.stem.0/Conv"].input[1] != "model.body.stem.0.weight"
    assert len(by_name) == len(lowered.graph.node), "every node has a name of its own"


@pytest.mark.parametrize(("target", "half"), [(None, False), ("tensorrt-rtx", True)])
def test_a_whole_export(target: Kind | None, half: bool, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    for index, frame in enumerate(frames(3)):
        cv2.imwrite(str(folder / f"{index}.png"), frame)
    torch.manual_seed(0)
    model = trained_like(build_model("nano", embedding_dim=16))
    with torch.no_grad():
        model.heads["hm"][-1].weight.mul_(4)
    save_model(tmp_path / "m.safetensors", model, classes=("a",), input_wh=(96, 64))
    config = ExportConfig(
        checkpoint=tmp_path / "m.safetensors",
        out=tmp_path,
        topk=20,
        precision="int8",
        half_elsewhere=half,
        target=target,
        calibrate=folder,
        parity_frames=3,
        allow_mismatch=True,
    )
    done = export_model(config)
    assert done.result.source == "camera" and done.result.precision == "int8"
    info = open_engine(done.file, "cpu").info
    assert (info.precision, info.quantization) == ("int8", "s8s8+fp16" if half else "u8s8")
    assert info.kept == done.info.kept
    written = onnx.load(done.file)
    assert operators(written, "QuantizeLinear")
    kinds = {weight.data_type for weight in written.graph.initializer}
    assert (onnx.TensorProto.FLOAT16 in kinds) is half


def test_calibration_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give --calibrate"):
        ExportConfig(checkpoint=tmp_path, out=tmp_path, precision="int8")
