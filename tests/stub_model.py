"""A small fused graph that detects bright blobs: what the runtime needs to be tested without torch.

The frame is averaged over cells of 8 x 8 pixels; a cell whose neighbourhood has no brighter one is
a peak, its score rises with brightness, its box has a fixed size around the brightness-weighted
centre, and its embedding follows from the mean colour. The grey of the letterbox scores near zero.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.model_info import ModelInfo

STRIDE = 8
BOX_SIZE_WH = (16.0, 16.0)  # pixels of the input


def write_stub_model(
    path: str | os.PathLike[str],
    *,
    size_wh: tuple[int, int] = (96, 64),
    topk: int = 8,
    embedding_dim: int = 4,
    dynamic_batch: bool = False,
    **info_overrides: Any,
) -> ModelInfo:
    """Write a model that ``runtime.load`` accepts.

    Args:
        path: Where the ONNX file goes.
        size_wh: Input size in pixels, multiples of 8.
        topk: Peaks returned per image; at most the number of cells.
        embedding_dim: Length of the embeddings; 0 leaves the output away.
        dynamic_batch: Whether the graph takes any number of frames instead of one.
        **info_overrides: Fields of ``ModelInfo`` to set, or to set wrongly on purpose.

    Returns:
        The description that was written into the file.
    """
    batch: int | str = "N" if dynamic_batch else 1
    fields: dict[str, Any] = {
        "arch": "stub",
        "size_wh": size_wh,
        "stride": STRIDE,
        "topk": topk,
        "embedding_dim": embedding_dim,
        "classes": ("blob",),
        "dynamic_batch": dynamic_batch,
        "tool_version": "test",
        **info_overrides,
    }
    info = ModelInfo(**fields)
    width, height = info.frames_wh

    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [batch, topk, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, topk]),
        helper.make_tensor_value_info("classes", TensorProto.INT64, [batch, topk]),
    ]
    nodes = [*_peak_nodes(), *_box_nodes()]
    constants = _constants(width // STRIDE, height // STRIDE)
    if embedding_dim:
        shape = [batch, topk, embedding_dim]
        outputs.append(helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, shape))
        nodes += _embedding_nodes()
        constants |= _embedding_constants(embedding_dim)
    constants["topk"] = np.array([topk], np.int64)
    graph = helper.make_graph(
        nodes,
        "stub",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [batch, height, width, 3])],
        outputs,
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, info.to_metadata())
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, os.fspath(path))
    return info


def _constants(columns: int, rows: int) -> dict[str, np.ndarray]:
    ys, xs = np.mgrid[:rows, :columns].astype(np.float32)
    half = np.array(BOX_SIZE_WH, np.float32) / 2
    return {
        "byte": np.float32(255),
        "threshold": np.float32(0.75),
        "steepness": np.float32(20),
        "xs": ((xs + 0.5) * STRIDE)[None, None],
        "ys": ((ys + 0.5) * STRIDE)[None, None],
        "flat": np.array([0, -1], np.int64),
        "last": np.array([2], np.int64),
        "channel": np.array([1], np.int64),
        "corners": np.concatenate([-half, half]).reshape(1, 1, 4),
    }


def _peak_nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        node("Div", ["float", "byte"], ["unit"]),
        node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
        node("AveragePool", ["planes"], ["cells"], kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2),
        node("ReduceMean", ["cells", "channel"], ["grey"], keepdims=1),
        node("Sub", ["grey", "threshold"], ["above"]),
        node("Mul", ["above", "steepness"], ["logits"]),
        node("Sigmoid", ["logits"], ["heat"]),
        node("MaxPool", ["heat"], ["highest"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Equal", ["heat", "highest"], ["is_peak"]),
        node("Cast", ["is_peak"], ["peak"], to=TensorProto.FLOAT),
        node("Mul", ["heat", "peak"], ["peak_heat"]),
        node("Reshape", ["peak_heat", "flat"], ["peak_row"]),
        node("TopK", ["peak_row", "topk"], ["scores", "cell"], axis=1),
        node("Sub", ["cell", "cell"], ["classes"]),
    ]


def _box_nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    pool = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [node("AveragePool", ["heat"], ["weight"], **pool)]
    for axis in ("xs", "ys"):
        nodes += [
            node("Mul", ["heat", axis], [f"{axis}_heat"]),
            node("AveragePool", [f"{axis}_heat"], [f"{axis}_sum"], **pool),
            node("Div", [f"{axis}_sum", "weight"], [f"{axis}_map"]),
            node("Reshape", [f"{axis}_map", "flat"], [f"{axis}_row"]),
            node("GatherElements", [f"{axis}_row", "cell"], [f"{axis}_peak"], axis=1),
            node("Unsqueeze", [f"{axis}_peak", "last"], [f"{axis}_column"]),
        ]
    return [
        *nodes,
        node("Concat", ["xs_column", "ys_column"] * 2, ["centres"], axis=2),
        node("Add", ["centres", "corners"], ["boxes"]),
    ]


def _embedding_constants(dim: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "projection": random.normal(size=(3, dim)).astype(np.float32),
        # Keeps the length above zero whatever the colour is.
        "bias": np.full(dim, 0.05, np.float32),
        "colour_shape": np.array([0, 3, -1], np.int64),
        "row_length": np.array([1, 1, dim], np.int64),
    }


def _embedding_nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Sub", ["cells", "threshold"], ["tint"]),
        node("Reshape", ["tint", "colour_shape"], ["tint_rows"]),
        node("Transpose", ["tint_rows"], ["colours"], perm=[0, 2, 1]),
        node("MatMul", ["colours", "projection"], ["projected"]),
        node("Add", ["projected", "bias"], ["features"]),
        node("Unsqueeze", ["cell", "last"], ["cell_column"]),
        node("Tile", ["cell_column", "row_length"], ["cell_index"]),
        node("GatherElements", ["features", "cell_index"], ["peak_features"], axis=1),
        node("LpNormalization", ["peak_features"], ["embeddings"], axis=-1, p=2),
    ]
