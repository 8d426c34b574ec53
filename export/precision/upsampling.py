"""Upsampling of 8-bit features, as copies of whole cells.

ONNX Runtime's kernel for ``Resize`` moves one number at a time: 64 channels from 30x22 to 60x44
cells, as bytes with channels last, take 0.28 ms on two cores, and 0.026 ms where rows and columns
are gathered. Nearest neighbours are copies, so that the values are the same bytes.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.onnx_file import tensor_shapes

CHANNELS_LAST = (0, 2, 3, 1)
CHANNELS_FIRST = (0, 3, 1, 2)


class _Upsampling(NamedTuple):
    """A ``Resize`` between Q/DQ pairs of one scale: what comes in as bytes, and what goes out."""

    resize: onnx.NodeProto
    quantize: onnx.NodeProto
    source: str
    size_hw: tuple[int, int]
    factors_hw: tuple[int, int]


def gather_upsampling(model: onnx.ModelProto) -> int:
    """Replace, in place, what repeats 8-bit features by a gathering of columns and rows.

    Taken is each ``Resize`` to the nearest neighbour by whole factors of height and width whose
    input and output have the same scale; every other one stays.

    Args:
        model: The graph with its Q/DQ pairs, its shapes inferred before these came.

    Returns:
        How many were replaced.
    """
    found = _find(model)
    for upsampling in found:
        _replace(model, upsampling)
    return len(found)


def _find(model: onnx.ModelProto) -> list[_Upsampling]:
    """Return the upsamplings that are copies of bytes."""
    maker = {name: node for node in model.graph.node for name in node.output}
    constants = {one.name: one for one in model.graph.initializer}
    shapes = tensor_shapes(model)
    readers = Counter(name for node in model.graph.node for name in node.input)
    found = []
    for quantize in model.graph.node:
        resize = maker.get(quantize.input[0]) if quantize.op_type == "QuantizeLinear" else None
        if resize is None or resize.op_type != "Resize" or readers[resize.output[0]] != 1:
            continue
        source = maker.get(resize.input[0])
        factors = _factors(resize, constants)
        size = shapes.get(resize.output[0], [])[2:]
        if (
            source is not None
            and source.op_type == "DequantizeLinear"
            and source.input[1:] == quantize.input[1:]
            and factors is not None
            and len(size) == 2
            and all(size)
        ):
            height, width = size
            found.append(_Upsampling(resize, quantize, source.input[0], (height, width), factors))
    return found


def _factors(
    resize: onnx.NodeProto, constants: dict[str, onnx.TensorProto]
) -> tuple[int, int] | None:
    """Return by how much a node repeats rows and columns, None if it does anything else."""
    told = {one.name: helper.get_attribute_value(one) for one in resize.attribute}
    nearest = (
        told.get("mode", b"nearest") == b"nearest"
        and told.get("coordinate_transformation_mode") == b"asymmetric"
        and told.get("nearest_mode") == b"floor"
        and not told.get("axes")
    )
    if not nearest or len(resize.input) != 3 or resize.input[2] not in constants:
        return None
    scales = numpy_helper.to_array(constants[resize.input[2]])
    if len(scales) != 4 or (scales != scales.round()).any() or (scales[:2] != 1).any():
        return None
    return int(scales[2]), int(scales[3])


def _replace(model: onnx.ModelProto, found: _Upsampling) -> None:
    """Put the gathering in the place of one upsampling."""
    name, output = found.resize.name, found.quantize.output[0]
    (height, width), (rows, columns) = found.size_hw, found.factors_hw
    for axis, size, factor in (("rows", height, rows), ("columns", width, columns)):
        index = (np.arange(size) // factor).astype(np.int64)
        model.graph.initializer.append(numpy_helper.from_array(index, f"{name}_{axis}"))
    last, wide, high = (f"{output}_{step}" for step in ("last", "wide", "high"))
    nodes = [
        helper.make_node("Transpose", [found.source], [last], perm=CHANNELS_LAST),
        helper.make_node("Gather", [last, f"{name}_columns"], [wide], axis=2),
        helper.make_node("Gather", [wide, f"{name}_rows"], [high], axis=1),
        helper.make_node("Transpose", [high], [output], perm=CHANNELS_FIRST),
    ]
    for node, step in zip(nodes, ("last", "columns", "rows", "first"), strict=True):
        node.name = f"{name}_{step}"
    graph = list(model.graph.node)
    place = graph.index(found.quantize)
    graph[place : place + 1] = nodes
    graph.remove(found.resize)
    read = {one for node in graph for one in node.input}
    del model.graph.node[:]
    model.graph.node.extend(
        node
        for node in graph
        # The pair that gave the upsampling its numbers, where nothing else reads it.
        if node.output[0] != found.resize.input[0] or node.output[0] in read
    )
