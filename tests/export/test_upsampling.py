"""Gathered rows and columns are the bytes that Resize gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.onnx_file import infer_shapes
from export.precision.upsampling import gather_upsampling
from tests.export.test_half import run

NEAREST = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}


def graph(
    scales: tuple[float, ...] = (1, 1, 2, 3), second: float = 0.5, **attributes: Any
) -> onnx.ModelProto:
    """Bytes between two Q/DQ pairs around a Resize, of scales 0.5 and ``second``."""
    constants = {
        "factors": np.array(scales, np.float32),
        "scale": np.float32(0.5),
        "second": np.float32(second),
        "zero": np.uint8(7),
    }
    pair = ["scale", "zero"]
    after = pair if second == 0.5 else ["second", "zero"]
    nodes = [
        helper.make_node("DequantizeLinear", ["x", *pair], ["a"], name="body/DequantizeLinear"),
        helper.make_node("Resize", ["a", "", "factors"], ["b"], "body/Resize", **attributes),
        helper.make_node("QuantizeLinear", ["b", *after], ["y"], name="body/QuantizeLinear"),
    ]
    shape = [2, 5, int(3 * scales[2]), int(4 * scales[3])]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "upsampling",
            [helper.make_tensor_value_info("x", TensorProto.UINT8, [2, 5, 3, 4])],
            [helper.make_tensor_value_info("y", TensorProto.UINT8, shape)],
            [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    return infer_shapes(model)


def test_a_graph_without_upsampling_is_left_alone() -> None:
    model = graph()
    del model.graph.node[:]
    assert gather_upsampling(model) == 0


def test_the_bytes_are_the_same() -> None:
    cells = np.random.default_rng(0).integers(0, 256, (2, 5, 3, 4)).astype(np.uint8)
    model = graph(**NEAREST)
    (expected,) = run(model, cells)
    assert np.array_equal(expected, cells.repeat(2, axis=2).repeat(3, axis=3))
    assert gather_upsampling(model) == 1
    operators = [node.op_type for node in model.graph.node]
    assert operators == ["Transpose", "Gather", "Gather", "Transpose"]
    onnx.checker.check_model(model, full_check=True)
    assert np.array_equal(run(model, cells)[0], expected)


def test_features_that_others_read_stay() -> None:
    model = graph(**NEAREST)
    model.graph.output.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [2, 5, 3, 4]))
    model.graph.node.append(helper.make_node("Relu", ["a"], ["c"], name="body/Relu"))
    assert gather_upsampling(model) == 1
    assert "DequantizeLinear" in [node.op_type for node in model.graph.node]
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(graph(**NEAREST | {"mode": "linear"}), id="linear"),
        pytest.param(graph(scales=(1, 1, 1.5, 2), **NEAREST), id="not whole"),
        pytest.param(graph(**NEAREST | {"nearest_mode": "ceil"}), id="rounded up"),
        pytest.param(graph(second=0.25, **NEAREST), id="another scale"),
    ],
)
def test_other_resizing_stays(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    assert gather_upsampling(model) == 0
    assert model.SerializeToString() == before
